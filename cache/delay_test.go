package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// delayed names a delay.
type delayed time.Duration

func (delayed) Error() string               { return "too many requests" }
func (delayed) Unwrap() error               { return cache.ErrUnavailable }
func (d delayed) RetryAfter() time.Duration { return time.Duration(d) }

func TestNobodyAsksBeforeTheDelayIsOver(t *testing.T) {
	for name, test := range map[string]struct {
		err         error
		least, most time.Duration
	}{
		"named by the error":          {delayed(10 * time.Second), 10 * time.Second, 12 * time.Second},
		"named by one that it wraps":  {fmt.Errorf("asking: %w", delayed(10*time.Second)), 10 * time.Second, 12 * time.Second},
		"named by one of two":         {errors.Join(delayed(0), delayed(10*time.Second)), 10 * time.Second, 12 * time.Second},
		"longer than five minutes":    {delayed(24 * time.Hour), 5 * time.Minute, 5*time.Minute + 10*time.Second},
		"longer than there is":        {delayed(math.MaxInt64), 5 * time.Minute, 5*time.Minute + 10*time.Second},
		"none":                        {delayed(0), 0, 2 * time.Second},
		"next to none":                {delayed(1), 0, 2 * time.Second},
		"of less than nothing":        {delayed(-time.Hour), 0, 2 * time.Second},
		"of an error that says more ": {errors.Join(delayed(10*time.Second), errors.New("other")), 10 * time.Second, 12 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			away(t, cache.Policy{}, 3, func(t *testing.T, c *cache.Cache[string], o *sessions) {
				o.set(func() { o.away = test.err })
				if test.least > 0 {
					after(t, 0, o, c, "new", cache.Miss, test.err) // a miss has nothing else to say about the owner
				} else {
					after(t, 0, o, c, "1", cache.Stale, nil)
				}
				start := time.Now()
				time.Sleep(time.Nanosecond)
				for o.since(start.Add(1)) == 0 {
					if result, err := o.call(t.Context(), c, fmt.Sprint(time.Now().UnixNano()%3)); result != cache.Stale || err != nil {
						t.Fatalf("%v, %v", result, err)
					}
					time.Sleep(50 * time.Millisecond)
				}
				if took := time.Since(start); took < test.least || took > test.most {
					t.Errorf("asked again after %v, want %v to %v", took, test.least, test.most)
				}
			})
		})
	}
}

// TestOnlyAnOutageNamesADelay: another error with the method keeps nobody from asking.
func TestOnlyAnOutageNamesADelay(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Hour})
	for _, err := range []error{cache.ErrForbidden, cache.ErrNotFound, errors.New("other")} {
		l := &loader{err: both{err}}
		for range 2 {
			if _, _, got := c.Do(t.Context(), cache.NewKey("k"), l.load); got != l.err {
				t.Errorf("%v, want %v", got, l.err)
			}
		}
	}
}

// both is an error that names a delay.
type both struct{ error }

func (b both) Unwrap() error           { return b.error }
func (both) RetryAfter() time.Duration { return time.Minute }

// TestWhoWouldHaveToAskIsTold: a call without a stale answer learns how long to wait, and
// not everybody the same.
func TestWhoWouldHaveToAskIsTold(t *testing.T) {
	away(t, cache.Policy{RefreshAfter: time.Second}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		_, _ = o.call(t.Context(), c, "fresh")
		time.Sleep(time.Second)
		o.set(func() { o.away = delayed(10 * time.Second) })
		after(t, 0, o, c, "new", cache.Miss, cache.ErrUnavailable)
		start := time.Now()
		time.Sleep(5 * time.Second)
		after(t, 0, o, c, "fresh", cache.Hit, nil) // and no refresh
		told := map[time.Duration]bool{}
		for range 50 {
			for _, do := range []func(context.Context, cache.Key, cache.LoadFunc[string], ...cache.Tag) (string, cache.Result, error){c.Do, c.Recheck} {
				_, _, err := do(t.Context(), cache.NewKey("new"), o.load("new"))
				wait, ok := errors.AsType[interface {
					error
					RetryAfter() time.Duration
				}](err)
				if !ok || !errors.Is(err, cache.ErrUnavailable) {
					t.Fatal(err)
				}
				told[wait.RetryAfter()] = true
				if d := wait.RetryAfter(); d < 5*time.Second || d > 7*time.Second {
					t.Errorf("told to wait for %v", d)
				}
			}
		}
		if len(told) < 20 {
			t.Errorf("%d different delays for 100 calls", len(told))
		}
		if asked := o.since(start.Add(1)); asked != 0 {
			t.Errorf("asked %d times meanwhile", asked)
		}
		o.set(func() { o.away = nil })
		time.Sleep(7 * time.Second)
		after(t, 0, o, c, "new", cache.Miss, nil)
	})
}

// TestADelayOutlivesLateAnswers: one that was on its way when the owner named a delay
// does not lift it.
func TestADelayOutlivesLateAnswers(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := c.Do(t.Context(), cache.NewKey("slow"), func(context.Context) (string, time.Time, error) {
				time.Sleep(time.Second)
				return "v", time.Time{}, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		time.Sleep(time.Millisecond)
		o.set(func() { o.away = delayed(10 * time.Second) })
		after(t, 0, o, c, "0", cache.Stale, nil)
		o.set(func() { o.away = nil })
		wg.Wait()
		after(t, 0, o, c, "0", cache.Stale, nil)
		after(t, 0, o, c, "new", cache.Miss, cache.ErrUnavailable)
	})
}

// TestOneAsksFirstWhenTheDelayIsOver: it may not help.
func TestOneAsksFirstWhenTheDelayIsOver(t *testing.T) {
	away(t, cache.Policy{}, 20, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = delayed(10 * time.Second) })
		after(t, 0, o, c, "new", cache.Miss, cache.ErrUnavailable)
		time.Sleep(11 * time.Second)
		start := time.Now()
		o.set(func() { o.hangs = true })
		for i := range 20 {
			after(t, 0, o, c, fmt.Sprint(i), cache.Stale, nil)
		}
		synctest.Wait()
		if asked := o.since(start); asked != 1 {
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestALimiterOpensAgain: one that opens when nobody has asked for ten seconds, and
// twenty sessions in steady use.
func TestALimiterOpensAgain(t *testing.T) {
	away(t, cache.Policy{}, 20, func(t *testing.T, c *cache.Cache[string], _ *sessions) {
		const window, most = 10 * time.Second, 100
		var mu sync.Mutex
		var last time.Time
		count, inARow, worst := most, 0, 0
		load := func(context.Context) (string, time.Time, error) {
			mu.Lock()
			defer mu.Unlock()
			if time.Since(last) > window {
				count = 0
			}
			last = time.Now()
			if count++; count > most {
				inARow++
				worst = max(worst, inARow)
				return "", time.Time{}, delayed(window)
			}
			inARow = 0
			return "v", time.Time{}, nil
		}
		last = time.Now() // 100 strangers have just been by
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
			for i := range 20 {
				if _, _, err := c.Do(t.Context(), cache.NewKey(fmt.Sprint(i)), load); err != nil {
					t.Fatal(err)
				}
			}
		}
		if worst != 1 {
			t.Errorf("refused %d times in a row", worst)
		}
	})
}
