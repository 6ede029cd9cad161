// Package cache remembers verified sessions. It stands between many calls that
// carry the same credential and the owner of the session, so that one
// verification answers them all, and answers them again until its time is up.
//
// interceptor.WithCache takes a [Policy] and does the rest; [New] and [Cache.Do]
// are for other uses. A cache is a [ttlcache] store, sharded so that no lookup
// waits long, and [singleflight] in front of it.
//
// # Caching
//
// A value is served for min(TTL, its own expiry), a hit does not extend it, and
// only [Policy.StaleIfError] lengthens it. Refusals live in a space of their own,
// so that a flood of junk never displaces a good session. Cache identity, never
// decisions: what a session may do depends on the call.
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
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

var (
	// ErrRejected is wrapped by the error of a load that found out that there is
	// nothing behind the key: it is what NegativeTTL remembers, and the error
	// of a [Negative] result.
	ErrRejected = errors.New("cache: rejected")
	// ErrRefused is wrapped by the error of a load that found something which must
	// not be served: a background refresh drops the entry for it, as it does for
	// ErrRejected, but nothing is remembered.
	ErrRefused = errors.New("cache: refused")
	// ErrUnavailable is wrapped by the error of a load that could not find out. It
	// is what StaleIfError helps against.
	ErrUnavailable = errors.New("cache: unavailable")
	// ErrBusy is the error when Policy.MaxVerifies loads are under way. It wraps
	// ErrUnavailable.
	ErrBusy = fmt.Errorf("%w: too many loads in flight", ErrUnavailable)
	// ErrExpired is the error when a load returns a value that has expired
	// already. It is not stored.
	ErrExpired = errors.New("cache: the loaded value has expired")
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
	timed    bool      // the age of a value in memory matters
	start    time.Time // what the times in entries count from
	values   *space[*entry[V]]
	refusals *space[refusal] // nil without a NegativeTTL
	shards   []shard
	forgets  forgets
	inFlight atomic.Int64
}

// shard is what the calls for a part of the keys share.
type shard struct {
	counters

	flights singleflight.Group
}

// New returns an empty cache. The error names every field of policy that is not
// valid.
func New[V any](policy Policy) (*Cache[V], error) {
	policy, err := policy.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Cache[V]{
		policy: policy,
		timed:  policy.RefreshAfter > 0 || policy.StaleIfError > 0,
		start:  time.Now(),
		values: newSpace[*entry[V]](policy.MaxEntries),
		shards: make([]shard, shardsFor(policy.MaxEntries)),
	}
	if policy.NegativeTTL > 0 {
		c.refusals = newSpace[refusal](policy.MaxEntries)
	}
	return c, nil
}

// Format implements [fmt.Formatter]: a fixed text, since what is in here is in use
// and may be secret.
func (*Cache[V]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Cache")) }

// Get returns the value of key if it is in memory and [Cache.Do] would have nothing
// to do but return it. It is for callers whose LoadFunc is not free to make; a call
// of Do that follows is counted by its own [Result].
func (c *Cache[V]) Get(key Key) (V, bool) {
	e, ok := c.values.get(key)
	if !ok || c.forgets.since(e.began, e.slots) || (c.timed || e.expires != never) && !c.current(e) {
		var zero V
		return zero, false
	}
	c.shards[shardIndex(key, len(c.shards))].count(Hit)
	return e.value, true
}

// Do returns the value of key: from memory, or from load, of which at most one
// runs for a key at a time, refreshes in the background included. The answer can
// be forgotten by tags; see [Cache.Forget] and [Tagged].
//
// It waits for the load until ctx ends and then returns the error of ctx; the load
// goes on for the others. ctx decides nothing else. The other errors are those
// of load, the same one for all who wait: [ErrRejected] itself when the key was
// refused from memory, [ErrBusy], [ErrExpired], a [PanicError] or [ErrGoexit] when
// load did not return, and [context.DeadlineExceeded] when it took too long.
func (c *Cache[V]) Do(ctx context.Context, key Key, load LoadFunc[V], tags ...Key) (V, Result, error) {
	f := flight[V]{cache: c, key: key, load: load, slots: make([]slot, 0, len(tags)+1)}
	for _, tag := range tags {
		f.slots = append(f.slots, slotOf(tag))
	}
	s := &c.shards[shardIndex(key, len(c.shards))]
	for {
		a, ok := f.fromMemory()
		if !ok {
			a = f.join(ctx, s)
			if a.err == nil || ctx.Err() == nil {
				if c.forgets.since(a.began, a.slots) {
					continue // while the load ran: its answer may be out of date
				}
			}
		}
		s.count(a.result)
		return a.value, a.result, a.err
	}
}

// name names the flight that can answer. A Forget of what a flight in the air is
// about renames the next one, so that nobody waits for an answer of no use.
func (f *flight[V]) name() string {
	return string(binary.BigEndian.AppendUint64(f.key[:], f.cache.forgets.latest(f.slots)))
}

// join waits for the key's flight, and starts it if there is none.
func (f *flight[V]) join(ctx context.Context, s *shard) answer[V] {
	if err := ctx.Err(); err != nil {
		return answer[V]{result: Miss, err: err}
	}
	led := false
	landing := s.flights.DoChan(f.name(), func() (any, error) {
		led = true
		return f.fly(false), nil
	})
	select {
	case landed := <-landing:
		a, _ := landed.Val.(answer[V])
		if a.result == Miss && !led {
			a.result = Shared
		}
		return a
	case <-ctx.Done():
		return answer[V]{result: Shared, err: ctx.Err()}
	}
}

// current reports whether e has not expired, and is to be served without asking. It
// reads the clock once, which is most of what it costs.
func (c *Cache[V]) current(e *entry[V]) bool {
	now := time.Now()
	age := now.Sub(c.start)
	return !e.expired(now) && age < e.fresh && age < e.refresh.Load()
}

func (c *Cache[V]) now() time.Duration { return time.Since(c.start) }
