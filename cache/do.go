package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
)

// attempts is how many loads a call waits for when one after the other is overtaken
// by a Forget.
const attempts = 3

// flight is one call's part in the loading of a key.
type flight[V any] struct {
	cache   *Cache[V]
	shard   *shard
	key     Key
	load    LoadFunc[V]
	tags    []Tag // that the call knows
	recheck bool
}

// newFlight copies tags, so that those of a hit stay on its caller's stack.
func newFlight[V any](c *Cache[V], key Key, load LoadFunc[V], tags []Tag, recheck bool) *flight[V] {
	f := &flight[V]{cache: c, shard: &c.shards[shardIndex(&key, len(c.shards))], key: key, load: load, recheck: recheck}
	if len(tags) > 0 {
		f.tags = make([]Tag, len(tags))
		copy(f.tags, tags)
	}
	return f
}

type answer[V any] struct {
	value  V
	result Result
	err    error
	began  uint64 // by the clock of Forgets
	tags   []Tag
	again  bool // a younger load has found out something else
}

func (c *Cache[V]) do(ctx context.Context, f *flight[V]) (V, Result, error) {
	a := f.answer(ctx)
	c.counts.count(&f.key, a.result)
	return a.value, a.result, a.err
}

// answer finds an answer that nothing has made obsolete by the time it is there.
func (f *flight[V]) answer(ctx context.Context) answer[V] {
	c, busy := f.cache, false
	for range attempts {
		busy = false
		a, held, ok := f.fromMemory(true)
		if ok {
			return a
		}
		if left := c.owner.delayed(c.now()); left > 0 && held == nil {
			return answer[V]{result: Miss, err: newWaitError(left)}
		}
		a = f.join(ctx, held)
		switch {
		case (f.recheck || held != nil) && a.result == Shared && errors.Is(a.err, ErrBusy):
			// Another call's, which waits less for a slot.
			busy = true
		case a.again:
		case !c.forgets.Since(a.began, a.tags...) && !c.forgets.Since(a.began, f.tags...):
			return a
		}
	}
	if busy {
		return answer[V]{result: Shared, err: ErrBusy}
	}
	return answer[V]{result: Miss, err: ErrForgotten}
}

// fromMemory answers without waiting, if it can, and may start a load in the
// background if one is due. Otherwise it returns the entry that may be served
// stale, if there is one.
func (f *flight[V]) fromMemory(start bool) (a answer[V], held *entry[V], ok bool) {
	c := f.cache
	if e, ok := c.held(&f.key); ok && c.usable(e) {
		a = e.answer(Hit)
		now := c.now()
		if now < c.freshUntil(e, now) {
			if start {
				f.refresh(e, now)
			}
			return a, nil, true
		}
		a.result = Stale
		switch {
		case c.owner.away(now):
			if start && c.owner.turn(now, f.key) {
				f.background(true)
			}
			return a, nil, true
		case c.asleep(e, now):
			return a, nil, true
		}
		held = e // past its TTL: the owner is asked
	}
	if r := c.refused(&f.key); r != nil {
		return answer[V]{result: Negative, err: ErrNotFound, began: r.began, tags: r.tags}, nil, true
	}
	return answer[V]{}, held, false
}

// refresh starts a load in the background if e is old enough for that. An owner that
// is away is not asked for it but by way of a probe.
func (f *flight[V]) refresh(e *entry[V], now time.Duration) {
	next := e.next.Load()
	if now < next {
		return
	}
	c := f.cache
	away := c.owner.away(now)
	if away && !c.owner.turn(now, f.key) {
		return
	}
	// Should the load not come to anything, the next one is due later.
	later := min(sum(now, sum(c.policy.VerifyTimeout, retryLoad)), e.fresh)
	if e.next.ns.CompareAndSwap(int64(next), int64(later)) {
		f.background(away)
	}
}

// name names the flight that can answer. A Forget of what a flight in the air is
// about renames the next one, so that nobody waits for an answer of no use.
func (f *flight[V]) name() string {
	return string(binary.BigEndian.AppendUint64(f.key[:], f.cache.forgets.Latest(f.tags...)))
}

// background loads the key for those who come later. The goroutine ends with the
// load, which is bounded.
func (f *flight[V]) background(probe bool) {
	name := f.name()
	if probe {
		f.renew(name)
	}
	f.shard.flights.DoChan(name, func() (any, error) { return f.fly(background, probe), nil })
}

// renew lets the next load be started beside one that has not answered for a while.
func (f *flight[V]) renew(name string) {
	if since, ok := f.shard.isLoading(f.key); ok && f.cache.now()-since >= overdue {
		f.shard.flights.Forget(name)
	}
}

// join waits for the key's flight, and starts it if there is none. It runs out of
// patience if held could be served instead.
func (f *flight[V]) join(ctx context.Context, held *entry[V]) answer[V] {
	if ctx.Err() != nil {
		return f.gaveUp(ctx, Miss)
	}
	name, p := f.name(), newcomer
	var impatient <-chan time.Time
	if held != nil {
		p = renewal
		f.renew(name)
		ticker := time.NewTicker(f.patience(ctx))
		defer ticker.Stop()
		impatient = ticker.C
	}
	if f.recheck {
		p = recheck
	}
	led := false
	landing := f.shard.flights.DoChan(name, func() (any, error) {
		led = true
		return f.fly(p, false), nil
	})
	for waited := 1; ; waited++ {
		select {
		case landed := <-landing:
			a, _ := landed.Val.(answer[V])
			if a.result == Miss && !led {
				a.result = Shared
			}
			return a
		case <-ctx.Done():
			return f.gaveUp(ctx, Shared)
		case <-impatient:
			if a, ok := f.impatient(held, waited); ok {
				return a
			}
		}
	}
}

func (f *flight[V]) gaveUp(ctx context.Context, r Result) answer[V] {
	return answer[V]{result: r, err: ctx.Err(), began: f.cache.forgets.Clock()}
}

// patience is how long a call waits that could be answered stale.
func (f *flight[V]) patience(ctx context.Context) time.Duration {
	patience := f.cache.policy.Patience
	if deadline, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(deadline)/2)
	}
	return max(patience, 1)
}

// impatient answers a call whose load has not. A load that has begun goes on, and its
// owner counts as away if it is slow; that a caller is in a hurry says nothing about
// it. A load that waits for a slot still is no reason to serve what may have ended.
func (f *flight[V]) impatient(held *entry[V], waited int) (answer[V], bool) {
	c := f.cache
	since, loading := f.shard.isLoading(f.key)
	if now := c.now(); loading && now-since >= c.policy.Patience/4*3 {
		held.next.Store(now + jitter(retryLoad))
		c.owner.failed(now, &held.blame)
	}
	if a, _, ok := f.fromMemory(true); ok {
		return a, true
	}
	if e, ok := c.held(&f.key); ok && loading && c.usable(e) {
		return e.answer(Stale), true
	}
	// The second time: the flight is another call's, which waits longer for a slot.
	busy := answer[V]{result: Miss, err: ErrBusy, began: c.forgets.Clock()}
	return busy, !loading && !f.recheck && waited > 1
}
