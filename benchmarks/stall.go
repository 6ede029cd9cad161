package main

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jellydator/ttlcache/v3"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
)

// stall is how long lookups took while the entries of a cache had expired and were cleared away.
type stall struct {
	ours, quiet waits // in that cache; in one beside it in which nothing expires, in turns
	bare        waits // in one ttlcache, for comparison
	cleared     int   // entries, meanwhile
}

// waits are the longest lookups.
type waits struct{ p9999, longest time.Duration }

func waitsOf(all []time.Duration) waits {
	slices.Sort(all)
	return waits{all[len(all)*9999/10000], all[len(all)-1]}
}

const (
	// everyLive is how far apart the tokens are whose entries do not expire.
	everyLive = 16
	// newEntries clear the expired ones away: each those of its own shard and of one other.
	newEntries = 16 * 1024
)

type identities = cache.Cache[*authcontext.AuthContext]

// measureStalls watches caches and, in turns with each and so with the same machine, one
// that is quiet.
func measureStalls(s scale) []stall {
	keys := make([]cache.Key, s.expiring)
	for i := range keys {
		keys[i] = cache.NewKey(token(i))
	}
	began := time.Now()
	quiet := newIdentities(s.expiring)
	for _, key := range keys {
		hold(quiet, key, farFuture)
	}
	life := 2*time.Since(began) + 500*time.Millisecond // long enough to hold all before the first expires
	stalls := make([]stall, 0, s.expiries)
	for len(stalls) < s.expiries {
		ours, ok := measureStall(keys, quiet, life)
		if !ok {
			life *= 2 // the machine has other things to do
			continue
		}
		ours.bare = measureBareStall(keys, life)
		stalls = append(stalls, ours)
	}
	return stalls
}

func newIdentities(n int) *identities {
	c, err := cache.New[*authcontext.AuthContext](cache.Policy{TTL: ttl, MaxEntries: 2*n + newEntries})
	must(err)
	return c
}

func hold(c *identities, key cache.Key, until time.Time) {
	_, _, err := c.Do(context.Background(), key, func(context.Context) (*authcontext.AuthContext, time.Time, error) {
		return &authcontext.AuthContext{Subject: "user-1"}, until, nil
	})
	must(err)
}

// measureStall returns false if the entries began to expire before all were there.
func measureStall(keys []cache.Key, quiet *identities, life time.Duration) (stall, bool) {
	expiring, end := newIdentities(len(keys)), time.Now().Add(life)
	for i, key := range keys {
		until := end
		if i%everyLive == 0 {
			until = farFuture
		}
		hold(expiring, key, until)
	}
	if time.Now().After(end) {
		return stall{}, false
	}
	time.Sleep(time.Until(end))
	before := expiring.Stats().Entries
	found(before == len(keys))
	looked := watch([]func(i int){
		func(i int) { lookup(expiring, keys, i) },
		func(i int) {
			_, ok := quiet.Get(keys[i])
			found(ok)
		},
	}, len(keys), func() {
		for i := range newEntries {
			hold(expiring, cache.NewKey("new", strconv.Itoa(i)), farFuture)
		}
	})
	return stall{ours: looked[0], quiet: looked[1], cleared: before + newEntries - expiring.Stats().Entries}, true
}

// lookup finds those that have not expired, and no others.
func lookup(expiring *identities, keys []cache.Key, i int) {
	_, ok := expiring.Get(keys[i])
	found(ok == (i%everyLive == 0))
}

// measureBareStall is the same with one ttlcache.
func measureBareStall(keys []cache.Key, life time.Duration) waits {
	bare := ttlcache.New(ttlcache.WithDisableTouchOnHit[cache.Key, string]())
	end := time.Now().Add(life)
	for i, key := range keys {
		left := max(1, time.Until(end))
		if i%everyLive == 0 {
			left = ttl
		}
		bare.Set(key, "", left)
	}
	time.Sleep(time.Until(end))
	return watch([]func(i int){func(i int) { found((bare.Get(keys[i]) != nil) == (i%everyLive == 0)) }}, len(keys), bare.DeleteExpired)[0]
}

// watch makes lookups by turns while something happens.
func watch(lookups []func(i int), n int, happens func()) []waits {
	all := make([][]time.Duration, len(lookups))
	for l := range all {
		all[l] = make([]time.Duration, 0, 8<<20)
	}
	var other sync.WaitGroup
	happened := make(chan struct{})
	other.Go(func() {
		defer close(happened)
		happens()
	})
	for i, going := 0, true; going; i = (i + stride) % n {
		for l, lookup := range lookups {
			start := time.Now()
			lookup(i)
			all[l] = append(all[l], time.Since(start))
		}
		select {
		case <-happened:
			going = false
		default:
		}
	}
	other.Wait()
	waited := make([]waits, len(all))
	for l := range all {
		waited[l] = waitsOf(all[l])
	}
	return waited
}
