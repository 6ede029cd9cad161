package interceptor

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
)

const (
	// minBusSecret is what 128 random bits take in hexadecimal.
	minBusSecret  = 32
	maxBusSecrets = 3
)

// WithBus joins this Authenticator with others: what one of them is told to forget, all
// forget. A session in memory is then served only if it was verified, or the bus was heard
// without a gap, within [WithLag]: cut off from the bus, the cache behaves as if its TTL were
// that, and open streams are verified again about every 5 s. When messages may have been
// lost, everything is forgotten. By default an Authenticator stands alone.
//
// secret, of at least 32 bytes, is the same for all of them: what is sent are digests
// keyed by it, since a subject can be guessed from a plain one. To replace it, add the new
// one as another of older everywhere, then swap the two everywhere, then drop the old one: at
// most two older ones. Short secrets, or a bus that cannot be followed, make
// [NewSessionAuth] fail.
func WithBus(bus fleet.Bus, secret string, older ...string) Option {
	secrets := append([]string{secret}, older...)
	return ofSession("WithBus", func(c *config) {
		if nils.Is(bus) {
			return
		}
		c.bus, c.busSecrets = bus, secrets
		for i, secret := range secrets {
			if len(secret) < minBusSecret {
				c.fail(fmt.Errorf("interceptor: WithBus: secret %d has %d bytes, want %d or more of random ones", i+1, len(secret), minBusSecret))
			}
			if slices.Contains(secrets[:i], secret) {
				c.fail(fmt.Errorf("interceptor: WithBus: secret %d is there twice", i+1))
			}
		}
		if len(secrets) > maxBusSecrets {
			c.fail(fmt.Errorf("interceptor: WithBus: %d secrets, want at most %d", len(secrets), maxBusSecrets))
		}
	})
}

// WithLag says how long the bus of [WithBus] may go unheard before nothing is served from
// memory that was verified longer ago: so long, at most, what another replica was told to
// forget may still be served here. It is positive and at most the cache's TTL. By default
// fleet.DefaultLag, or the TTL if that is shorter.
func WithLag(lag time.Duration) Option {
	return ofSession("WithLag", func(c *config) { c.lag, c.lagGiven = lag, true })
}

// WithSharedCache puts a second level behind the cache of [WithCache]: what is not in memory
// is looked for there, then verified. All who share it must be replicas of one service, with
// the same callbacks and options. A session is served for its TTL from the verification,
// wherever that was; with RefreshAfter, one found there is younger than that, too. The clocks
// of the replicas must agree to a second. What the callbacks hand to
// [SetResponseHeader] is not shared.
//
// Of a session its identity is shared, if encoding/json can hold its claims, and the session
// itself by way of codec; without a codec, nil, authcontext.SessionFromContext finds none where
// another replica has verified. By default nothing is shared. It needs WithCache.
//
// A shared session that was forgotten is not served where the Forget is known: with [WithBus]
// everywhere, without only here.
func WithSharedCache(store fleet.Store, codec fleet.Codec) Option {
	return ofSession("WithSharedCache", func(c *config) {
		if nils.Is(store) {
			return
		}
		c.store = store
		if !nils.Is(codec) {
			c.codec = codec
		}
	})
}

// checkFleet fills in the default of the lag, and checks what must fit together.
func (c *config) checkFleet() {
	longest := time.Duration(1<<63 - 1)
	if c.policy != nil && c.policy.TTL > 0 { // otherwise the cache says so
		longest = c.policy.TTL
	}
	switch {
	case !c.lagGiven:
		c.lag = min(fleet.DefaultLag, longest)
	case c.bus == nil && !slices.Contains(c.ofSession, "WithBus"):
		c.fail(errors.New("interceptor: WithLag needs WithBus"))
	case c.lag <= 0 || c.lag > longest:
		c.fail(fmt.Errorf("interceptor: WithLag: %v must be positive and not above the TTL of %v", c.lag, longest))
	}
	if c.store != nil && c.policy == nil {
		c.fail(errors.New("interceptor: WithSharedCache needs WithCache"))
	}
}
