package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// occupy starts loads that end when the returned function is called.
func occupy(t *testing.T, c *cache.Cache[string], loads int) (free func()) {
	t.Helper()
	open := make(chan struct{})
	var wg sync.WaitGroup
	for i := range loads {
		wg.Go(func() {
			_, _, _ = c.Do(t.Context(), cache.NewKey("occupied", fmt.Sprint(i)), func(context.Context) (string, time.Time, error) {
				<-open
				return "", time.Time{}, cache.ErrNotFound
			})
		})
	}
	synctest.Wait()
	if got := c.Stats().InFlight; got < loads {
		t.Fatalf("%d loads in flight, want %d at least", got, loads)
	}
	return func() { close(open); wg.Wait() }
}

func TestMaxVerifiesBoundsTheLoadsInFlight(t *testing.T) {
	for policy, most := range map[cache.Policy]int{{}: cache.DefaultMaxVerifies, {MaxVerifies: 3}: 3} {
		away(t, policy, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
			free := occupy(t, c, most)
			after(t, cache.DefaultVerifyTimeout, o, c, "new", cache.Miss, cache.ErrBusy)
			free()
			after(t, 0, o, c, "new", cache.Miss, nil)
		})
	}
}

// TestAbandonedLoadsKeepTheirSlots: all callers are gone, the loads still run.
func TestAbandonedLoadsKeepTheirSlots(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 2, VerifyTimeout: time.Second}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		for i := range 2 {
			_, _, err := c.Do(t.Context(), cache.NewKey("deaf", fmt.Sprint(i)), func(context.Context) (string, time.Time, error) {
				time.Sleep(time.Minute)
				return "", time.Time{}, nil
			})
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cache.ErrUnavailable) {
				t.Error(err)
			}
		}
		if got := c.Stats().InFlight; got != 2 {
			t.Errorf("%d in flight", got)
		}
		after(t, time.Second, o, c, "new", cache.Miss, cache.ErrBusy)
		time.Sleep(time.Minute)
		after(t, 0, o, c, "new", cache.Miss, nil)
	})
}

// TestBeingBusyIsNoReasonToServeWhatMayHaveEnded: junk takes every slot of an owner that
// is well. The session has ended.
func TestBeingBusyIsNoReasonToServeWhatMayHaveEnded(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 10}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, _, _ = c.Do(ctx, cache.NewKey("junk", fmt.Sprint(n.Add(1))), func(context.Context) (string, time.Time, error) {
						time.Sleep(100 * time.Millisecond)
						return "", time.Time{}, cache.ErrNotFound
					})
					time.Sleep(time.Millisecond)
				}
			})
		}
		time.Sleep(time.Second)
		o.set(func() { o.ended["0"] = true })
		if _, err := o.call(t.Context(), c, "0"); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("%v", err)
		}
		cancel()
		wg.Wait()
	})
}

// TestAStaleAnswerWaitsForASlot: it has a second chance beside the slots of rechecks; when
// nothing is free, and the owner is not known to be away, there is no answer.
func TestAStaleAnswerWaitsForASlot(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 4}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		free := occupy(t, c, 4)
		after(t, 0, o, c, "0", cache.Miss, nil) // a recheck's
		open, wg := recheckOpen(t, c)
		after(t, cache.DefaultPatience, o, c, "1", cache.Miss, cache.ErrBusy)
		after(t, cache.DefaultPatience, o, c, "1", cache.Miss, cache.ErrBusy) // once more
		go func() {
			time.Sleep(cache.DefaultPatience / 2)
			free()
		}()
		after(t, cache.DefaultPatience/2, o, c, "1", cache.Miss, nil)
		close(open)
		wg.Wait()
	})
}

// TestBeingBusyInAnOutage: then it is served at once, as everything stale is.
func TestBeingBusyInAnOutage(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 4}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = cache.ErrUnavailable })
		after(t, 0, o, c, "0", cache.Stale, nil)
		free := occupy(t, c, 4)
		for range 100 {
			after(t, 0, o, c, "1", cache.Stale, nil)
			time.Sleep(10 * time.Millisecond)
		}
		free()
	})
}

// TestBeingBusyAfterAnOutage: that a load failed once does not make the next one, which
// has no slot, a reason to serve anything stale.
func TestBeingBusyAfterAnOutage(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 4}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = cache.ErrUnavailable })
		after(t, 0, o, c, "0", cache.Stale, nil)
		time.Sleep(time.Minute)
		open, wg := recheckOpen(t, c)
		free := occupy(t, c, 4)
		for range 3 {
			after(t, cache.DefaultPatience, o, c, "0", cache.Miss, cache.ErrBusy)
		}
		close(open)
		free()
		wg.Wait()
	})
}

