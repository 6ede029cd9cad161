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
	lease

	value V
	// seen is a time by the clock of Forgets at which the entry was not forgotten:
	// that of its load's beginning, at first.
	seen  atomic.Uint64
	fresh time.Duration // until when it is served without asking, since Cache.start
	// trusted is until when it is served, and fresh, whatever others forget; see Fence.
	trusted time.Duration
	// next is from when on a hit refreshes it. If it is later than fresh, then a load
	// of the entry has failed, and it is served stale until then.
	next atomicTime
	// expires is the wall clock's reading, in ms, at which the value expires, on
	// top of the monotonic times above: that clock stands still while a machine
	// sleeps.
	expires int64
	blame   blame
	tags    []Tag
}

// atomicTime is a time since Cache.start.
type atomicTime struct{ ns atomic.Int64 }

func (t *atomicTime) Load() time.Duration   { return time.Duration(t.ns.Load()) }
func (t *atomicTime) Store(d time.Duration) { t.ns.Store(int64(d)) }

// raise moves t to d unless it is later already.
func (t *atomicTime) raise(d time.Duration) {
	for {
		now := t.ns.Load()
		if now >= int64(d) || t.ns.CompareAndSwap(now, int64(d)) {
			return
		}
	}
}

// sum is a + b, neither negative, or never where that is more than there is.
func sum(a, b time.Duration) time.Duration {
	if a > never-b {
		return never
	}
	return a + b
}

// asleep reports whether a load of the entry failed so recently that it is served
// stale without another.
func (c *Cache[V]) asleep(e *entry[V], now time.Duration) bool {
	next := e.next.Load()
	return now < next && next > e.fresh && next != never && !c.owner.answeredSince(&e.blame)
}

// postpone keeps e from being loaded again at once. Past its TTL it does so only if
// the load was unavailable: nothing else is a reason to serve it stale.
func (c *Cache[V]) postpone(e *entry[V], now time.Duration, unavailable bool) {
	next := now + jitter(retryLoad)
	if !unavailable {
		next = min(next, e.fresh)
	}
	e.next.Store(next)
}

// answer is e as an answer.
func (e *entry[V]) answer(r Result) answer[V] {
	return answer[V]{value: e.value, result: r, began: e.seen.Load(), tags: e.tags}
}

// refusal is that nothing was found behind a key.
type refusal struct {
	lease

	tags  []Tag
	began uint64
}

// refused returns what is remembered, and not forgotten, of nothing having been found; nil
// otherwise.
func (c *Cache[V]) refused(key *Key) *refusal {
	if c.refusals == nil {
		return nil
	}
	if r, ok := c.refusals.get(*key); ok && !c.forgets.Since(r.began, r.tags...) {
		return r
	}
	return nil
}

// maxRefusalTags bounds what a refusal holds, as requests with many credentials cost
// those who send junk nothing. One with more tags is not remembered.
const maxRefusalTags = 8

// forgotten reports whether e was forgotten after its load began. Unless something was
// since the last time, it is one comparison.
func (c *Cache[V]) forgotten(e *entry[V]) bool {
	clock, seen := c.forgets.Clock(), e.seen.Load()
	if clock == seen {
		return false
	}
	if c.forgets.Since(seen, e.tags...) {
		return true
	}
	e.seen.Store(clock) // which was read before the marks were
	return false
}

// usable reports whether e may be served at all.
func (c *Cache[V]) usable(e *entry[V]) bool {
	now := time.Now()
	return !c.forgotten(e) && !c.expired(e, now) && !c.fenced(e, now.Sub(c.start))
}

// expired reports whether the value's own time is over.
func (c *Cache[V]) expired(e *entry[V], now time.Time) bool {
	return e.expires != never && now.UnixMilli()+c.ahead.Milliseconds() >= e.expires
}

// store keeps what a load returned for as long as the policy says. It is false when
// the value has expired already.
func (c *Cache[V]) store(key Key, l *loaded[V], began uint64) bool {
	e := &entry[V]{lease: lease{key: key}, value: l.value, tags: l.tags, expires: never}
	e.seen.Store(began)
	life := time.Duration(never)
	if !l.expires.IsZero() {
		life, e.expires = l.expires.Sub(time.Now().Add(c.ahead)), l.expires.UnixMilli()
	}
	if life <= 0 {
		return false
	}
	now := c.now()
	ttl := min(max(0, c.policy.TTL-l.age(now)), life)
	e.fresh = sum(now, ttl)
	e.trusted = sum(l.verified, c.lag)
	e.next.Store(never)
	if c.policy.RefreshAfter > 0 {
		e.next.Store(sum(now, max(0, c.policy.RefreshAfter-l.age(now))))
	}
	if !c.forgets.Since(began, l.tags...) {
		c.values.put(e, min(sum(ttl, c.policy.StaleIfError), life), l.holder)
	}
	return true
}
