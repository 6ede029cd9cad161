package cache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jellydator/ttlcache/v3"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func loadValue(context.Context) (string, time.Time, error) { return "v", time.Time{}, nil }

// BenchmarkDo is a lookup that is answered from memory, one that is not, and one of
// which many are made at once; beside it, one ttlcache alone.
func BenchmarkDo(b *testing.B) {
	const entries = 10_000
	keys := make([]cache.Key, entries)
	for i := range keys {
		keys[i] = cache.NewKey(fmt.Sprint(i))
	}
	bare := ttlcache.New(ttlcache.WithDisableTouchOnHit[cache.Key, string]())
	c := newCache(b, cache.Policy{TTL: time.Hour})
	full := newCache(b, cache.Policy{TTL: time.Hour, RefreshAfter: time.Hour / 2, StaleIfError: time.Hour, NegativeTTL: time.Hour, MaxVerifies: 100})
	for _, key := range keys {
		bare.Set(key, "v", time.Hour)
		_, _, _ = c.Do(b.Context(), key, loadValue)
		_, _, _ = full.Do(b.Context(), key, loadValue)
	}
	lookups := []struct {
		name   string
		lookup func(ctx context.Context, i int) bool
	}{
		{"ttlcache", func(_ context.Context, i int) bool { return bare.Get(keys[i%entries]) != nil }},
		{"hit", func(ctx context.Context, i int) bool {
			_, _, err := c.Do(ctx, keys[i%entries], loadValue)
			return err == nil
		}},
		{"hit-full-policy", func(ctx context.Context, i int) bool {
			_, _, err := full.Do(ctx, keys[i%entries], loadValue)
			return err == nil
		}},
	}
	for _, l := range lookups {
		b.Run(l.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if i++; !l.lookup(b.Context(), i) {
					b.Fatal("no hit")
				}
			}
		})
		b.Run(l.name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(4)
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if !l.lookup(context.Background(), i) {
						b.Error("no hit")
					}
				}
			})
		})
	}
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _, _ = c.Do(b.Context(), cache.NewKey("miss", fmt.Sprint(i)), loadValue)
		}
	})
}

// BenchmarkExpiryStall reports the longest time that one lookup is held up while a
// million entries expire and are cleared away; and, for what the machine adds, while
// nothing happens at all.
func BenchmarkExpiryStall(b *testing.B) {
	const entries, ttl = 1_000_000, 25 * time.Second
	if testing.Short() {
		b.Skip("fills two caches with a million entries")
	}
	keys := make([]cache.Key, entries)
	for i := range keys {
		keys[i] = cache.NewKey(fmt.Sprint(i))
	}
	b.Run("ttlcache", func(b *testing.B) {
		for b.Loop() {
			bare := ttlcache.New(ttlcache.WithDisableTouchOnHit[cache.Key, string]())
			start := time.Now()
			for _, key := range keys {
				bare.Set(key, "v", ttl-time.Since(start))
			}
			longest := watchLookups(start.Add(ttl+2*time.Second), start.Add(ttl), func(i int) { bare.Get(keys[i]) }, bare.DeleteExpired)
			b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
		}
	})
	b.Run("sharded", func(b *testing.B) {
		for b.Loop() {
			c := newCache(b, cache.Policy{TTL: ttl, MaxEntries: entries})
			start := time.Now()
			for _, key := range keys {
				_, _, _ = c.Do(b.Context(), key, func(context.Context) (string, time.Time, error) { return "v", start.Add(ttl), nil })
			}
			if s := c.Stats(); s.Entries != entries {
				b.Fatalf("%+v", s)
			}
			refill := func() { // what clears away is that new entries come
				for i := range 8 * 1024 {
					_, _, _ = c.Do(b.Context(), cache.NewKey("new", fmt.Sprint(i)), loadValue)
				}
			}
			longest := watchLookups(start.Add(ttl+2*time.Second), start.Add(ttl), func(i int) { c.Get(keys[i]) }, refill)
			b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
			quiet := watchLookups(time.Now().Add(2*time.Second), time.Now(), func(i int) { c.Get(keys[i]) }, func() {})
			b.ReportMetric(float64(quiet.Microseconds()), "quiet-µs")
			if s := c.Stats(); s.Entries > 9*1024 {
				b.Fatalf("not cleared away: %+v", s)
			}
		}
	})
}

// watchLookups calls meanwhile at a moment, and returns the longest lookup until the end.
func watchLookups(end, moment time.Time, lookup func(i int), meanwhile func()) time.Duration {
	time.Sleep(time.Until(moment))
	var wg sync.WaitGroup
	wg.Go(meanwhile)
	var longest time.Duration
	for i := 0; time.Now().Before(end); i++ {
		start := time.Now()
		lookup(i * 7919 % 1_000_000)
		longest = max(longest, time.Since(start))
	}
	wg.Wait()
	return longest
}

// BenchmarkEntry reports what one entry holds in memory beyond its value.
func BenchmarkEntry(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(bytesPerEntry(b)), "B/entry")
	}
}

func TestAnEntryCostsLessThan450Bytes(t *testing.T) {
	if got := bytesPerEntry(t); got > 450 {
		t.Errorf("%d bytes for each entry", got)
	}
}

// bytesPerEntry measures with two tags and an expiry, as the interceptor stores.
func bytesPerEntry(tb testing.TB) int64 {
	tb.Helper()
	const entries = 100_000
	c := newCache(tb, cache.Policy{TTL: time.Hour, MaxEntries: entries})
	before := heapInUse()
	for i := range entries {
		_, _, _ = c.Do(tb.Context(), cache.NewKey(fmt.Sprint(i)), func(context.Context) (string, time.Time, error) {
			return "v", time.Now().Add(time.Hour), nil
		}, tag("token", i), tag("subject", i))
	}
	grown := heapInUse() - before
	if s := c.Stats(); s.Entries != entries {
		tb.Fatalf("%+v", s)
	}
	return grown / entries
}
