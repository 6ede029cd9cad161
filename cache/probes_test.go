package cache_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

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

// TestProbesInTheAirAreBounded: those that are not answered, however long they may wait.
func TestProbesInTheAirAreBounded(t *testing.T) {
	for timeout, want := range map[time.Duration]int{500 * time.Millisecond: 1, time.Second: 1, 3 * time.Second: 3, time.Hour: 16} {
		away(t, cache.Policy{VerifyTimeout: timeout}, 20, func(t *testing.T, c *cache.Cache[string], o *sessions) {
			o.set(func() { o.away = cache.ErrUnavailable })
			after(t, 0, o, c, "0", cache.Stale, nil)
			o.set(func() { o.hangs = true })
			most := 0
			for i := range 1200 {
				after(t, 0, o, c, fmt.Sprint(i%20), cache.Stale, nil)
				synctest.Wait()
				most = max(most, c.Stats().InFlight)
				time.Sleep(50 * time.Millisecond)
			}
			if most != want {
				t.Errorf("%v: %d in the air, want %d", timeout, most, want)
			}
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
			times := o.times()
			for i, at := range times {
				if i > 0 && times[i-1].After(start) && at.Sub(times[i-1]) > 5*time.Second {
					t.Errorf("not asked for %v", at.Sub(times[i-1]))
				}
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
		if asked := outage(8 * time.Second); asked < 4 || asked > 6 { // after 1, 2, 3.5 and 5.75 s, or about that
			t.Errorf("asked %d times in 8 seconds of the next", asked)
		}
	})
}
