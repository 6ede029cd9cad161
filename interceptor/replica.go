package interceptor

import (
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// replica is an Authenticator as one of a fleet.
type replica struct{ *Authenticator }

// join makes the Authenticator a member of its fleet, if it has one.
func (a *Authenticator) join() (err error) {
	if a.bus == nil && a.store == nil {
		return nil
	}
	c := member.Config{Bus: a.bus, Lag: a.lag, Keep: cache.DefaultVerifyTimeout, Shares: a.store != nil}
	if a.policy != nil {
		c.Keep = member.Sum(max(a.policy.VerifyTimeout, cache.DefaultVerifyTimeout), a.policy.TTL, a.policy.StaleIfError)
	}
	if a.bus != nil && a.cache != nil {
		if err := a.cache.Fence(a.lag); err != nil {
			return prefixed("WithBus: ", err)
		}
	}
	if a.member, err = member.Join(replica{a}, c); err != nil || a.store == nil {
		return err
	}
	a.shared = &member.Shared[*identity]{
		Store: a.store, Codec: a.codec, Member: a.member, Policy: a.policy, NotFound: refusedLoad{refusal.NoSuchSession},
		New: func(auth *authcontext.AuthContext, session any, at time.Time) *identity {
			id := a.newIdentity(auth, session)
			id.verified = &at
			return id
		},
	}
	return nil
}

// VerifiedAt implements cache.Dated.
func (id *identity) VerifiedAt() time.Time {
	if id == nil || id.verified == nil {
		return time.Time{}
	}
	return *id.verified
}

// Apply implements member.Local.
func (r replica) Apply(f fleet.Forgotten) { r.apply(f) }

// Heard implements member.Local.
func (r replica) Heard(by time.Time) {
	if r.cache != nil {
		r.cache.Heard(by)
	}
}

// Lost implements member.Local.
func (r replica) Lost() {
	if r.cache != nil {
		r.cache.Lost()
	} else {
		r.forgotten.ForgetAll()
	}
	r.streams.WakeAll()
}

// Unheard implements member.Local.
func (r replica) Unheard(over time.Duration) { r.streams.WakeOver(over) }
