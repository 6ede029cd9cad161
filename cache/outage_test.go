package cache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// sessions is an owner that can be away.
type sessions struct {
	mu    sync.Mutex
	away  error           // what it says to everybody
	hangs bool            // it says nothing
	fails map[string]bool // it is away for these only
	ended map[string]bool
	asked []time.Time
	loads map[string]int
}

func (o *sessions) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *sessions) load(name string) cache.LoadFunc[string] {
	return func(ctx context.Context) (string, time.Time, error) {
		o.mu.Lock()
		o.asked = append(o.asked, time.Now())
		o.loads[name]++
		away, hangs := o.away, o.hangs
		if o.fails[name] && away == nil {
			away = cache.ErrUnavailable
		}
		o.mu.Unlock()
		if hangs {
			<-ctx.Done() // as a connection whose other end was lost
			return "", time.Time{}, ctx.Err()
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		if away == nil && o.ended[name] {
			away = cache.ErrNotFound
		}
		return name, time.Time{}, away
	}
}

// times returns when it was asked.
func (o *sessions) times() []time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

// since returns how often it was asked after a time.
func (o *sessions) since(start time.Time) int {
	return len(slices.DeleteFunc(o.times(), start.After))
}

// loadsOf returns how often a session was loaded.
func (o *sessions) loadsOf(name string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.loads[name]
}

// call calls Do for a session.
func (o *sessions) call(ctx context.Context, c *cache.Cache[string], name string) (cache.Result, error) {
	_, result, err := c.Do(ctx, cache.NewKey(name), o.load(name))
	return result, err
}

// away runs test with sessions past their TTL, which may be served stale for an hour.
func away(t *testing.T, policy cache.Policy, names int, test func(t *testing.T, c *cache.Cache[string], o *sessions)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		policy.TTL, policy.StaleIfError = 10*time.Second, time.Hour
		c := newCache(t, policy)
		o := &sessions{fails: map[string]bool{}, ended: map[string]bool{}, loads: map[string]int{}}
		for i := range names {
			if _, err := o.call(t.Context(), c, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(policy.TTL)
		test(t, c, o)
		synctest.Wait()
		time.Sleep(time.Hour) // whatever runs still ends
	})
}

// after fails the test unless a call is answered so, after exactly this time.
func after(t *testing.T, took time.Duration, o *sessions, c *cache.Cache[string], name string, want cache.Result, wantErr error) {
	t.Helper()
	start := time.Now()
	result, err := o.call(t.Context(), c, name)
	if result != want || !errors.Is(err, wantErr) || (err == nil) != (wantErr == nil) || time.Since(start) != took {
		t.Errorf("session %s: %v, %v after %v, want %v, %v after %v", name, result, err, time.Since(start), want, wantErr, took)
	}
}

func TestACallerIsPatientForAWhile(t *testing.T) {
	away(t, cache.Policy{}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.hangs = true })
		after(t, cache.DefaultPatience, o, c, "0", cache.Stale, nil)
		after(t, 0, o, c, "0", cache.Stale, nil)
		after(t, 0, o, c, "1", cache.Stale, nil) // the owner is slow, not the key
		after(t, cache.DefaultVerifyTimeout, o, c, "new", cache.Miss, cache.ErrUnavailable)
	})
	away(t, cache.Policy{Patience: time.Second}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.hangs = true })
		after(t, time.Second, o, c, "0", cache.Stale, nil)
	})
}

func TestManyWhoArePatientShareOneLoad(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.hangs, o.loads = true, map[string]int{} })
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { after(t, cache.DefaultPatience, o, c, "0", cache.Stale, nil) })
		}
		wg.Wait()
		if loads := o.loadsOf("0"); loads != 1 {
			t.Errorf("%d loads", loads)
		}
	})
}

