package interceptor

import (
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
)

// replica is an Authenticator as one of a fleet.
type replica struct{ *Authenticator }

// join makes the Authenticator a member of its fleet, if it has one.
func (a *Authenticator) join() (err error) {
	if a.bus == nil && a.shared == nil {
		return nil
	}
	c := member.Config{Bus: a.bus, Lag: a.lag, Keep: cache.DefaultVerifyTimeout, Shares: a.shared != nil}
	if a.policy != nil {
		c.Keep = member.Sum(max(a.policy.VerifyTimeout, cache.DefaultVerifyTimeout), a.policy.TTL, a.policy.StaleIfError)
	}
	if a.bus != nil && a.cache != nil {
		if err := a.cache.Fence(a.lag); err != nil {
			return prefixed("WithBus: ", err)
		}
	}
	a.member, err = member.Join(replica{a}, c)
	return err
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
