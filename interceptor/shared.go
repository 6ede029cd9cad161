package interceptor

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// dated is an identity that another has verified.
type dated struct {
	error

	at time.Time
}

// VerifiedAt implements cache.Dated.
func (d dated) VerifiedAt() time.Time { return d.at }

// Unwrap returns the refusal.
func (d dated) Unwrap() error { return d.error }

// VerifiedAt implements cache.Dated.
func (id *identity) VerifiedAt() time.Time {
	if id == nil || id.verified == nil {
		return time.Time{}
	}
	return *id.verified
}

// resolveShared is resolve, unless another has found out already.
func (a *Authenticator) resolveShared(ctx context.Context, r *request, tags []cache.Tag) (*identity, error) {
	if a.shared == nil {
		return a.resolve(ctx, r)
	}
	at, ok := a.member.Position()
	if !ok {
		return a.resolve(ctx, r)
	}
	var found time.Time
	var id *identity
	good := false // the record that usable was asked about last
	usable := func(data []byte) bool {
		panicked := catch.Protect(func() { id, found, good = a.judge(data, tags) }) // the codec is the user's
		good = good && panicked == nil
		return good
	}
	var data []byte
	var settle func([]byte, time.Duration)
	if catch.Protect(func() { data, settle = a.shared.Fetch(ctx, r.key, usable) }) != nil {
		return a.resolve(ctx, r)
	}
	switch {
	case settle == nil && (data == nil || !good):
		return a.resolve(ctx, r)
	case settle == nil && id == nil:
		return nil, dated{refusedLoad{refusal.NoSuchSession}, found}
	case settle == nil:
		return id, nil
	}
	var fresh []byte
	var keep time.Duration
	defer func() { // whatever the callbacks do
		_ = catch.Protect(func() { settle(fresh, keep) })
	}()
	began := time.Now()
	id, err := a.resolve(ctx, r)
	if catch.Protect(func() { fresh, keep = a.recordOf(id, err, at, began) }) != nil {
		fresh, keep = nil, 0
	}
	return id, err
}

// recordOf returns what others may use of what a verification that began after a position has
// found out, and for how long; nil for nothing.
func (a *Authenticator) recordOf(id *identity, err error, at fleet.Position, began time.Time) ([]byte, time.Duration) {
	r, keep := member.Record{At: at, Verified: began.Round(0)}, a.policy.NegativeTTL
	switch {
	case err == nil:
		auth := id.AuthContext()
		keep = a.policy.TTL
		if !auth.ExpiresAt.IsZero() {
			keep = min(keep, time.Until(auth.ExpiresAt))
		}
		p := member.Plain(*auth)
		r.Auth = &p
		if a.codec != nil {
			if r.Session, err = a.codec.Encode(id.Session()); err != nil {
				return nil, 0
			}
			r.Whole = true
		}
	case !errors.Is(err, cache.ErrNotFound):
		return nil, 0
	}
	if keep -= time.Since(began); keep <= 0 {
		return nil, 0
	}
	data, err := r.Encode()
	if err != nil {
		return nil, 0
	}
	return data, keep
}

// judge reads a record and reports whether it may be used for a request with these tags: the
// identity is nil for a refusal. at is when it was found out, by the clock of this process.
func (a *Authenticator) judge(data []byte, tags []cache.Tag) (id *identity, at time.Time, ok bool) {
	r, err := member.Decode(data)
	if err != nil {
		return nil, at, false
	}
	now := time.Now()
	age := now.Round(0).Sub(r.Verified)
	limit := a.policy.TTL
	switch {
	case r.Auth == nil:
		limit = a.policy.NegativeTTL
	case a.policy.RefreshAfter > 0:
		limit = a.policy.RefreshAfter // older ones are verified anew
	}
	if age >= limit || age < -member.ClocksApart {
		return nil, at, false
	}
	at = now.Add(-max(0, age))
	if r.Auth != nil {
		if id, ok = a.identityOf(&r, at); !ok {
			return nil, at, false
		}
		tags = append(slices.Clip(tags), id.Tags()...)
	}
	return id, at, a.member.Stands(r.At, tags)
}

// identityOf is the identity of a record, as it would be after a verification here.
func (a *Authenticator) identityOf(r *member.Record, at time.Time) (*identity, bool) {
	auth := authcontext.AuthContext(*r.Auth)
	if !auth.ExpiresAt.IsZero() && !auth.ExpiresAt.After(time.Now()) {
		return nil, false
	}
	var session any
	if a.codec != nil {
		var err error
		if !r.Whole {
			return nil, false
		}
		if session, err = a.codec.Decode(r.Session); err != nil || nils.Is(session) {
			return nil, false
		}
	}
	id := a.newIdentity(&auth, session)
	id.verified = &at
	return id, true
}
