package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour})
		l := &loader{value: "v"}
		do := func(name string) cache.Result {
			_, result, _ := c.Do(t.Context(), cache.NewKey(name), l.load, tag(name))
			return result
		}
		expect := func(what string, got, want cache.Result) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		expect("new", do("one"), cache.Miss)
		expect("new", do("other"), cache.Miss)
		c.Forget(tag("one"))
		if _, ok := c.Get(cache.NewKey("one")); ok {
			t.Error("Get finds what was forgotten")
		}
		expect("the other", do("other"), cache.Hit)
		expect("forgotten", do("one"), cache.Miss)
		expect("loaded again", do("one"), cache.Hit)
		c.ForgetAll()
		expect("all forgotten", do("one"), cache.Miss)
		expect("all forgotten", do("other"), cache.Miss)
		l.err = cache.ErrNotFound
		c.Forget(tag("one"))
		expect("refused", do("one"), cache.Miss)
		expect("refused from memory", do("one"), cache.Negative)
		c.Forget(tag("one"))
		expect("refusal forgotten", do("one"), cache.Miss)
	})
}

// TestForgetUnderLoad: whatever happens at the same time, a call that begins after a
// Forget has returned is never answered by a load that began before it.
func TestForgetUnderLoad(t *testing.T) {
	c, err := cache.New[int64](cache.Policy{TTL: time.Hour, RefreshAfter: time.Nanosecond, StaleIfError: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	key, tag := cache.NewKey("k"), tag("t")
	var version atomic.Int64 // what a load returns, as it was when the load began
	load := func(context.Context) (int64, time.Time, error) {
		v := version.Load()
		runtime.Gosched()
		return v, time.Time{}, nil
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := version.Load() // its Forget may not have returned yet, the one before has
				v, _, err := c.Do(context.Background(), key, load, tag)
				if errors.Is(err, cache.ErrForgotten) {
					continue
				}
				if err != nil || v < least-1 {
					t.Errorf("got version %d, %v, want at least %d", v, err, least-1)
					return
				}
			}
		})
	}
	for i := range int64(600) {
		version.Store(i)
		switch rand.IntN(3) {
		case 0:
			c.ForgetAll()
		default:
			c.Forget(tag)
		}
		if v, ok := c.Get(key); ok && v < i {
			t.Errorf("Get after Forget: version %d of %d", v, i)
		}
		if v, _, err := c.Do(t.Context(), key, load, tag); err != nil || v < i {
			t.Errorf("Do after Forget: version %d of %d, %v", v, i, err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestACallIsNotOvertakenForEver: whatever is forgotten, it ends after three loads.
func TestACallIsNotOvertakenForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for ctx.Err() == nil {
				time.Sleep(400 * time.Millisecond)
				c.Forget(tag("t"))
			}
		}()
		var loads atomic.Int64
		slow := func(context.Context) (string, time.Time, error) {
			loads.Add(1)
			time.Sleep(500 * time.Millisecond)
			return "v", time.Time{}, nil
		}
		start := time.Now()
		v, result, err := c.Do(t.Context(), cache.NewKey("k"), slow, tag("t"))
		if v != "" || result != cache.Miss || !errors.Is(err, cache.ErrForgotten) || !errors.Is(err, cache.ErrUnavailable) {
			t.Errorf("%q, %v, %v", v, result, err)
		}
		if took := time.Since(start); took != 1500*time.Millisecond || loads.Load() != 3 {
			t.Errorf("%d loads in %v", loads.Load(), took)
		}
		cancel()
		time.Sleep(time.Second)
		if v, _, err := c.Do(t.Context(), cache.NewKey("k"), slow, tag("t")); v != "v" || err != nil {
			t.Errorf("the next call: %q, %v", v, err)
		}
	})
}