// TestOneKeyThatHangs: others have been answered since it began to, so they are
// asked for, and its own callers wait about once a second.
func TestOneKeyThatHangs(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		hang := func(ctx context.Context) (string, time.Time, error) { <-ctx.Done(); return "", time.Time{}, ctx.Err() }
		call := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			if _, result, err := c.Do(t.Context(), cache.NewKey("0"), hang); result != cache.Stale || err != nil || time.Since(start) != want {
				t.Errorf("%v, %v after %v, want %v", result, err, time.Since(start), want)
			}
		}
		call(cache.DefaultPatience)
		after(t, 0, o, c, "new", cache.Miss, nil)
		time.Sleep(2 * time.Second)
		call(cache.DefaultPatience)
		call(0)
		call(0)
		after(t, 0, o, c, "1", cache.Miss, nil)
		time.Sleep(2 * time.Second)
		call(cache.DefaultPatience)
	})
}

// TestAnAnswerThatEndsAtOnceReplacesTheOneBefore, though it is not stored itself.
func TestAnAnswerThatEndsAtOnceReplacesTheOneBefore(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], _ *sessions) {
		v, result, err := c.Do(t.Context(), cache.NewKey("0"), func(context.Context) (string, time.Time, error) {
			return "new", time.Now().Add(1), nil
		})
		if v != "new" || result != cache.Miss || err != nil || c.Stats().Entries != 0 {
			t.Errorf("%q, %v, %v, %+v", v, result, err, c.Stats())
		}
	})
}

func TestTheLoadGoesOnWhenPatienceHasRunOut(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], _ *sessions) {
		key := cache.NewKey("0")
		slow := func(context.Context) (string, time.Time, error) {
			time.Sleep(time.Second)
			return "new", time.Time{}, nil
		}
		if v, result, err := c.Do(t.Context(), key, slow); v != "0" || result != cache.Stale || err != nil {
			t.Errorf("%q, %v, %v", v, result, err)
		}
		time.Sleep(time.Second)
		if v, result, err := c.Do(t.Context(), key, slow); v != "new" || result != cache.Hit || err != nil {
			t.Errorf("%q, %v, %v", v, result, err)
		}
	})
}

// TestADeadlineLeavesTimeForAStaleAnswer: a caller in a hurry gets one as well, and
// that it is in a hurry says nothing about the owner.
func TestADeadlineLeavesTimeForAStaleAnswer(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.hangs = true })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		if result, err := o.call(ctx, c, "0"); result != cache.Stale || err != nil || time.Since(start) != 50*time.Millisecond {
			t.Errorf("%v, %v after %v", result, err, time.Since(start))
		}
		after(t, cache.DefaultPatience, o, c, "1", cache.Stale, nil)
	})
}

// TestAnOwnerThatHangsAndClientsWithDeadlines: with the defaults and deadlines of a
// second, every call is answered.
func TestAnOwnerThatHangsAndClientsWithDeadlines(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.hangs = true })
		for range 60 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if result, err := o.call(ctx, c, "0"); result != cache.Stale || err != nil {
				t.Errorf("%v, %v", result, err)
			}
			cancel()
			time.Sleep(10 * time.Second)
		}
	})
}

// TestAnOwnerThatIsAwayIsProbed: whatever the number of sessions and callers, it is asked
// by one at a time, about once a second, and less often while it refuses.
func TestAnOwnerThatIsAwayIsProbed(t *testing.T) {
	for name, test := range map[string]struct {
		sessions    int
		policy      cache.Policy
		hangs       bool
		least, most int // in a minute
	}{
		"one session, it refuses":      {1, cache.Policy{}, false, 12, 24},
		"twenty sessions, it refuses":  {20, cache.Policy{}, false, 13, 25},
		"one session, it hangs":        {1, cache.Policy{}, true, 40, 62},
		"twenty sessions, it hangs":    {20, cache.Policy{}, true, 50, 70},
		"with refreshes, it refuses":   {20, cache.Policy{RefreshAfter: time.Second}, false, 13, 25},
		"with a short timeout, hangs":  {20, cache.Policy{VerifyTimeout: 500 * time.Millisecond}, true, 50, 70},
		"with a short timeout, refuse": {20, cache.Policy{VerifyTimeout: 500 * time.Millisecond}, false, 13, 25},
	} {
		t.Run(name, func(t *testing.T) {
			away(t, test.policy, test.sessions, func(t *testing.T, c *cache.Cache[string], o *sessions) {
				o.set(func() { o.hangs, o.away = test.hangs, cache.ErrUnavailable })
				after(t, map[bool]time.Duration{true: min(cache.DefaultPatience, max(test.policy.VerifyTimeout, cache.DefaultPatience))}[test.hangs], o, c, "0", cache.Stale, nil)
				start := time.Now()
				for i := 0; time.Since(start) < time.Minute; i++ {
					if result, err := o.call(t.Context(), c, fmt.Sprint(i%test.sessions)); result != cache.Stale || err != nil {
						t.Fatalf("%v, %v", result, err)
					}
					time.Sleep(10 * time.Millisecond)
				}
				if asked := o.since(start); asked < test.least || asked > test.most {
					t.Errorf("asked %d times, want %d to %d", asked, test.least, test.most)
				}
				asked := o.times()[test.sessions+1:]
				for i, at := range asked[1:] {
					if gap := at.Sub(asked[i]); gap < 800*time.Millisecond {
						t.Errorf("probe %d came %v after the one before", i, gap)
					}
				}
			})
		})
	}
}

