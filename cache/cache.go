// Package cache remembers verified sessions. It stands between many calls that
// carry the same credential and the owner of the session, so that one
// verification answers them all, and answers them again until its time is up.
//
// interceptor.WithCache takes a [Policy] and does the rest; [New] and [Cache.Do]
// are for other uses. A cache is a [ttlcache] store, sharded so that no lookup
// waits long, and [singleflight] in front of it. One cache is for one owner: what
// it learns of the owner being away from one key it applies to all.
//
// # Caching
//
// A value is served for min(TTL, its own expiry), a hit does not extend it, and
// only [Policy.StaleIfError] lengthens it. Refusals live in a space of their own,
// so that a flood of junk never displaces a good session; nor does one holder who
// varies what it sends, see [Policy.MaxPerSubject]. Cache identity, never
// decisions: what a session may do depends on the call.
//
// # Outages
//
// A load that fails with [ErrUnavailable], or takes longer than [Policy.Patience]
// while a stale value is there, says that the owner is away. From then on values
// that may be served stale are served without waiting, and one of the calls for
// them asks the owner, about once a second for the whole cache and less often while
// it keeps refusing, until a load succeeds. A call without such a value asks all the
// same: what its failure says may be true of its key only, and does not count. For
// the same reason a key that goes on failing while others succeed is away by
// itself. An ErrUnavailable with a method RetryAfter() time.Duration somewhere in its
// chain names a delay: nobody asks before it is over, for five minutes at most; calls
// that would have to get an error with that method.
//
// # Security
//
// Keys are digests; see [NewKey]. A load runs on a context that carries nothing
// of the caller that happened to be first. What is forgotten is never served
// again; see [Cache.Forget]. Nothing needs to be closed: a goroutine of this
// package lives as long as the load it runs.
//
// [ttlcache]: https://pkg.go.dev/github.com/jellydator/ttlcache/v3
// [singleflight]: https://pkg.go.dev/golang.org/x/sync/singleflight
package cache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/grpc-sessionauth/sessionauth/internal/forget"
)

// LoadFunc loads the value of one key. A zero expires means that no expiry is
// known. ctx carries no values, and ends after Policy.VerifyTimeout; a load that
// goes on regardless is abandoned.
type LoadFunc[V any] func(ctx context.Context) (v V, expires time.Time, err error)

// Cache keeps the values of keys for a while and loads each of them once at a
// time. It is safe for concurrent use. Its values are shared by all callers and
// must not be modified.
type Cache[V any] struct {
	policy   Policy
	ahead    time.Duration // of the wall clock; set only by tests of one that is set
	start    time.Time     // what the times in entries count from
	values   *space[*entry[V]]
	front    front[V]
	refusals *space[*refusal] // nil without a NegativeTTL
	counts   counters
	shards   []shard
	forgets  *forget.Log
	owner    *owner
	slots    slots
	inFlight atomic.Int64
	lag      time.Duration // see Fence
	fence    atomicTime    // until when what others forget is known; never: there are no others
}

// New returns an empty cache. The error names every field of policy that is not
// valid.
func New[V any](policy Policy) (*Cache[V], error) {
	policy, err := policy.withDefaults()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	c := &Cache[V]{
		policy:  policy,
		start:   start,
		values:  newSpace[*entry[V]](policy, start),
		front:   newFront[V](policy.MaxEntries),
		shards:  make([]shard, shardsFor(policy.MaxEntries)),
		forgets: forget.New(sum(policy.VerifyTimeout, sum(policy.TTL, policy.StaleIfError)), maxMarks),
		owner:   newOwner(policy.VerifyTimeout),
		slots:   newSlots(policy.MaxVerifies),
	}
	c.fence.Store(never)
	c.values.dropped = c.front.drop
	if policy.NegativeTTL > 0 {
		c.refusals = newSpace[*refusal](policy, start)
	}
	return c, nil
}

// Format implements [fmt.Formatter]: a fixed text, since what is in here is in use
// and may be secret.
func (*Cache[V]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Cache")) }

// Get returns the value of key if it is in memory and [Cache.Do] would have nothing
// to do but return it. It is for callers whose LoadFunc is not free to make; a call
// of Do that follows is counted by its own [Result].
func (c *Cache[V]) Get(key Key) (value V, ok bool) {
	e := c.entry(&key)
	if e == nil || c.forgotten(e) || !c.current(e) {
		return value, false
	}
	c.counts.count(&key, Hit)
	return e.value, true
}

// Refused reports whether [Cache.Do] would return [ErrNotFound] from memory. Like
// [Cache.Get] it is for callers whose LoadFunc is not free to make.
func (c *Cache[V]) Refused(key Key) bool {
	if c.refusals == nil || c.entry(&key) != nil || c.refused(&key) == nil {
		return false
	}
	c.counts.count(&key, Negative)
	return true
}

// entry returns the entry of key, or nil: that of the front nearly always. The caller looks
// at its times.
func (c *Cache[V]) entry(key *Key) *entry[V] {
	e := c.front.get(key)
	if e == nil {
		var ok bool
		if e, ok = c.values.get(*key); !ok {
			return nil
		}
		c.front.put(e)
	}
	e.use()
	return e
}

// held is entry for those who may serve what is past its TTL.
func (c *Cache[V]) held(key *Key) (*entry[V], bool) {
	e := c.entry(key)
	return e, e != nil && c.now() < e.until
}

// Do returns the value of key: from memory, or from load, of which one runs for a
// key at a time, refreshes in the background included. (A second one is started
// beside it when what the first is about has been forgotten, or when it has not
// answered for a second and a stale value depends on it.) The answer can be
// forgotten by tags, which must not be modified before Do returns and are not
// retained; see [Cache.Forget] and [Tagged].
//
// It waits for the load until ctx ends and then returns the error of ctx; the load
// goes on for the others. Where a value can be served stale it waits no longer
// than Policy.Patience, nor than half the time that ctx has left. ctx decides nothing
// else. The other errors are those of load, the same one for all who wait:
// [ErrNotFound] itself when the key was refused from memory, [ErrBusy],
// [ErrForgotten], [ErrExpired], [context.DeadlineExceeded] when load took too long,
// one for a load that panicked or ended its goroutine, and one that wraps
// [ErrUnavailable] and has a method RetryAfter while the owner is not to be asked.
func (c *Cache[V]) Do(ctx context.Context, key Key, load LoadFunc[V], tags ...Tag) (V, Result, error) {
	if v, ok := c.Get(key); ok {
		return v, Hit, nil
	}
	return c.do(ctx, newFlight(c, key, load, tags, false))
}

// Recheck is [Cache.Do] for what is open already, such as streams: its loads have
// slots of their own, a quarter of Policy.MaxVerifies, so that a flood of new calls
// does not keep it from knowing. It waits for one for at most
// Policy.VerifyTimeout, then returns [ErrBusy].
func (c *Cache[V]) Recheck(ctx context.Context, key Key, load LoadFunc[V], tags ...Tag) (V, Result, error) {
	if v, ok := c.Get(key); ok {
		return v, Hit, nil
	}
	return c.do(ctx, newFlight(c, key, load, tags, true))
}

// current reports whether e has not expired, and is to be served without asking. It
// reads the clock once, which is most of what it costs.
func (c *Cache[V]) current(e *entry[V]) bool {
	now := time.Now()
	age := now.Sub(c.start)
	return !c.expired(e, now) && age < e.fresh && age < e.next.Load() && (age < c.fence.Load() || age < e.trusted)
}

func (c *Cache[V]) now() time.Duration { return time.Since(c.start) }
