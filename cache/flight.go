package cache

import (
	"context"
	"errors"
	"slices"
	"time"
)

// flight is one call's part in the loading of a key.
type flight[V any] struct {
	cache *Cache[V]
	key   Key
	load  LoadFunc[V]
	slots []slot // of the tags that the call knows
}

type answer[V any] struct {
	value  V
	result Result
	err    error
	began  uint64
	slots  []slot
}

// fromMemory answers without waiting, if it can, and starts a load in the
// background if one is due.
func (f *flight[V]) fromMemory() (a answer[V], ok bool) {
	c := f.cache
	if e, ok := c.values.get(f.key); ok && c.usable(e) {
		var answered, load bool
		a.value, a.began, a.slots = e.value, e.began, e.slots
		if now := c.now(); now < e.fresh {
			a.result, answered, load = Hit, true, e.refresh.claim(now)
		} else { // past its TTL: the owner is asked, unless it is known to be away
			a.result = Stale
			answered, load = e.away.now(now, c.policy.VerifyTimeout)
		}
		if load {
			f.background()
		}
		if answered {
			return a, true
		}
	}
	if c.refusals != nil {
		if r, ok := c.refusals.get(f.key); ok && !c.forgets.since(r.began, r.slots) {
			return answer[V]{result: Negative, err: ErrRejected, began: r.began, slots: r.slots}, true
		}
	}
	return answer[V]{}, false
}

// background loads the key for those who come later. The goroutine ends with the
// load, which is bounded.
func (f *flight[V]) background() {
	s := &f.cache.shards[shardIndex(f.key, len(f.cache.shards))]
	s.flights.DoChan(f.name(), func() (any, error) { return f.fly(true), nil })
}

// fly loads the key. Unless it is to refresh, it looks in memory once more: the
// flight before may have landed between the caller's lookup and this one's start.
func (f *flight[V]) fly(refresh bool) answer[V] {
	c := f.cache
	began := c.forgets.clock.Load()
	if !refresh {
		if a, ok := f.fromMemory(); ok {
			return a
		}
	}
	value, expires, err := f.run()
	tags := f.slots
	if tagged, ok := any(value).(Tagged); err == nil && ok {
		tags = slices.Clone(tags)
		for _, tag := range tagged.Tags() {
			tags = append(tags, slotOf(tag))
		}
	}
	a := answer[V]{value: value, result: Miss, err: err, began: began, slots: tags}
	if err == nil && !c.store(f.key, value, expires, began, tags) {
		var zero V
		a.value, a.err = zero, ErrExpired
	}
	f.settle(&a)
	return a
}

// run runs the load, within the bounds on their number and time.
func (f *flight[V]) run() (value V, expires time.Time, err error) {
	c := f.cache
	if limit := c.policy.MaxVerifies; c.inFlight.Add(1) > int64(limit) && limit > 0 {
		c.inFlight.Add(-1)
		return value, expires, ErrBusy
	}
	type loaded struct {
		value   V
		expires time.Time
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.policy.VerifyTimeout)
	defer cancel()
	l, err := Call(ctx, func(ctx context.Context) (l loaded, err error) {
		defer c.inFlight.Add(-1) // not before: one that was abandoned still runs
		l.value, l.expires, err = f.load(ctx)
		return l, err
	})
	if err != nil && ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(err, ErrUnavailable)
	}
	if err != nil { // a value that comes with an error is none
		return value, expires, err
	}
	return l.value, l.expires, nil
}

// settle does what an error asks for: it remembers a refusal, drops an entry that
// was refused, or serves it stale.
func (f *flight[V]) settle(a *answer[V]) {
	if a.err == nil {
		return
	}
	c := f.cache
	e, held := c.values.get(f.key)
	held = held && c.usable(e)
	switch {
	case errors.Is(a.err, ErrRejected), errors.Is(a.err, ErrRefused), errors.Is(a.err, ErrExpired):
		c.values.delete(f.key)
		if c.refusals != nil && errors.Is(a.err, ErrRejected) && !c.forgets.since(a.began, a.slots) {
			c.refusals.put(f.key, refusal{a.slots, a.began}, c.policy.NegativeTTL)
		}
	case held:
		now := c.now()
		e.refresh.Store(now + retryRefresh)
		e.away.note(now, a.err)
		if errors.Is(a.err, ErrUnavailable) {
			a.value, a.result, a.err, a.slots, a.began = e.value, Stale, nil, e.slots, e.began
		}
	}
}

const (
	// retryRefresh is how long a failed background refresh is not tried again.
	retryRefresh = time.Second
	// outageMemory is how long after a failure the owner is taken to be away still,
	// so that a stale entry is served without waiting for another failure.
	outageMemory = time.Second
	// probeEvery is how often it is asked meanwhile.
	probeEvery = 250 * time.Millisecond
)

// away is what is known of the owner of one entry being away. It is kept for each
// entry, so that one that its owner fails over keeps no other from being verified.
type away struct {
	until atomicTime // 0: it answers
	probe atomicTime
}

// now reports whether the owner is away, and whether it is this caller's turn to ask
// it in the background.
func (a *away) now(now, timeout time.Duration) (away, probe bool) {
	until := a.until.Load()
	if now >= until {
		return false, false
	}
	if !a.probe.claim(now) {
		return true, false
	}
	a.probe.Store(now + probeEvery)
	// Until the probe is back, nobody needs to wait for it.
	a.until.ns.CompareAndSwap(int64(until), int64(max(until, now+timeout+outageMemory)))
	return true, true
}

// note learns from a load that failed. ErrBusy says nothing about the owner.
func (a *away) note(now time.Duration, err error) {
	switch {
	case errors.Is(err, ErrBusy):
	case errors.Is(err, ErrUnavailable):
		a.until.Store(now + outageMemory)
	default:
		a.until.Store(0)
	}
}
