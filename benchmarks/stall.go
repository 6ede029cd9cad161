package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jellydator/ttlcache/v3"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
)

// stall is how long lookups took while all entries of a cache expired and were cleared away.
type stall struct {
	ours, quiet waits // in that cache; in one beside it in which nothing expires, in turns
	bare        waits // in one ttlcache, for comparison
	left        int   // entries that were not cleared away
}

// waits are the longest lookups.
type waits struct{ p9999, longest time.Duration }

func waitsOf(all []time.Duration) waits {
	slices.Sort(all)
	return waits{all[len(all)*9999/10000], all[len(all)-1]}
}

// measureStall watches the cache and, in turns with it and so with the same machine,
// one that is quiet.
func measureStall(s scale) stall {
	ctx, life := context.Background(), time.Duration(s.expireSeconds)*time.Second
	keys := make([]cache.Key, s.expiring)
	for i := range keys {
		keys[i] = cache.NewKey(token(i))
	}
	newCache := func() *cache.Cache[*authcontext.AuthContext] {
		c, err := cache.New[*authcontext.AuthContext](cache.Policy{TTL: ttl, MaxEntries: 2 * s.expiring})
		must(err)
		return c
	}
	expiring, quiet := newCache(), newCache()
	ac := &authcontext.AuthContext{Subject: "user-1"}
	hold := func(c *cache.Cache[*authcontext.AuthContext], key cache.Key, until time.Time) {
		_, _, err := c.Do(ctx, key, func(context.Context) (*authcontext.AuthContext, time.Time, error) { return ac, until, nil })
		must(err)
	}
	for _, key := range keys {
		hold(quiet, key, farFuture)
	}
	end := time.Now().Add(life)
	for _, key := range keys {
		hold(expiring, key, end)
	}
	if time.Now().After(end) {
		panic("the machine is too slow to fill a cache in time")
	}
	time.Sleep(time.Until(end))
	refill := func() { // new entries clear the old ones away
		for i := range 16 * 1024 {
			hold(expiring, cache.NewKey("new", fmt.Sprint(i)), farFuture)
		}
	}
	looked := watch([]func(i int){
		func(i int) { expiring.Get(keys[i]) },
		func(i int) { quiet.Get(keys[i]) },
	}, len(keys), s.watched, refill)
	return stall{looked[0], looked[1], measureBareStall(s, keys), expiring.Stats().Entries - 16*1024}
}

// measureBareStall is the same with one ttlcache.
func measureBareStall(s scale, keys []cache.Key) waits {
	bare := ttlcache.New(ttlcache.WithDisableTouchOnHit[cache.Key, string]())
	end := time.Now().Add(time.Duration(s.expireSeconds) * time.Second)
	for _, key := range keys {
		bare.Set(key, "", max(1, time.Until(end)))
	}
	time.Sleep(time.Until(end))
	return watch([]func(i int){func(i int) { bare.Get(keys[i]) }}, len(keys), s.watched, bare.DeleteExpired)[0]
}

// watch makes lookups by turns while something happens.
func watch(lookups []func(i int), n int, during time.Duration, happens func()) []waits {
	all := make([][]time.Duration, len(lookups))
	for l := range all {
		all[l] = make([]time.Duration, 0, 8<<20)
	}
	var other sync.WaitGroup
	other.Go(happens)
	end := time.Now().Add(during)
	for i := 0; time.Now().Before(end); i = (i + stride) % n {
		for l, lookup := range lookups {
			start := time.Now()
			lookup(i)
			all[l] = append(all[l], time.Since(start))
		}
	}
	other.Wait()
	found := make([]waits, len(all))
	for l := range all {
		found[l] = waitsOf(all[l])
	}
	return found
}