// TestAFewOvertakingForgetsAreOutlasted: two of them, and the call is answered.
func TestAFewOvertakingForgetsAreOutlasted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour})
		loads := 0
		v, result, err := c.Do(t.Context(), cache.NewKey("k"), func(context.Context) (string, time.Time, error) {
			if loads++; loads < 3 {
				c.Forget(tag("t"))
			}
			return fmt.Sprint(loads), time.Time{}, nil
		}, tag("t"))
		if v != "3" || result != cache.Miss || err != nil {
			t.Errorf("%q, %v, %v", v, result, err)
		}
		if v, ok := c.Get(cache.NewKey("k")); v != "3" || !ok {
			t.Errorf("in memory: %q, %t", v, ok)
		}
	})
}

// TestCallsAndForgetsInTurnDoNotPileUpLoads: the loads of one key in flight are bounded.
func TestCallsAndForgetsInTurnDoNotPileUpLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour, MaxVerifies: 20})
		var wg sync.WaitGroup
		var busy atomic.Int64
		most := 0
		for range 1000 {
			wg.Go(func() {
				_, _, err := c.Do(t.Context(), cache.NewKey("k"), func(context.Context) (string, time.Time, error) {
					time.Sleep(time.Minute) // whatever its context says
					return "v", time.Time{}, nil
				}, tag("t"))
				if errors.Is(err, cache.ErrBusy) {
					busy.Add(1)
				}
			})
			synctest.Wait()
			most = max(most, c.Stats().InFlight)
			c.Forget(tag("t"))
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		if most > 8 || busy.Load() == 0 {
			t.Errorf("%d loads at once, %d calls had none", most, busy.Load())
		}
		time.Sleep(time.Minute)
		if v, _, err := c.Do(t.Context(), cache.NewKey("k"), (&loader{value: "v"}).load, tag("t")); v != "v" || err != nil {
			t.Errorf("afterwards: %q, %v", v, err)
		}
		synctest.Wait()
		occupy(t, c, 20)() // every slot is free again
		if keys := c.Loading(); keys != 0 {
			t.Errorf("%d keys are kept as loading", keys)
		}
	})
}

// TestNoAnswerFromBeforeAForgetIsGiven: neither a value nor an error is, to those who
// waited for it before, or came after.
func TestNoAnswerFromBeforeAForgetIsGiven(t *testing.T) {
	for name, old := range map[string]error{
		"a value":       nil,
		"a refusal":     cache.ErrNotFound,
		"another no":    cache.ErrForbidden,
		"an outage":     cache.ErrUnavailable,
		"another error": errors.New("boom"),
	} {
		for what, forget := range map[string]func(*cache.Cache[string]){
			"its tag":    func(c *cache.Cache[string]) { c.Forget(tag("t")) },
			"everything": (*cache.Cache[string]).ForgetAll,
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour})
					var forgotten atomic.Bool
					load := func(context.Context) (string, time.Time, error) {
						v, err := "new", error(nil)
						if !forgotten.Load() {
							v, err = "old", old
						}
						time.Sleep(time.Second)
						return v, time.Time{}, err
					}
					var wg sync.WaitGroup
					call := func() {
						if v, _, err := c.Do(t.Context(), cache.NewKey("k"), load, tag("t")); v != "new" || err != nil {
							t.Errorf("%q, %v", v, err)
						}
					}
					for range 3 {
						wg.Go(call)
					}
					time.Sleep(time.Second / 2)
					forgotten.Store(true)
					forget(c)
					wg.Go(call)
					time.Sleep(600 * time.Millisecond) // the old load is over, the new one is not
					if s := c.Stats(); s.Entries != 0 || s.NegativeEntries != 0 {
						t.Errorf("in memory: %+v", s)
					}
					wg.Go(call)
					wg.Wait()
					if s := c.Stats(); s.Entries != 1 || s.NegativeEntries != 0 {
						t.Errorf("%+v", s)
					}
				})
			})
		}
	}
}

