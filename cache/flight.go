package cache

import (
	"context"
	"errors"
	"time"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
)

// retryLoad is about how long after a load has failed its entry is not loaded again.
const retryLoad = time.Second

// loaded is what came of a load.
type loaded[V any] struct {
	value    V
	expires  time.Time
	tags     []Tag
	holder   Tag
	err      error
	verdict  verdict
	timedOut bool
	verified time.Duration // when it was found out, since Cache.start: when the load began, or before
	dated    bool          // that was before
	at       time.Time     // see Dated
}

// age is how long ago what a load returned had been found out before the load.
func (l *loaded[V]) age(now time.Duration) time.Duration {
	if !l.dated {
		return 0
	}
	return max(0, now-l.verified)
}

// fly is [flight.land] for a goroutine that must not panic.
func (f *flight[V]) fly(p purpose, probe bool) (a answer[V]) {
	if err := catch.Protect(func() { a = f.land(p, probe) }); err != nil {
		return answer[V]{result: Miss, err: err, began: f.cache.forgets.Clock()}
	}
	return a
}

// land loads the key. Unless it is in the background, it looks in memory once more: the
// flight before may have landed between the caller's lookup and this one's start.
func (f *flight[V]) land(p purpose, probe bool) answer[V] {
	c := f.cache
	began := c.forgets.Clock()
	if p != background {
		if a, _, ok := f.fromMemory(false); ok { // what that starts would be this flight
			return a
		}
	}
	if probe {
		c.owner.probing(1)
		defer c.owner.probing(-1)
	}
	a := answer[V]{result: Miss, began: began, tags: f.tags}
	if left := c.owner.delayed(c.now()); left > 0 {
		return f.notLoaded(a, newWaitError(left))
	}
	if probe { // or an owner that is back would not be noticed while others hang
		p = renewal
	}
	slot := c.slots.take(p, c.policy.Patience, c.policy.VerifyTimeout)
	if slot == nil {
		return f.notLoaded(a, ErrBusy)
	}
	if left := c.owner.delayed(c.now()); left > 0 { // said while this one waited
		<-slot
		return f.notLoaded(a, newWaitError(left))
	}
	a.began = c.forgets.Clock() // what was forgotten meanwhile is asked for now
	now := c.now()
	of, number, ok := f.shard.begin(f.key, now)
	if !ok {
		<-slot
		return f.notLoaded(a, ErrBusy)
	}
	defer f.shard.release(f.key, of)
	l := f.run(of, slot)
	l.verified = now
	if l.dated = !l.at.IsZero(); l.dated {
		l.verified = min(now, l.at.Sub(c.start))
	}
	f.learn(&l, probe)
	if a.err = l.err; l.verdict == found { // a value that comes with an error is none
		a.value, a.tags = l.value, l.tags
	}
	if !of.apply(number, l.verdict, func() { f.settle(&a, &l) }) {
		a.again = true
	}
	return a
}

// run runs the load within the bound on its time. What it returns has been judged
// in there, too: that calls methods which may do anything.
func (f *flight[V]) run(of *loads, slot chan struct{}) loaded[V] {
	c := f.cache
	c.inFlight.Add(1)
	ctx, cancel := context.WithTimeout(context.Background(), c.policy.VerifyTimeout)
	defer cancel()
	l, err := catch.Call(ctx, func(ctx context.Context) (l loaded[V], _ error) {
		defer func() { // not before: one that was abandoned still runs
			f.shard.end(f.key, of)
			c.inFlight.Add(-1)
			<-slot
		}()
		l.value, l.expires, l.err = f.load(ctx)
		l.timedOut = ctx.Err() != nil && errors.Is(l.err, context.DeadlineExceeded)
		f.judge(&l)
		return l, nil
	})
	if err == nil {
		return l
	}
	l = loaded[V]{err: err, verdict: unclear}
	if ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		l.timedOut = true
		f.judge(&l)
	}
	return l
}

// judge fills in what follows from what was loaded, and learns the delay that the owner
// named, be it in an answer that came too late.
func (f *flight[V]) judge(l *loaded[V]) {
	if l.timedOut {
		l.err = errors.Join(l.err, ErrUnavailable)
	}
	l.verdict, l.tags = judge(l.err), f.tags
	if l.verdict == unavailable {
		if delay := retryAfter(l.err); delay > 0 { // now: who gets this load's slot must know of it
			f.cache.owner.delay(f.cache.now(), delay)
		}
	}
	if dated, ok := any(l.value).(Dated); ok && l.verdict == found {
		l.at = dated.VerifiedAt()
	} else if dated, ok := errors.AsType[interface {
		error
		Dated
	}](l.err); ok {
		l.at = dated.VerifiedAt()
	}
	if tagged, ok := any(l.value).(Tagged); ok && l.verdict == found {
		own := tagged.Tags()
		l.tags = append(append(make([]Tag, 0, len(f.tags)+len(own)), f.tags...), own...)
		l.holder = tagged.Holder()
	}
}

// notLoaded answers a call that may not load: stale, if the owner is away.
func (f *flight[V]) notLoaded(a answer[V], err error) answer[V] {
	c := f.cache
	a.err = err
	e, ok := c.held(&f.key)
	if !ok || !c.usable(e) {
		return a
	}
	now := c.now()
	c.postpone(e, now, false)
	if c.owner.away(now) {
		return e.answer(Stale)
	}
	return a
}

// learn takes from a load what it says about the owner. A key that is not in memory
// may be junk: that it is refused can be known without the owner, and that the owner
// fails over it says nothing about others.
func (f *flight[V]) learn(l *loaded[V], probe bool) {
	c := f.cache
	e, held := c.held(&f.key)
	now := c.now()
	switch {
	case l.dated: // another process asked
	case l.verdict == found:
		c.owner.answered()
	case !held:
	case l.verdict == unavailable:
		c.owner.failed(now, &e.blame)
		if probe && !l.timedOut {
			c.owner.refused()
		}
	default:
		c.owner.answered()
	}
}

// settle does what the answer asks for: it stores a value, remembers a refusal, drops
// an entry that was refused, or serves it stale.
func (f *flight[V]) settle(a *answer[V], l *loaded[V]) {
	c := f.cache
	if l.verdict == found && !c.store(f.key, l, a.began) {
		var zero V
		a.value, a.err, l.verdict = zero, ErrExpired, forbidden
	}
	switch l.verdict {
	case found:
		if c.refusals != nil { // what an older load was told is not to be said when the value's time is over
			c.refusals.delete(f.key)
		}
	case notFound, forbidden:
		if c.forgets.Since(a.began, a.tags...) {
			return // there may be a newer entry
		}
		c.values.delete(f.key)
		if c.refusals != nil && l.verdict == notFound && len(a.tags) <= maxRefusalTags {
			c.refusals.put(&refusal{lease: lease{key: f.key}, tags: a.tags, began: a.began}, c.policy.NegativeTTL-l.age(c.now()), Tag{})
		}
	case unavailable, unclear:
		e, held := c.held(&f.key)
		if !held || !c.usable(e) {
			return
		}
		c.postpone(e, c.now(), l.verdict == unavailable)
		if l.verdict == unavailable {
			*a = e.answer(Stale)
		}
	}
}