// TestRecoveryAfterAStall: a session that ended meanwhile is noticed about a second after
// the owner is back, not after VerifyTimeout.
func TestRecoveryAfterAStall(t *testing.T) {
	for _, others := range []int{0, 20} {
		t.Run(fmt.Sprintf("%d others", others), func(t *testing.T) {
			away(t, cache.Policy{}, others+1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
				for round := range 10 {
					o.set(func() { o.hangs, o.ended["0"] = true, false })
					for end := time.Now().Add(20*time.Second + time.Duration(round)*271*time.Millisecond); time.Now().Before(end); {
						for i := range others + 1 {
							_, _ = o.call(t.Context(), c, fmt.Sprint(i))
						}
						time.Sleep(50 * time.Millisecond)
					}
					o.set(func() { o.hangs, o.ended["0"] = false, true })
					back := time.Now()
					for {
						for i := range others {
							_, _ = o.call(t.Context(), c, fmt.Sprint(i+1))
						}
						if _, err := o.call(t.Context(), c, "0"); err != nil {
							break
						}
						time.Sleep(50 * time.Millisecond)
					}
					if took := time.Since(back); took > 1600*time.Millisecond {
						t.Errorf("served for %v after the owner was back", took)
					}
					o.set(func() { o.ended["0"] = false })
					_, _ = o.call(t.Context(), c, "0")
					time.Sleep(10 * time.Second)
				}
			})
		})
	}
}

// TestAnUnclearErrorIsNoOutage: nothing is served stale for one, nor is the value dropped.
func TestAnUnclearErrorIsNoOutage(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		boom := errors.New("boom")
		o.set(func() { o.away = boom })
		after(t, 0, o, c, "0", cache.Miss, boom)
		after(t, 0, o, c, "0", cache.Miss, boom)
		o.set(func() { o.away = cache.ErrUnavailable })
		after(t, 0, o, c, "0", cache.Stale, nil)
		o.set(func() { o.away = boom }) // the owner is there, whatever this is
		time.Sleep(2 * time.Second)
		after(t, 0, o, c, "1", cache.Stale, nil) // and a probe
		synctest.Wait()
		after(t, 0, o, c, "1", cache.Miss, boom)
	})
}

func TestOneSuccessEndsTheOutage(t *testing.T) {
	away(t, cache.Policy{}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = cache.ErrUnavailable })
		after(t, 0, o, c, "0", cache.Stale, nil)
		o.set(func() { o.away = nil })
		after(t, 0, o, c, "1", cache.Stale, nil)
		after(t, 0, o, c, "new", cache.Miss, nil) // nothing stale: it is asked
		after(t, 0, o, c, "1", cache.Miss, nil)
		after(t, 0, o, c, "0", cache.Miss, nil)
	})
}

// TestAVerdictOnASessionEndsTheOutage, too: one that was known must have been looked up.
func TestAVerdictOnASessionEndsTheOutage(t *testing.T) {
	for _, verdict := range []error{cache.ErrNotFound, cache.ErrForbidden} {
		away(t, cache.Policy{}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
			o.set(func() { o.away = cache.ErrUnavailable })
			after(t, 0, o, c, "0", cache.Stale, nil)
			o.set(func() { o.away = verdict })
			time.Sleep(2 * time.Second)
			after(t, 0, o, c, "1", cache.Stale, nil) // and a probe
			synctest.Wait()
			after(t, 0, o, c, "1", cache.Miss, verdict)
			after(t, 0, o, c, "2", cache.Miss, verdict)
		})
	}
}

