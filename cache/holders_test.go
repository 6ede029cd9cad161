package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
)

// held is a value that is somebody's.
type held struct {
	holder cache.Tag
	tags   []cache.Tag
}

func (h *held) Tags() []cache.Tag { return h.tags }
func (h *held) Holder() cache.Tag { return h.holder }

func newHeld(tb testing.TB, policy cache.Policy) *cache.Cache[*held] {
	tb.Helper()
	c, err := cache.New[*held](policy)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// put loads a value of a holder that expires in a while.
func put(tb testing.TB, c *cache.Cache[*held], key string, holder cache.Tag, life time.Duration) cache.Result {
	tb.Helper()
	v, result, err := c.Do(tb.Context(), cache.NewKey(key), func(context.Context) (*held, time.Time, error) {
		return &held{holder: holder}, time.Now().Add(life), nil
	})
	if err != nil || v == nil {
		tb.Fatalf("%v, %v", v, err)
	}
	return result
}

// TestOneHolderDisplacesNobody: it is served whatever it has, and nobody else's entry is
// evicted for it.
func TestOneHolderDisplacesNobody(t *testing.T) {
	for name, test := range map[string]struct {
		policy cache.Policy
		share  int
	}{
		"by default":                 {cache.Policy{MaxEntries: 1000}, 32},
		"by default, in a big cache": {cache.Policy{MaxEntries: 10_000}, 100},
		"as the policy says":         {cache.Policy{MaxEntries: 1000, MaxPerSubject: 5}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			test.policy.TTL = time.Hour
			c := newHeld(t, test.policy)
			victims := test.policy.MaxEntries * 9 / 10
			for i := range victims {
				put(t, c, fmt.Sprint("victim", i), tag("victim", i), time.Hour)
			}
			for i := range 2000 {
				put(t, c, fmt.Sprint("mallory", i), tag("mallory"), time.Hour)
			}
			for i := range victims {
				if _, ok := c.Get(cache.NewKey(fmt.Sprint("victim", i))); !ok {
					t.Fatalf("victim %d asks again", i)
				}
			}
			if got := c.Stats().Entries - victims; got > test.share || got < test.share-3 {
				t.Errorf("mallory holds %d, want %d or a few less", got, test.share)
			}
			if put(t, c, "mallory0", tag("mallory"), time.Hour) != cache.Hit {
				t.Error("what it has is not served from memory")
			}
		})
	}
}

func TestWhatIsNobodysIsNotCounted(t *testing.T) {
	c := newHeld(t, cache.Policy{TTL: time.Hour, MaxPerSubject: 1})
	for i := range 10 {
		put(t, c, fmt.Sprint(i), cache.Tag{}, time.Hour)
	}
	if got := c.Stats().Entries; got != 10 {
		t.Errorf("%d entries", got)
	}
}

// TestAHolderIsCountedExactly: whatever becomes of its entries.
func TestAHolderIsCountedExactly(t *testing.T) {
	holder, other := tag("holder"), tag("other")
	for name, test := range map[string]struct {
		change func(t *testing.T, c *cache.Cache[*held])
		want   int
	}{
		"stored":  {func(*testing.T, *cache.Cache[*held]) {}, 3},
		"expired": {func(t *testing.T, c *cache.Cache[*held]) { time.Sleep(time.Hour); put(t, c, "new", other, time.Hour) }, 0},
		"expired one by one": {func(t *testing.T, c *cache.Cache[*held]) {
			time.Sleep(time.Minute)
			put(t, c, "new", other, time.Hour)
		}, 2},
		"loaded again": {func(t *testing.T, c *cache.Cache[*held]) {
			c.ForgetAll()
			put(t, c, "0", holder, time.Hour)
			put(t, c, "1", holder, time.Hour)
		}, 3},
		"loaded again in its last nanosecond": {func(t *testing.T, c *cache.Cache[*held]) {
			time.Sleep(time.Minute - 1)
			c.ForgetAll()
			put(t, c, "0", holder, time.Hour)
		}, 3},
		"loaded again as somebody else's": {func(t *testing.T, c *cache.Cache[*held]) {
			c.ForgetAll()
			put(t, c, "0", other, time.Hour)
			put(t, c, "1", cache.Tag{}, time.Hour)
		}, 1},
		"refused": {func(t *testing.T, c *cache.Cache[*held]) {
			c.ForgetAll()
			_, _, err := c.Do(t.Context(), cache.NewKey("0"), func(context.Context) (*held, time.Time, error) { return nil, time.Time{}, cache.ErrForbidden })
			if !errors.Is(err, cache.ErrForbidden) {
				t.Error(err)
			}
		}, 2},
		"one more than it may": {func(t *testing.T, c *cache.Cache[*held]) {
			put(t, c, "3", holder, time.Hour)
			put(t, c, "4", holder, time.Hour)
		}, 4},
		"evicted": {func(t *testing.T, c *cache.Cache[*held]) {
			for i := range 10 {
				put(t, c, fmt.Sprint("other", i), tag("other", i), time.Hour)
			}
		}, 0},
		"with others that are nobody's": {func(t *testing.T, c *cache.Cache[*held]) {
			put(t, c, "nobody", cache.Tag{}, time.Hour)
			c.ForgetAll()
			put(t, c, "nobody", cache.Tag{}, time.Hour)
		}, 3},
		"room again after some have expired": {func(t *testing.T, c *cache.Cache[*held]) {
			put(t, c, "3", holder, time.Hour)
			time.Sleep(time.Minute)
			put(t, c, "4", holder, time.Hour)
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newHeld(t, cache.Policy{TTL: time.Hour, MaxPerSubject: 4, MaxEntries: 10})
				for i, life := range []time.Duration{time.Minute, time.Hour, time.Hour} {
					put(t, c, fmt.Sprint(i), holder, life)
				}
				test.change(t, c)
				if got := c.HeldBy(holder); got != test.want {
					t.Errorf("%d, want %d", got, test.want)
				}
			})
		})
	}
}

