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

// heard is what a process has found out at a time, or this one where that is zero.
type heard struct{ at time.Time }

func (h heard) VerifiedAt() time.Time { return h.at }

// TestWhatAnotherProcessWasToldDoesNotEndAnOutage: that the owner can be asked there says
// nothing about here.
func TestWhatAnotherProcessWasToldDoesNotEndAnOutage(t *testing.T) {
	for by, want := range map[string]int{"this process": 1, "another": 0} {
		synctest.Test(t, func(t *testing.T) {
			c, err := cache.New[heard](cache.Policy{TTL: 10 * time.Second, StaleIfError: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			loads := 0
			call := func(name string, v heard, fails error, want cache.Result) {
				t.Helper()
				_, result, err := c.Do(t.Context(), cache.NewKey(name), func(context.Context) (heard, time.Time, error) {
					loads++
					return v, time.Time{}, fails
				})
				if result != want || err != nil {
					t.Errorf("%s: %v, %v, want %v", name, result, err, want)
				}
			}
			call("known", heard{}, nil, cache.Miss)
			time.Sleep(10 * time.Second)
			call("known", heard{}, cache.ErrUnavailable, cache.Stale)
			v := heard{}
			if want == 0 {
				v.at = time.Now()
			}
			call("new", v, nil, cache.Miss)
			loads = 0
			call("known", heard{}, cache.ErrUnavailable, cache.Stale)
			if loads != want {
				t.Errorf("after an answer that %s was given, the owner was asked %d times, want %d", by, loads, want)
			}
		})
	}
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

// TestAnOutageIsRememberedForAWhile: five seconds and the time that a load may take.
func TestAnOutageIsRememberedForAWhile(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, cache.DefaultVerifyTimeout} {
		for late, want := range map[time.Duration]cache.Result{-1: cache.Stale, 0: cache.Miss} {
			away(t, cache.Policy{VerifyTimeout: timeout}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
				o.set(func() { o.away = cache.ErrUnavailable })
				after(t, 0, o, c, "0", cache.Stale, nil)
				o.set(func() { o.away = nil })
				time.Sleep(timeout + 5*time.Second + late)
				after(t, 0, o, c, "1", want, nil)
			})
		}
	}
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

// TestNothingIsStaleForLongerThanThePolicySays: not even what is asked for all the time, so that
// nothing has cleared it away and the store has not been asked for it.
func TestNothingIsStaleForLongerThanThePolicySays(t *testing.T) {
	away(t, cache.Policy{}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = cache.ErrUnavailable })
		for range 2 {
			after(t, 0, o, c, "0", cache.Stale, nil)
			after(t, 0, o, c, "1", cache.Stale, nil)
			synctest.Wait()
			time.Sleep(30*time.Minute - 2*time.Nanosecond)
		}
		after(t, 0, o, c, "0", cache.Stale, nil)
		synctest.Wait()
		time.Sleep(4 * time.Nanosecond)
		after(t, 0, o, c, "0", cache.Miss, cache.ErrUnavailable)
		after(t, 0, o, c, "1", cache.Miss, cache.ErrUnavailable)
	})
}
