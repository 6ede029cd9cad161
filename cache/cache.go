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
// A value is served for min(TTL, its own expiry), never longer, and a hit does
// not extend it. Refusals live in a space of their own, so that a flood of junk
// never displaces a good session. Cache identity, never decisions: what a session
// may do depends on the call.
//
// # Security
//
// Keys are digests; see [NewKey]. A load runs on a context that carries nothing
// of the caller that happened to be first. Nothing needs to be closed: a goroutine
// of this package lives as long as the load it runs.
//
// [ttlcache]: https://pkg.go.dev/github.com/jellydator/ttlcache/v3
// [singleflight]: https://pkg.go.dev/golang.org/x/sync/singleflight
package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/singleflight"
)

var (
	// ErrRejected is wrapped by the error of a load that found out that there is
	// nothing behind the key: it is what NegativeTTL remembers, and the error
	// of a [Negative] result.
	ErrRejected = errors.New("cache: rejected")
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
	values   *space[entry[V]]
	refusals *space[struct{}] // nil without a NegativeTTL
	shards   []shard
}

// shard is what the calls for a part of the keys share.
type shard struct {
	flights singleflight.Group
	counters
}

const noExpiry = math.MaxInt64

type entry[V any] struct {
	value V
	// expires is the wall clock's reading, in ms, at which the value expires, on
	// top of the entry's TTL: the monotonic clock behind that one stands still
	// while a machine sleeps.
	expires int64
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
		values: newSpace[entry[V]](policy.MaxEntries),
		shards: make([]shard, shardsFor(policy.MaxEntries)),
	}
	if policy.NegativeTTL > 0 {
		c.refusals = newSpace[struct{}](policy.MaxEntries)
	}
	return c, nil
}

// Format implements [fmt.Formatter]: a fixed text, since what is in here is in use
// and may be secret.
func (*Cache[V]) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Cache")) }

// Do returns the value of key: from memory, or from load, of which at most one
// runs for a key at a time.
//
// It waits for the load until ctx ends and then returns the error of ctx; the load
// goes on for the others. ctx decides nothing else. The other errors are those
// of load, the same one for all who wait: [ErrRejected] itself when the key was
// refused from memory, [ErrExpired], a [PanicError] or [ErrGoexit] when load did
// not return, and [context.DeadlineExceeded] when it took too long.
func (c *Cache[V]) Do(ctx context.Context, key Key, load LoadFunc[V]) (V, Result, error) {
	s := &c.shards[shardIndex(key, len(c.shards))]
	if a, ok := c.lookup(key); ok {
		s.count(a.result)
		return a.value, a.result, a.err
	}
	var zero V
	if err := ctx.Err(); err != nil {
		return zero, Miss, err
	}
	led := false
	flight := s.flights.DoChan(string(key[:]), func() (any, error) {
		led = true
		return c.fly(key, load), nil
	})
	select {
	case landed := <-flight:
		a, _ := landed.Val.(answer[V])
		if a.result == Miss && !led {
			a.result = Shared
		}
		s.count(a.result)
		return a.value, a.result, a.err
	case <-ctx.Done():
		s.count(Shared)
		return zero, Shared, ctx.Err()
	}
}

// Get returns the value of key if it is in memory. It is what [Cache.Do] does
// first, for callers whose LoadFunc is not free to make; a call of Do that follows
// is counted by its own [Result].
func (c *Cache[V]) Get(key Key) (V, bool) {
	v, ok := c.value(key)
	if ok {
		c.shards[shardIndex(key, len(c.shards))].count(Hit)
	}
	return v, ok
}

type answer[V any] struct {
	value  V
	result Result
	err    error
}

func (c *Cache[V]) lookup(key Key) (a answer[V], ok bool) {
	if v, ok := c.value(key); ok {
		return answer[V]{v, Hit, nil}, true
	}
	if c.refusals != nil {
		if _, ok := c.refusals.get(key); ok {
			return answer[V]{result: Negative, err: ErrRejected}, true
		}
	}
	return a, false
}

func (c *Cache[V]) value(key Key) (V, bool) {
	e, ok := c.values.get(key)
	return e.value, ok && (e.expires == noExpiry || time.Now().UnixMilli() < e.expires)
}

// fly is what one flight does. It looks in memory once more: the flight before
// may have landed between the caller's lookup and this one's start.
func (c *Cache[V]) fly(key Key, load LoadFunc[V]) answer[V] {
	if a, ok := c.lookup(key); ok {
		return a
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.policy.VerifyTimeout)
	defer cancel()
	type loaded struct {
		value   V
		expires time.Time
	}
	l, err := Call(ctx, func(ctx context.Context) (l loaded, err error) {
		l.value, l.expires, err = load(ctx)
		return l, err
	})
	if err != nil {
		if c.refusals != nil && errors.Is(err, ErrRejected) {
			c.refusals.put(key, struct{}{}, c.policy.NegativeTTL)
		}
		return answer[V]{result: Miss, err: err}
	}
	ttl, expires := c.policy.TTL, int64(noExpiry)
	if !l.expires.IsZero() {
		ttl, expires = min(ttl, time.Until(l.expires)), l.expires.UnixMilli()
	}
	if ttl <= 0 {
		return answer[V]{result: Miss, err: ErrExpired}
	}
	c.values.put(key, entry[V]{l.value, expires}, ttl)
	return answer[V]{l.value, Miss, nil}
}
