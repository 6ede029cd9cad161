package cache

import (
	"math"
	"sync/atomic"
	"time"
)

const never = math.MaxInt64

// entry is a value in memory. It is there for its TTL and, after that, for as long
// as it may be served stale.
type entry[V any] struct {
	value   V
	slots   []slot        // of its tags
	began   uint64        // by the clock of Forgets
	fresh   time.Duration // until when it is served without asking, since Cache.start
	refresh atomicTime    // from when on a hit refreshes it
	away    away
	// expires is the wall clock's reading, in ms, at which the value expires, on
	// top of the monotonic times above: that clock stands still while a machine
	// sleeps.
	expires int64
}

// atomicTime is a time since Cache.start.
type atomicTime struct{ ns atomic.Int64 }

func (t *atomicTime) Load() time.Duration   { return time.Duration(t.ns.Load()) }
func (t *atomicTime) Store(d time.Duration) { t.ns.Store(int64(d)) }

// claim moves t to the far future if it has come, for one caller only.
func (t *atomicTime) claim(now time.Duration) bool {
	at := t.ns.Load()
	return int64(now) >= at && t.ns.CompareAndSwap(at, never)
}

// refusal is that a key was rejected.
type refusal struct {
	slots []slot
	began uint64
}

// usable reports whether e may be served at all.
func (c *Cache[V]) usable(e *entry[V]) bool {
	return !c.forgets.since(e.began, e.slots) && !e.expired(time.Now())
}

// expired reports whether the value's own time is over.
func (e *entry[V]) expired(now time.Time) bool {
	return e.expires != never && now.UnixMilli() >= e.expires
}

// store keeps what a load returned for as long as the policy says. It is false when
// the value has expired already.
func (c *Cache[V]) store(key Key, value V, expires time.Time, began uint64, tags []slot) bool {
	e := &entry[V]{value: value, slots: tags, began: began, expires: never}
	life := time.Duration(never)
	if !expires.IsZero() {
		life, e.expires = time.Until(expires), expires.UnixMilli()
	}
	if life <= 0 {
		return false
	}
	now := c.now()
	ttl := min(c.policy.TTL, life)
	e.fresh = now + ttl
	e.refresh.Store(never)
	if c.policy.RefreshAfter > 0 {
		e.refresh.Store(now + c.policy.RefreshAfter)
	}
	if !c.forgets.since(began, tags) {
		c.values.put(key, e, min(ttl+c.policy.StaleIfError, life))
	}
	return true
}
