package interceptor

import (
	"context"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/forget"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
)

// forgotten is what remembers what was forgotten: the cache, or something small without one.
type forgotten interface {
	Forget(tag cache.Tag)
	ForgetAll()
	Clock() uint64
}

// Forget makes the Authenticator forget what it knows about a token: after it
// returns no call is answered by a verification that began before it, and the
// session of every open stream that carries the token is verified anew. Call it
// after the session was ended at its owner, or the new verification may still find
// it.
//
// token is the credential, wherever it was carried and however it is spelled: an extractor
// names what it finds, and Forget's argument, in the same way. Those of package metadata
// undo percent-encoding and quotes; authmd.Named is for tokens that are signed. With
// authmd.CookieHeader, where any cookie may be the credential, say which: "sid=" + token.
// Where the owner of the sessions has a name for them, [Authenticator.ForgetSession] needs
// no token.
//
// It takes the same short time whatever the cache holds, and a token that was never seen
// is fine. The error is that of the [Bus], see [WithBus]: here it is forgotten all the same.
func (a *Authenticator) Forget(ctx context.Context, token string) error {
	return a.forget(ctx, fleet.Forgotten{Tags: a.tokenTags(token)})
}

// ForgetSession is [Authenticator.Forget] for the session with this
// authcontext.AuthContext.SessionID, whatever its tokens. It finds sessions whose mapper
// sets that.
func (a *Authenticator) ForgetSession(ctx context.Context, id string) error {
	return a.forget(ctx, fleet.Forgotten{Tags: a.tagsOf(forget.SessionName, id)})
}

// ForgetSubject is [Authenticator.Forget] for every session of a subject. Many open
// streams verify theirs within a second, not all at the same instant.
func (a *Authenticator) ForgetSubject(ctx context.Context, subject string) error {
	return a.forget(ctx, fleet.Forgotten{Tags: a.tagsOf(forget.SubjectName, subject)})
}

// ForgetAll is [Authenticator.Forget] for every session. Open streams verify theirs
// within a second, not all at the same instant.
func (a *Authenticator) ForgetAll(ctx context.Context) error {
	return a.forget(ctx, fleet.Forgotten{All: true})
}

func (a *Authenticator) forget(ctx context.Context, f fleet.Forgotten) error {
	if a.member != nil && (f.All || len(f.Tags) > 0) {
		return a.member.Forget(ctx, f)
	}
	a.apply(f)
	return nil
}

// tagsOf returns the tags of a name of a kind, under each secret.
func (a *Authenticator) tagsOf(kind byte, name string) []cache.Tag {
	tags := make([]cache.Tag, len(a.taggers))
	for i := range tags {
		tags[i] = a.taggers[i].Tag(kind, name)
	}
	return tags
}

// apply is what a Forget does here, whoever asked for it.
func (a *Authenticator) apply(f fleet.Forgotten) {
	if f.All {
		a.forgotten.ForgetAll()
		a.streams.WakeAll()
		return
	}
	for _, tag := range f.Tags {
		a.forgotten.Forget(tag)
	}
	for _, tag := range f.Tags {
		a.streams.Wake(tag)
	}
}

// Tags implements cache.Tagged: an identity is forgotten by its subject and session, too.
func (id *identity) Tags() []cache.Tag {
	if id == nil || id.tagger == nil {
		return nil
	}
	tags := []cache.Tag{id.Holder()}
	if session := id.AuthContext().SessionID; session != "" {
		tags = append(tags, id.tagger.Tag(forget.SessionName, session))
	}
	return tags
}

// Holder implements cache.Tagged: nobody's sessions take more than their share.
func (id *identity) Holder() cache.Tag {
	return id.tagger.Tag(forget.SubjectName, id.AuthContext().Subject)
}

// found is id as an open stream knows it.
func (id *identity) found() streams.Found {
	if id == nil {
		return streams.Found{}
	}
	return streams.Found{Identity: &id.Identity, Tags: id.Tags()}
}