func TestRechecksHaveSlotsOfTheirOwn(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 4, VerifyTimeout: 3 * time.Second}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		free := occupy(t, c, 4)
		recheck := func(name string, load cache.LoadFunc[string]) (cache.Result, error) {
			_, result, err := c.Recheck(t.Context(), cache.NewKey(name), load)
			return result, err
		}
		if result, err := recheck("a", o.load("a")); result != cache.Miss || err != nil {
			t.Errorf("%v, %v", result, err)
		}
		if v, result, err := c.Recheck(t.Context(), cache.NewKey("a"), o.load("a")); v != "a" || result != cache.Hit || err != nil {
			t.Errorf("from memory: %q, %v, %v", v, result, err)
		}
		slow := func(context.Context) (string, time.Time, error) {
			time.Sleep(time.Second)
			return "", time.Time{}, cache.ErrNotFound
		}
		go func() { _, _ = recheck("b", slow) }()
		synctest.Wait()
		start := time.Now()
		if result, err := recheck("c", o.load("c")); result != cache.Miss || err != nil || time.Since(start) != time.Second {
			t.Errorf("after one that takes a second: %v, %v after %v", result, err, time.Since(start))
		}
		deaf := func(context.Context) (string, time.Time, error) {
			time.Sleep(time.Minute)
			return "", time.Time{}, cache.ErrNotFound
		}
		go func() { _, _ = recheck("d", deaf) }()
		synctest.Wait()
		start = time.Now()
		if result, err := recheck("e", o.load("e")); result != cache.Miss || !errors.Is(err, cache.ErrBusy) || time.Since(start) != 3*time.Second {
			t.Errorf("beside one that does not end: %v, %v after %v", result, err, time.Since(start))
		}
		free()
	})
}

// TestAQuarterOfTheSlotsIsForRechecks, and one at least.
func TestAQuarterOfTheSlotsIsForRechecks(t *testing.T) {
	for most, want := range map[int]int{1: 1, 4: 1, 12: 3, 15: 3, cache.DefaultMaxVerifies: cache.DefaultMaxVerifies / 4} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, cache.Policy{TTL: time.Minute, MaxVerifies: most})
			var wg sync.WaitGroup
			for i := range want + 2 {
				wg.Go(func() {
					_, _, _ = c.Recheck(t.Context(), cache.NewKey("open", fmt.Sprint(i)), func(context.Context) (string, time.Time, error) {
						time.Sleep(time.Second)
						return "v", time.Time{}, nil
					})
				})
			}
			synctest.Wait()
			if got := c.Stats().InFlight; got != want {
				t.Errorf("%d of %d", got, most)
			}
			wg.Wait()
		})
	}
}

// recheckOpen has a recheck run until open is closed, and waits until it does.
func recheckOpen(t *testing.T, c *cache.Cache[string]) (open chan struct{}, wg *sync.WaitGroup) {
	t.Helper()
	open, wg = make(chan struct{}), new(sync.WaitGroup)
	wg.Go(func() {
		_, _, _ = c.Recheck(t.Context(), cache.NewKey("open"), func(context.Context) (string, time.Time, error) {
			<-open
			return "", time.Time{}, cache.ErrNotFound
		})
	})
	synctest.Wait()
	return open, wg
}

// TestManyRechecksOfOneKeyWithoutASlot: they take turns in waiting for one, and none is
// told anything but that there was none.
func TestManyRechecksOfOneKeyWithoutASlot(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 4, VerifyTimeout: time.Second}, 0, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		open, wg := recheckOpen(t, c)
		start := time.Now()
		var rechecks sync.WaitGroup
		for range 6 {
			rechecks.Go(func() {
				_, _, err := c.Recheck(t.Context(), cache.NewKey("0"), o.load("0"))
				if took := time.Since(start); !errors.Is(err, cache.ErrBusy) || took > 3*time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		rechecks.Wait()
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("the last gave up after %v", took)
		}
		close(open)
		wg.Wait()
	})
}

