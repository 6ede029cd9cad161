package member

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
)

// Verified is what a verification found out.
type Verified interface {
	AuthContext() *authcontext.AuthContext
	Session() any
	// Tags are those by which it can be forgotten.
	Tags() []cache.Tag
}

// Shared is what the members of a fleet know together: what one of them has verified serves
// them all.
type Shared[V Verified] struct {
	Store    fleet.Store
	Codec    fleet.Codec // nil: sessions themselves are not shared
	Member   *Member
	Policy   *cache.Policy
	NotFound error // of a verification that found no such session
	// New takes over what another has verified, and when that was.
	New func(auth *authcontext.AuthContext, session any, at time.Time) V
}

// dated is a refusal that another has found out.
type dated struct {
	error

	at time.Time
}

// VerifiedAt implements cache.Dated.
func (d dated) VerifiedAt() time.Time { return d.at }

// Unwrap returns the refusal.
func (d dated) Unwrap() error { return d.error }

// found is what a record says, if it may be used.
type found[V Verified] struct {
	verified V
	at       time.Time // by the clock of this process
	refused  bool      // there is no such session
	usable   bool
}

// Resolve returns what another has found out about a key, which has these tags, or else lets
// verify find out, and shares that.
func (s *Shared[V]) Resolve(
	ctx context.Context, key cache.Key, tags []cache.Tag, verify func(context.Context) (V, error),
) (V, error) {
	at, ok := s.Member.Position()
	if !ok {
		return verify(ctx)
	}
	var last found[V]                  // of the record that usable was asked about last
	usable := func(data []byte) bool { // the codec is the user's
		if catch.Protect(func() { last = s.judge(data, tags) }) != nil {
			last = found[V]{}
		}
		return last.usable
	}
	var data []byte
	var settle func([]byte, time.Duration)
	fetching, cancel := half(ctx)
	panicked := catch.Protect(func() { data, settle = s.Store.Fetch(fetching, key, usable) })
	cancel()
	switch {
	case panicked != nil, settle == nil && (data == nil || !last.usable):
		return verify(ctx)
	case settle == nil && last.refused:
		return last.verified, dated{s.NotFound, last.at}
	case settle == nil:
		return last.verified, nil
	}
	var fresh []byte
	var keep time.Duration
	defer func() { // whatever the callbacks do
		_ = catch.Protect(func() { settle(fresh, keep) })
	}()
	began := time.Now()
	v, err := verify(ctx)
	if catch.Protect(func() { fresh, keep = s.record(v, err, at, began) }) != nil {
		fresh = nil
	}
	return v, err
}

// half leaves as much time to verify as a store may take to find out that there is nothing.
func half(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/2)
}

// record returns what others may use of what a verification that began after a position has
// found out, and for how long; nil for nothing, for any time.
func (s *Shared[V]) record(v V, err error, at fleet.Position, began time.Time) ([]byte, time.Duration) {
	r, keep := Record{At: at, Verified: began.Round(0)}, s.Policy.NegativeTTL
	switch {
	case err == nil:
		auth := v.AuthContext()
		keep = s.Policy.TTL
		if !auth.ExpiresAt.IsZero() {
			keep = min(keep, time.Until(auth.ExpiresAt))
		}
		p := Plain(*auth)
		r.Auth = &p
		if s.Codec != nil {
			if r.Session, err = s.Codec.Encode(v.Session()); err != nil {
				return nil, keep
			}
			r.Whole = true
		}
	case !errors.Is(err, cache.ErrNotFound):
		return nil, keep
	}
	if keep -= time.Since(began); keep <= 0 {
		return nil, keep
	}
	data, _ := r.Encode() // nil for what cannot be shared
	return data, keep
}

// judge reads a record, for a request with these tags.
func (s *Shared[V]) judge(data []byte, tags []cache.Tag) (f found[V]) {
	r, err := Decode(data)
	if err != nil {
		return f
	}
	now := time.Now()
	age := now.Sub(r.Verified) // by the wall clock, as r has no other
	limit := s.Policy.TTL
	switch {
	case r.Auth == nil:
		limit = s.Policy.NegativeTTL
	case s.Policy.RefreshAfter > 0:
		limit = s.Policy.RefreshAfter // older ones are verified anew
	}
	if age >= limit || age < -ClocksApart {
		return f
	}
	f.at, f.refused = now.Add(-max(0, age)), r.Auth == nil
	if !f.refused {
		auth, session, ok := s.read(&r)
		if !ok {
			return found[V]{}
		}
		f.verified = s.New(auth, session, f.at)
		tags = append(slices.Clip(tags), f.verified.Tags()...)
	}
	f.usable = s.Member.Stands(r.At, tags)
	return f
}

// read returns the identity and the session of a record, unless they are of no use.
func (s *Shared[V]) read(r *Record) (*authcontext.AuthContext, any, bool) {
	auth := authcontext.AuthContext(*r.Auth)
	switch {
	case !auth.ExpiresAt.IsZero() && !auth.ExpiresAt.After(time.Now()):
		return nil, nil, false
	case s.Codec == nil:
		return &auth, nil, true
	case !r.Whole:
		return nil, nil, false
	}
	session, err := s.Codec.Decode(r.Session)
	return &auth, session, err == nil && !nils.Is(session)
}