// TestAnOutageIsNotRememberedForEver: who comes long after is not served what may have
// ended without asking.
func TestAnOutageIsNotRememberedForEver(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = cache.ErrUnavailable })
		after(t, 0, o, c, "0", cache.Stale, nil)
		o.set(func() { o.away, o.ended["1"] = nil, true })
		time.Sleep(time.Minute)
		after(t, 0, o, c, "1", cache.Miss, cache.ErrNotFound)
	})
}

// TestOneKeyDoesNotMakeTheOwnerAway: neither junk over which the owner fails nor one
// session that does keeps others from being verified.
func TestOneKeyDoesNotMakeTheOwnerAway(t *testing.T) {
	away(t, cache.Policy{}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.fails = map[string]bool{"junk": true, "0": true} })
		after(t, 0, o, c, "junk", cache.Miss, cache.ErrUnavailable)
		after(t, 0, o, c, "1", cache.Miss, nil)
		after(t, 0, o, c, "0", cache.Stale, nil) // may be the first sign of an outage
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			_, _ = o.call(t.Context(), c, "2")
			_, _ = o.call(t.Context(), c, "0")
		}
		o.set(func() { o.ended["2"], o.ended["1"], o.loads["0"] = true, true, 0 })
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			_, _ = o.call(t.Context(), c, "0")
			_, _ = o.call(t.Context(), c, "junk")
			_, _ = o.call(t.Context(), c, fmt.Sprint("new", time.Now()))
		}
		if loads := o.loadsOf("0"); loads < 8 || loads > 12 {
			t.Errorf("the key that fails was loaded %d times in 10 s", loads)
		}
		after(t, 0, o, c, "0", cache.Stale, nil)
		after(t, 0, o, c, "2", cache.Miss, cache.ErrNotFound)
		after(t, 0, o, c, "1", cache.Miss, cache.ErrNotFound)
	})
}

// TestJunkDoesNotEndAnOutage: that it is refused may be known without the owner.
func TestJunkDoesNotEndAnOutage(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.hangs = true })
		after(t, cache.DefaultPatience, o, c, "0", cache.Stale, nil)
		for _, err := range []error{cache.ErrNotFound, cache.ErrForbidden, errors.New("malformed")} {
			_, _, got := c.Do(t.Context(), cache.NewKey("junk"), (&loader{err: err}).load)
			if !errors.Is(got, err) {
				t.Errorf("%v, want %v", got, err)
			}
		}
		after(t, 0, o, c, "1", cache.Stale, nil)
	})
}

// TestAVerdictIsNotOvertakenByAnOlderLoad: a probe beside a load that hangs finds out
// that the session has ended; what the older one says then is of no use.
func TestAVerdictIsNotOvertakenByAnOlderLoad(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		key := cache.NewKey("0")
		old := func(context.Context) (string, time.Time, error) {
			time.Sleep(4 * time.Second)
			return "old", time.Time{}, nil
		}
		if _, result, err := c.Do(t.Context(), key, old); result != cache.Stale || err != nil {
			t.Errorf("%v, %v", result, err)
		}
		o.set(func() { o.ended["0"] = true })
		time.Sleep(2 * time.Second)
		after(t, 0, o, c, "0", cache.Stale, nil) // and a probe
		synctest.Wait()
		if _, ok := c.Get(key); ok || c.Stats().Entries != 0 {
			t.Error("the probe has not noticed")
		}
		time.Sleep(2 * time.Second)
		if _, ok := c.Get(key); ok || c.Stats().InFlight != 0 {
			t.Error("the older answer is served")
		}
	})
}

// TestWhoWaitsForAnOlderLoadIsNotToldOtherwise: nor are those who waited for it.
func TestWhoWaitsForAnOlderLoadIsNotToldOtherwise(t *testing.T) {
	away(t, cache.Policy{Patience: time.Minute}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		var wg sync.WaitGroup
		wg.Go(func() {
			loads := 0
			_, _, err := c.Do(t.Context(), cache.NewKey("0"), func(ctx context.Context) (string, time.Time, error) {
				if loads++; loads > 1 {
					return o.load("0")(ctx)
				}
				time.Sleep(4 * time.Second)
				return "old", time.Time{}, nil
			})
			if !errors.Is(err, cache.ErrNotFound) {
				t.Errorf("%v", err)
			}
		})
		time.Sleep(2 * time.Second)
		o.set(func() { o.ended["0"] = true })
		after(t, 0, o, c, "0", cache.Miss, cache.ErrNotFound)
		wg.Wait()
	})
}