// TestACallAndARecheckOfOneKeyWithoutASlot: each waits for one as long as it is to, whoever
// began.
func TestACallAndARecheckOfOneKeyWithoutASlot(t *testing.T) {
	for _, first := range []string{"call", "recheck"} {
		t.Run("the "+first+" comes first", func(t *testing.T) {
			away(t, cache.Policy{MaxVerifies: 4}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
				free := occupy(t, c, 4)
				open, wg := recheckOpen(t, c)
				start := time.Now()
				callers := map[string]func(){
					"call": func() {
						_, err := o.call(t.Context(), c, "0")
						if took := time.Since(start); !errors.Is(err, cache.ErrBusy) || took > 3*cache.DefaultPatience {
							t.Errorf("the call: %v after %v", err, took)
						}
					},
					"recheck": func() {
						_, result, err := c.Recheck(t.Context(), cache.NewKey("0"), o.load("0"))
						if took := time.Since(start); result != cache.Miss || err != nil || took != 2*time.Second {
							t.Errorf("the recheck: %v, %v after %v", result, err, took)
						}
					},
				}
				wg.Go(callers[first])
				synctest.Wait()
				delete(callers, first)
				for _, second := range callers {
					wg.Go(second)
				}
				time.Sleep(2 * time.Second)
				close(open)
				wg.Wait()
				free()
			})
		})
	}
}

// TestACallThatSharesTheWaitOfARecheck: it has a second chance, too.
func TestACallThatSharesTheWaitOfARecheck(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 4}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		free := occupy(t, c, 4)
		open, wg := recheckOpen(t, c)
		wg.Go(func() {
			if _, result, err := c.Recheck(t.Context(), cache.NewKey("0"), o.load("0")); result != cache.Miss || err != nil {
				t.Errorf("the recheck: %v, %v", result, err)
			}
		})
		synctest.Wait()
		const wait = cache.DefaultPatience * 3 / 2
		wg.Go(func() { after(t, wait, o, c, "0", cache.Shared, nil) })
		time.Sleep(wait)
		close(open)
		wg.Wait()
		free()
	})
}

// TestWhoSharesALoadThatFoundNoSlot: its own wait may be longer than that of the call which
// began. A newcomer's is not, however many there are.
func TestWhoSharesALoadThatFoundNoSlot(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 1}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		open, wg := recheckOpen(t, c)
		free := occupy(t, c, 1)
		const patience = cache.DefaultPatience
		wg.Go(func() { after(t, patience, o, c, "0", cache.Miss, cache.ErrBusy) })
		time.Sleep(patience / 2)
		wg.Go(func() { after(t, patience*3/4, o, c, "0", cache.Miss, nil) }) // with a slot that comes after the first call's end
		time.Sleep(patience * 3 / 4)
		free()
		wg.Wait()

		free = occupy(t, c, 1)
		wg.Go(func() { after(t, cache.DefaultVerifyTimeout, o, c, "new", cache.Miss, cache.ErrBusy) })
		synctest.Wait()
		after(t, cache.DefaultVerifyTimeout, o, c, "new", cache.Shared, cache.ErrBusy)
		close(open)
		free()
		wg.Wait()
	})
}

// TestARecheckWithoutASlotInAnOutage: it is answered stale, also when the outage begins
// while it waits.
func TestARecheckWithoutASlotInAnOutage(t *testing.T) {
	const timeout = cache.DefaultPatience * 9 / 2
	away(t, cache.Policy{MaxVerifies: 4, VerifyTimeout: timeout}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		open, wg := recheckOpen(t, c)
		free := occupy(t, c, 3)
		wg.Go(func() { // another session's load tells of the outage just before the wait is over
			time.Sleep(timeout - 10*time.Millisecond)
			o.set(func() { o.fails["1"] = true })
			after(t, 0, o, c, "1", cache.Stale, nil)
		})
		v, result, err := c.Recheck(t.Context(), cache.NewKey("0"), o.load("0"))
		if v != "0" || result != cache.Stale || err != nil {
			t.Errorf("%q, %v, %v", v, result, err)
		}
		close(open)
		free()
		wg.Wait()
	})
}

// TestARefreshWithoutASlotIsTriedAgain, about a second later.
func TestARefreshWithoutASlotIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour, RefreshAfter: time.Minute, MaxVerifies: 1})
		o := &sessions{loads: map[string]int{}}
		after(t, 0, o, c, "0", cache.Miss, nil)
		time.Sleep(time.Minute)
		free := occupy(t, c, 1)
		after(t, 0, o, c, "0", cache.Hit, nil)
		synctest.Wait()
		free()
		for _, want := range []int{1, 2} {
			after(t, 0, o, c, "0", cache.Hit, nil)
			synctest.Wait()
			if loads := o.loadsOf("0"); loads != want {
				t.Errorf("%d loads, want %d", loads, want)
			}
			time.Sleep(1200 * time.Millisecond)
		}
	})
}