// TestASharedAnswerIsForgottenByItsOwnTags: whatever those of the call that waits for it.
func TestASharedAnswerIsForgottenByItsOwnTags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour})
		var loads atomic.Int64
		load := func(context.Context) (string, time.Time, error) {
			n := loads.Add(1)
			time.Sleep(time.Second)
			return fmt.Sprint(n), time.Time{}, nil
		}
		var wg sync.WaitGroup
		for _, name := range []string{"leader", "other"} {
			wg.Go(func() {
				if v, _, err := c.Do(t.Context(), cache.NewKey("k"), load, tag(name)); v == "1" || err != nil {
					t.Errorf("%s: %q, %v", name, v, err)
				}
			})
			synctest.Wait()
		}
		c.Forget(tag("leader"))
		wg.Wait()
	})
}

// TestARefusalHoldsAFewTags: one of a request with more is not remembered.
func TestARefusalHoldsAFewTags(t *testing.T) {
	for tags, want := range map[int]cache.Result{0: cache.Negative, 8: cache.Negative, 9: cache.Miss, 1000: cache.Miss} {
		c := newCache(t, cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour})
		l := &loader{err: cache.ErrNotFound}
		all := make([]cache.Tag, tags)
		for i := range all {
			all[i] = tag(i)
		}
		_, _, _ = c.Do(t.Context(), cache.NewKey("k"), l.load, all...)
		if _, result, err := c.Do(t.Context(), cache.NewKey("k"), l.load, all...); result != want || !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("%d tags: %v, %v, want %v", tags, result, err, want)
		}
		if tags > 0 {
			c.Forget(all[tags-1])
		}
		if _, result, _ := c.Do(t.Context(), cache.NewKey("k"), l.load, all...); tags > 0 && result != cache.Miss {
			t.Errorf("%d tags, one forgotten: %v", tags, result)
		}
	}
}

// TestTagsAreNotRetained: the caller may use the slice for something else.
func TestTagsAreNotRetained(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour})
	for name, l := range map[string]*loader{"value": {value: "v"}, "refusal": {err: cache.ErrNotFound}} {
		tags := []cache.Tag{tag("t")}
		_, _, _ = c.Do(t.Context(), cache.NewKey(name), l.load, tags...)
		tags[0] = tag("other")
		c.Forget(tag("other"))
		if _, result, _ := c.Do(t.Context(), cache.NewKey(name), l.load); result == cache.Miss {
			t.Errorf("%s: forgotten by what is in the slice now", name)
		}
		c.Forget(tag("t"))
		if _, result, _ := c.Do(t.Context(), cache.NewKey(name), l.load); result != cache.Miss {
			t.Errorf("%s: not forgotten by its tag", name)
		}
	}
}

// TestStrangersAreNotForgotten: 10,000 Forgets of others, and every entry is served still.
func TestStrangersAreNotForgotten(t *testing.T) {
	const entries = 2000
	c := newCache(t, cache.Policy{TTL: time.Hour})
	l := &loader{value: "v"}
	for i := range entries {
		_, _, _ = c.Do(t.Context(), cache.NewKey(fmt.Sprint(i)), l.load, tag(i, "a"), tag(i, "b"), tag(i, "c"))
	}
	for i := range 10_000 {
		c.Forget(tag("stranger", i))
	}
	for i := range entries {
		if _, ok := c.Get(cache.NewKey(fmt.Sprint(i))); !ok {
			t.Errorf("entry %d is lost", i)
		}
	}
	c.Forget(tag(7, "b"))
	if _, ok := c.Get(cache.NewKey("7")); ok {
		t.Error("not forgotten")
	}
}

func ExampleCache_Forget() {
	c, err := cache.New[string](cache.Policy{TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := func(context.Context) (string, time.Time, error) { return "ada", time.Time{}, nil }
	token := cache.Tag{1} // in earnest, a digest with a secret key
	for range 2 {
		_, result, _ := c.Do(context.Background(), cache.NewKey("bearer", "abc"), load, token)
		fmt.Println(result)
		c.Forget(token)
	}
	// Output:
	// miss
	// miss
}