// TestRoomIsLookedForInAllShards: what has expired elsewhere does not count.
func TestRoomIsLookedForInAllShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const share = 100
		c := newHeld(t, cache.Policy{TTL: time.Hour, MaxPerSubject: share, MaxEntries: 100_000})
		for i := range share {
			put(t, c, fmt.Sprint(i), tag("holder"), time.Minute)
		}
		time.Sleep(time.Minute)
		for i := range share {
			put(t, c, fmt.Sprint("new", i), tag("holder"), time.Hour)
		}
		for i := range share {
			if _, ok := c.Get(cache.NewKey(fmt.Sprint("new", i))); !ok {
				t.Errorf("%d is not in memory", i)
			}
		}
	})
}

// TestRoomIsLookedForOnceASecond: however often a holder with too many comes.
func TestRoomIsLookedForOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newHeld(t, cache.Policy{TTL: time.Hour, MaxPerSubject: 1, MaxEntries: 100_000})
		stored := func(key string, holder cache.Tag) bool {
			put(t, c, key, holder, time.Hour)
			_, ok := c.Get(cache.NewKey(key))
			return ok
		}
		put(t, c, "old", tag("first"), time.Minute)
		time.Sleep(time.Minute)
		if !stored("new of the first", tag("first")) {
			t.Error("no room though all has expired")
		}
		put(t, c, "short", tag("second"), time.Millisecond)
		time.Sleep(time.Second - 1)
		if stored("early", tag("second")) {
			t.Error("looked for twice in a second")
		}
		time.Sleep(time.Nanosecond)
		if !stored("late", tag("second")) {
			t.Error("not looked for a second later")
		}
	})
}

// TestHoldersAreCountedExactlyUnderLoad: the counts are zero when all is gone.
func TestHoldersAreCountedExactlyUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newHeld(t, cache.Policy{TTL: time.Minute, MaxEntries: 2000, MaxPerSubject: 50})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 2000 {
					if rand.IntN(50) == 0 {
						c.Forget(tag("holder", rand.IntN(100)))
						time.Sleep(time.Second)
					}
					n := rand.IntN(4000)
					_, _, _ = c.Do(t.Context(), cache.NewKey(fmt.Sprint(n)), func(context.Context) (*held, time.Time, error) {
						if rand.IntN(10) == 0 {
							return nil, time.Time{}, cache.ErrNotFound
						}
						return &held{holder: tag("holder", n%100)}, time.Now().Add(time.Duration(rand.IntN(100)) * time.Second), nil
					}, tag("holder", n%100))
				}
			})
		}
		wg.Wait()
		if c.Stats().Entries < 100 {
			t.Errorf("%+v", c.Stats())
		}
		time.Sleep(time.Hour)
		for i := range 100 { // each clears away what has expired in two shards
			put(t, c, fmt.Sprint("last", i), cache.Tag{}, time.Hour)
		}
		for i := range 100 {
			if got := c.HeldBy(tag("holder", i)); got != 0 {
				t.Errorf("holder %d still has %d", i, got)
			}
		}
	})
}

// TestAnAnswerThatIsNotKeptReplacesTheOneBefore: its holder has too many, and what was
// there is out of date all the same.
func TestAnAnswerThatIsNotKeptReplacesTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newHeld(t, cache.Policy{TTL: time.Hour, RefreshAfter: time.Second, MaxPerSubject: 1})
		put(t, c, "k", tag("other"), time.Hour)
		put(t, c, "first", tag("holder"), time.Hour)
		time.Sleep(time.Second)
		put(t, c, "k", tag("holder"), time.Hour) // a hit, and a refresh
		synctest.Wait()
		if v, ok := c.Get(cache.NewKey("k")); ok {
			t.Errorf("still there, and %v's", v.holder == tag("other"))
		}
	})
}

// TestAValueThatCannotSayItsTags: it could not be forgotten, so it is not served.
func TestAValueThatCannotSayItsTags(t *testing.T) {
	c := newHeld(t, cache.Policy{TTL: time.Hour})
	v, _, err := c.Do(t.Context(), cache.NewKey("k"), func(context.Context) (*held, time.Time, error) { return nil, time.Time{}, nil })
	if _, ok := errors.AsType[*catch.PanicError](err); !ok || v != nil {
		t.Errorf("%v, %v", v, err)
	}
	if got := c.Stats(); got.Entries != 0 || got.InFlight != 0 {
		t.Errorf("%+v", got)
	}
}

func TestAValueIsForgottenByItsOwnTags(t *testing.T) {
	c := newHeld(t, cache.Policy{TTL: time.Hour})
	load := func(context.Context) (*held, time.Time, error) {
		return &held{tags: []cache.Tag{tag("a"), tag("b")}}, time.Time{}, nil
	}
	for _, forgotten := range []string{"a", "b", "call"} {
		for _, want := range []cache.Result{cache.Miss, cache.Hit} {
			if _, result, err := c.Do(t.Context(), cache.NewKey("k"), load, tag("call")); result != want || err != nil {
				t.Errorf("%v, %v, want %v", result, err, want)
			}
		}
		c.Forget(tag(forgotten))
		if _, ok := c.Get(cache.NewKey("k")); ok {
			t.Errorf("not forgotten by %s", forgotten)
		}
	}
}
