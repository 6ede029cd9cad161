package cache

import (
	"fmt"
	"time"
)

// Dated is implemented by values and errors that a [LoadFunc] returns and that were found
// out before it was called, elsewhere: their time counts from then, and they say nothing
// about the owner being there. VerifiedAt is when, by the monotonic clock of this process;
// zero: now. It is called once for each load, with the load's bounds.
type Dated interface{ VerifiedAt() time.Time }

// Fence has the cache depend on a bus that tells what others forget: from now on a value is
// served only if it was verified within lag, or [Cache.Heard] says that what was
// forgotten until then is known. Otherwise the cache behaves as if its TTL were lag.
// Call it before the cache is used. The error says that lag does not fit the policy.
func (c *Cache[V]) Fence(lag time.Duration) error {
	if lag <= 0 || lag > c.policy.TTL {
		return fmt.Errorf("cache: the lag must be positive and not above the TTL of %v, got %v", c.policy.TTL, lag)
	}
	c.lag = lag
	c.fence.Store(0)
	return nil
}

// Heard says that everything others had told to forget by then has been forgotten here. The
// time is one of this process, with its monotonic reading; one in the far future is fine
// where nothing can be missed.
func (c *Cache[V]) Heard(by time.Time) { c.fence.raise(sum(max(0, by.Sub(c.start)), c.lag)) }

// Lost says that something may not have been heard: everything is forgotten, and Heard no
// longer holds.
func (c *Cache[V]) Lost() {
	c.fence.Store(0)
	c.ForgetAll()
}

// freshUntil is until when e is served without asking: for its TTL, or its part of it that
// is left while the bus is not heard.
func (c *Cache[V]) freshUntil(e *entry[V], now time.Duration) time.Duration {
	if now < c.fence.Load() {
		return e.fresh
	}
	return min(e.fresh, e.trusted)
}

// fenced reports whether e may not even be served stale, since the bus is not heard.
func (c *Cache[V]) fenced(e *entry[V], now time.Duration) bool {
	return now >= c.fence.Load() && now >= sum(e.trusted, c.policy.StaleIfError)
}
