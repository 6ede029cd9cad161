package interceptor

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// Forgotten is what an [Authenticator] was told to forget: a token, a subject, or
// everything. It holds a digest, never the token, so it can be sent to others:
// it marshals to at most 33 bytes.
type Forgotten struct {
	kind forgottenKind
	tag  cache.Key
}

type forgottenKind byte

const (
	forgottenTag forgottenKind = 1 + iota
	forgottenAll
)

var (
	_ encoding.BinaryMarshaler   = Forgotten{}
	_ encoding.BinaryUnmarshaler = (*Forgotten)(nil)
)

// ForgottenAll is what [Authenticator.ForgetAll] tells others. A [Broadcast] that
// may have lost messages applies it to be safe.
func ForgottenAll() Forgotten { return Forgotten{kind: forgottenAll} }

// MarshalBinary encodes f for UnmarshalBinary.
func (f Forgotten) MarshalBinary() ([]byte, error) {
	switch f.kind {
	case forgottenAll:
		return []byte{byte(f.kind)}, nil
	case forgottenTag:
		return append([]byte{byte(f.kind)}, f.tag[:]...), nil
	}
	return nil, errors.New("interceptor: an empty Forgotten cannot be marshalled")
}

// UnmarshalBinary decodes what MarshalBinary encoded. It leaves f alone when data
// is anything else.
func (f *Forgotten) UnmarshalBinary(data []byte) error {
	switch {
	case len(data) == 1 && data[0] == byte(forgottenAll):
		*f = ForgottenAll()
	case len(data) == 1+len(f.tag) && data[0] == byte(forgottenTag):
		*f = Forgotten{kind: forgottenTag, tag: cache.Key(data[1:])}
	default:
		return fmt.Errorf("interceptor: %d bytes that are no Forgotten", len(data))
	}
	return nil
}

// Broadcast carries what one [Authenticator] forgets to others, such as those of
// other replicas; see [WithBroadcast]. Implementations must be safe to call
// concurrently.
type Broadcast interface {
	// Publish tells the others. It is called by Forget and its like, after this
	// Authenticator has forgotten, and must not block for long: what cannot be
	// delivered is for the implementation to retry and to report.
	Publish(f Forgotten)
	// Subscribe is called once, by [NewSessionAuth]. From then on the
	// implementation calls apply with what others publish. Hearing one's own
	// messages, or one twice, does no harm. apply does not block.
	Subscribe(apply func(f Forgotten))
}

func tokenTag(token string) cache.Key     { return cache.NewKey("token", token) }
func subjectTag(subject string) cache.Key { return cache.NewKey("subject", subject) }

// Forget makes the Authenticator forget what it knows about a token: after it
// returns no call is answered by a verification that began before it, and the
// session of every open stream that carries the token is verified anew. Call it
// after the session was ended at its owner, or the new verification may still find
// it.
//
// token is the credential as the client holds it, wherever it was carried: in a
// bearer header, a header of its own, or a cookie, be it one among others in a
// whole Cookie header, percent-encoded, or with a signature after a dot. Forget
// takes the same short time whatever the cache holds. A token that was never seen
// is fine.
func (a *Authenticator) Forget(token string) {
	a.forget(Forgotten{kind: forgottenTag, tag: tokenTag(token)})
}

// ForgetSubject is [Authenticator.Forget] for every session of a subject.
func (a *Authenticator) ForgetSubject(subject string) {
	a.forget(Forgotten{kind: forgottenTag, tag: subjectTag(subject)})
}

// ForgetAll is [Authenticator.Forget] for every session. Open streams verify theirs
// within a second, not all at the same instant.
func (a *Authenticator) ForgetAll() { a.forget(ForgottenAll()) }

func (a *Authenticator) forget(f Forgotten) {
	a.apply(f)
	if a.broadcast != nil {
		a.broadcast.Publish(f)
	}
}

// apply is what a Forget does here, whoever asked for it.
func (a *Authenticator) apply(f Forgotten) {
	switch f.kind {
	case forgottenAll:
		if a.cache != nil {
			a.cache.ForgetAll()
		}
		a.forgotten.Add(1)
		a.streams.wakeAll()
	case forgottenTag:
		if a.cache != nil {
			a.cache.Forget(f.tag)
		}
		a.forgotten.Add(1)
		a.streams.wake(f.tag)
	}
}

// maxTags bounds the names that one request can be forgotten by.
const maxTags = 32

// tags are what the request can be forgotten by: every credential in it, in every
// form that an owner of sessions would call the token.
func (a *Authenticator) tags(r *request) []cache.Key {
	var tags []cache.Key
	seen := map[string]bool{"": true}
	add := func(token string) {
		if !seen[token] && len(tags) < maxTags {
			seen[token] = true
			tags = append(tags, tokenTag(token))
		}
	}
	add(r.token)
	for _, token := range r.found {
		add(token)
	}
	for i := range a.extractors {
		e := &a.extractors[i]
		if e.source == nil {
			continue
		}
		for _, c := range e.source.AppendCredentials(nil, r.headers.values(e.header)) {
			add(c.Token)
			if e.header != cookie {
				continue
			}
			for pair := range strings.SplitSeq(c.Value, ";") {
				_, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
				add(value)
				if plain, err := url.PathUnescape(value); err == nil {
					value = plain
					add(value)
				}
				if dot := strings.LastIndexByte(value, '.'); dot > 0 {
					add(value[:dot])
				}
			}
		}
	}
	return tags
}

// Tags implements cache.Tagged: an identity is forgotten by its subject, too.
func (id *identity) Tags() []cache.Key {
	return []cache.Key{subjectTag(id.AuthContext().Subject)}
}
