package cache_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func TestMaxEntriesIsKeptAndTheOldestGoesFirst(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Minute, MaxEntries: 3})
	l := &loader{value: "v"}
	do := func(name string) cache.Result {
		_, result, err := c.Do(t.Context(), cache.NewKey(name), l.load)
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	for _, name := range []string{"a", "b", "c", "a", "d"} { // b is the one not used for longest
		do(name)
	}
	if s := c.Stats(); s.Entries != 3 {
		t.Errorf("%d entries", s.Entries)
	}
	for _, name := range []string{"a", "c", "d"} {
		if got := do(name); got != cache.Hit {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := do("b"); got != cache.Miss {
		t.Errorf("b: %v", got)
	}
}

func TestMaxEntriesIsKeptOverAllShards(t *testing.T) {
	const most = 10_000
	c := newCache(t, cache.Policy{TTL: time.Minute, MaxEntries: most})
	l := &loader{value: "v"}
	for i := range most {
		_, _, _ = c.Do(t.Context(), cache.NewKey("first", fmt.Sprint(i)), l.load)
	}
	for i := range most {
		if _, ok := c.Get(cache.NewKey("first", fmt.Sprint(i))); !ok {
			t.Fatalf("entry %d of %d is gone", i, most)
		}
	}
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range most / 4 {
				_, _, _ = c.Do(t.Context(), cache.NewKey(fmt.Sprint(worker), fmt.Sprint(i)), l.load)
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Entries != most {
		t.Errorf("%d entries, want %d", s.Entries, most)
	}
}

func TestExpiredEntriesAreClearedAwayByWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Second, MaxEntries: 5000})
		l := &loader{value: "v"}
		for i := range 5000 {
			_, _, _ = c.Do(t.Context(), cache.NewKey("old", fmt.Sprint(i)), l.load)
		}
		time.Sleep(2 * time.Second)
		for i := range 16 {
			_, _, _ = c.Do(t.Context(), cache.NewKey("new", fmt.Sprint(i)), l.load)
		}
		if s := c.Stats(); s.Entries != 16 {
			t.Errorf("%d entries, want 16", s.Entries)
		}
	})
}

// TestOneCallClearsAwayAFew: the lookups of others must not wait for it long, however many
// entries have expired at once.
func TestOneCallClearsAwayAFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, old = 100_000, 10_000
		c := newCache(t, cache.Policy{TTL: time.Second, MaxEntries: most})
		l := &loader{value: "v"}
		for i := range old {
			_, _, _ = c.Do(t.Context(), cache.NewKey("old", fmt.Sprint(i)), l.load)
		}
		time.Sleep(2 * time.Second)
		for i, before := 0, old; i < 10; i++ {
			_, _, _ = c.Do(t.Context(), cache.NewKey("new", fmt.Sprint(i)), l.load)
			left := c.Stats().Entries
			if cleared := before + 1 - left; cleared < 1 || cleared > old/50 {
				t.Errorf("call %d clears away %d of %d", i, cleared, before)
			}
			before = left
		}
	})
}

// TestAFloodOfJunk: keys that are refused, ten times as many as there is room for,
// displace no value, and cost no more memory than the first that fill it.
func TestAFloodOfJunk(t *testing.T) {
	const most, good, junk = 20_000, 10_000, 200_000
	c := newCache(t, cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour, MaxEntries: most})
	l := &loader{value: "v"}
	for i := range good {
		_, _, _ = c.Do(t.Context(), cache.NewKey("good", fmt.Sprint(i)), l.load)
	}
	before := heapInUse()
	l.err = cache.ErrNotFound
	var full int64
	for i := range junk {
		if i == 2*most { // every shard has been filled
			full = heapInUse() - before
		}
		_, _, _ = c.Do(t.Context(), cache.NewKey("junk", fmt.Sprint(i)), l.load)
	}
	grown := heapInUse() - before
	t.Logf("the heap grew by %d KiB with %d junk keys, by %d KiB with %d", full>>10, 2*most, grown>>10, junk)
	if grown > 2*full { // five times as many came
		t.Errorf("the heap grew by %d bytes for %d refusals, and by %d when more came", full, most, grown)
	}
	if s := c.Stats(); s.Entries != good || s.NegativeEntries != most {
		t.Errorf("%+v", s)
	}
	for i := range good {
		if _, ok := c.Get(cache.NewKey("good", fmt.Sprint(i))); !ok {
			t.Fatalf("good session %d is gone", i)
		}
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestWhatIsStoredIsNotEvictedForItself: in a shard where it is alone, it is the oldest too.
func TestWhatIsStoredIsNotEvictedForItself(t *testing.T) {
	const most = 513 // two shards
	for before := range 4 {
		c := newCache(t, cache.Policy{TTL: time.Minute, MaxEntries: most})
		l := &loader{value: "v"}
		for i := range most + before {
			_, _, _ = c.Do(t.Context(), cache.Key{4: byte(i), 5: byte(i >> 8)}, l.load)
		}
		alone := cache.Key{0: 1}
		_, _, _ = c.Do(t.Context(), alone, l.load)
		if _, ok := c.Get(alone); !ok || c.Stats().Entries != most {
			t.Errorf("gone at once: %+v", c.Stats())
		}
	}
}