// TestRefreshesWaitForTheOwner: values within their TTL are served, and what asks for
// them is one probe, too.
func TestRefreshesWaitForTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour, RefreshAfter: time.Second})
		o := &sessions{loads: map[string]int{}}
		for i := range 20 {
			_, _ = o.call(t.Context(), c, fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		o.set(func() { o.away = cache.ErrUnavailable })
		after(t, 0, o, c, "0", cache.Hit, nil)
		synctest.Wait()
		start := time.Now()
		for i := 0; time.Since(start) < time.Minute; i++ {
			after(t, 0, o, c, fmt.Sprint(i%20), cache.Hit, nil)
			time.Sleep(10 * time.Millisecond)
		}
		if asked := o.since(start.Add(1)); asked < 13 || asked > 25 {
			t.Errorf("asked %d times in a minute", asked)
		}
		o.set(func() { o.away, o.loads = nil, map[string]int{} })
		for i := range 1000 {
			after(t, 0, o, c, fmt.Sprint(i%20), cache.Hit, nil)
			time.Sleep(10 * time.Millisecond)
		}
		for i := range 20 {
			if o.loadsOf(fmt.Sprint(i)) == 0 {
				t.Errorf("session %d was not refreshed once the owner was back", i)
			}
		}
	})
}

// TestALateAnswerIsOneAfterAYoungerFailure: that a probe could not find out does not
// make worthless what an older load did.
func TestALateAnswerIsOneAfterAYoungerFailure(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		old := func(context.Context) (string, time.Time, error) {
			time.Sleep(4 * time.Second)
			return "old", time.Time{}, nil
		}
		_, _, _ = c.Do(t.Context(), cache.NewKey("0"), old)
		o.set(func() { o.away = cache.ErrUnavailable })
		time.Sleep(2 * time.Second)
		after(t, 0, o, c, "0", cache.Stale, nil) // and a probe
		time.Sleep(3 * time.Second)
		if v, ok := c.Get(cache.NewKey("0")); v != "old" || !ok {
			t.Errorf("%q, %t", v, ok)
		}
	})
}

// TestABusyKeyLeavesProbesToOthers: one that is called all the time, and fails alone,
// does not keep the others from finding out that the owner is well.
func TestABusyKeyLeavesProbesToOthers(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.fails["0"], o.loads = true, map[string]int{} })
		for i := range 300 {
			_, _ = o.call(t.Context(), c, "0")
			if i%20 == 19 {
				_, _ = o.call(t.Context(), c, "1")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if loads := o.loadsOf("1"); loads != 1 {
			t.Errorf("loaded %d times in 3 s", loads)
		}
	})
}

// TestProbesOfALongOutage: they become rare and no rarer, and those of the next one are
// as frequent as ever.
func TestProbesOfALongOutage(t *testing.T) {
	away(t, cache.Policy{}, 20, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		outage := func(took time.Duration) (asked int) {
			o.set(func() { o.away = cache.ErrUnavailable })
			after(t, 0, o, c, "0", cache.Stale, nil)
			start := time.Now()
			for i := 0; time.Since(start) < took; i++ {
				after(t, 0, o, c, fmt.Sprint(i%20), cache.Stale, nil)
				time.Sleep(10 * time.Millisecond)
			}
			return o.since(start.Add(1))
		}
		if asked := outage(20 * time.Minute); asked < 260 || asked > 360 {
			t.Errorf("asked %d times in 20 minutes", asked)
		}
		o.set(func() { o.away = nil })
		for i := range 1000 {
			_, _ = o.call(t.Context(), c, fmt.Sprint(i%20))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		if asked := outage(5 * time.Second); asked < 3 || asked > 5 {
			t.Errorf("asked %d times in 5 seconds of the next", asked)
		}
	})
}