// TestAProbeHasASecondChance: loads that hang have taken every slot, and the owner is well
// again. That is noticed before they end.
func TestAProbeHasASecondChance(t *testing.T) {
	for _, slots := range []int{4, 40} {
		away(t, cache.Policy{MaxVerifies: slots}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
			o.set(func() { o.away = cache.ErrUnavailable })
			after(t, 0, o, c, "0", cache.Stale, nil)
			free := occupy(t, c, slots)
			defer free()
			o.set(func() { o.away = nil })
			for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
				result, err := o.call(t.Context(), c, "1")
				if err != nil || time.Since(start) > 2*time.Second {
					t.Fatalf("%d slots: %v, %v after %v", slots, result, err, time.Since(start))
				}
				if result == cache.Hit {
					return
				}
			}
		})
	}
}

// TestAColdStartIsServed: everybody comes at once, and nobody is in memory. The owner has
// no more than MaxVerifies to do at a time.
func TestAColdStartIsServed(t *testing.T) {
	away(t, cache.Policy{}, 0, func(t *testing.T, c *cache.Cache[string], _ *sessions) {
		var served, running, most atomic.Int64
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Go(func() {
				_, _, err := c.Do(t.Context(), cache.NewKey("user", fmt.Sprint(i)), func(context.Context) (string, time.Time, error) {
					n := running.Add(1)
					defer running.Add(-1)
					for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
					}
					time.Sleep(50 * time.Millisecond)
					return "", time.Time{}, nil
				})
				if err == nil {
					served.Add(1)
				}
			})
		}
		wg.Wait()
		if served.Load() != 10_000 || most.Load() != cache.DefaultMaxVerifies {
			t.Errorf("%d were served, with %d loads at once", served.Load(), most.Load())
		}
	})
}

// TestTheQueueForSlotsIsBounded: in number and in time.
func TestTheQueueForSlotsIsBounded(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 1, VerifyTimeout: time.Second}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		free := occupy(t, c, 1)
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { after(t, time.Second, o, c, fmt.Sprint("waits", i), cache.Miss, cache.ErrBusy) })
		}
		synctest.Wait()
		after(t, 0, o, c, "one too many", cache.Miss, cache.ErrBusy)
		after(t, 0, o, c, "0", cache.Miss, nil) // it is in memory: a recheck's
		wg.Wait()
		free()
		after(t, 0, o, c, "later", cache.Miss, nil)
	})
}

// TestTheQueueComesBehindWhatIsInMemory: of new calls only one stands before it.
func TestTheQueueComesBehindWhatIsInMemory(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 1}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		slow := func(context.Context) (string, time.Time, error) {
			time.Sleep(100 * time.Millisecond)
			return "", time.Time{}, nil
		}
		var wg sync.WaitGroup
		wg.Go(func() { _, _, _ = c.Do(t.Context(), cache.NewKey("runs"), slow) })
		wg.Go(func() {
			_, _, _ = c.Recheck(t.Context(), cache.NewKey("rechecked"), func(context.Context) (string, time.Time, error) {
				time.Sleep(time.Second)
				return "", time.Time{}, nil
			})
		})
		synctest.Wait()
		for i := range 5 {
			wg.Go(func() { _, _, _ = c.Do(t.Context(), cache.NewKey("queued", fmt.Sprint(i)), slow) })
		}
		synctest.Wait()
		after(t, 200*time.Millisecond, o, c, "0", cache.Miss, nil)
		wg.Wait()
	})
}

// TestWhatWaitsInTheQueue: it does not ask an owner that named a delay meanwhile, and
// begins only when it has its slot.
func TestWhatWaitsInTheQueue(t *testing.T) {
	away(t, cache.Policy{MaxVerifies: 1}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		tag := cache.Tag{1}
		free := occupy(t, c, 1)
		var wg sync.WaitGroup
		var loads int
		wg.Go(func() {
			_, result, err := c.Do(t.Context(), cache.NewKey("queued"), func(context.Context) (string, time.Time, error) {
				loads++
				return "", time.Time{}, nil
			}, tag)
			if result != cache.Miss || err != nil || loads != 1 {
				t.Errorf("%v, %v after %d loads", result, err, loads)
			}
		})
		synctest.Wait()
		c.Forget(tag)
		free()
		wg.Wait()

		open := make(chan struct{})
		wg.Go(func() {
			_, _, _ = c.Do(t.Context(), cache.NewKey("limited"), func(context.Context) (string, time.Time, error) {
				<-open
				return "", time.Time{}, delayed(time.Minute)
			})
		})
		synctest.Wait()
		wg.Go(func() {
			if _, err := o.call(t.Context(), c, "queued while the owner named a delay"); !errors.Is(err, cache.ErrUnavailable) {
				t.Error(err)
			}
		})
		synctest.Wait()
		asked := len(o.times())
		close(open)
		wg.Wait()
		if got := len(o.times()); got != asked {
			t.Errorf("it was asked %d times", got-asked)
		}
	})
}
