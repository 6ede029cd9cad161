package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// TestAnEntryExpiresByBothClocks: by the wall clock, which goes on while a machine
// sleeps and may be set, and by the monotonic one.
func TestAnEntryExpiresByBothClocks(t *testing.T) {
	for name, test := range map[string]struct {
		policy  cache.Policy
		expires time.Duration
		set     time.Duration // the wall clock, ahead
		after   time.Duration
		want    cache.Result
	}{
		"in its time":                        {cache.Policy{TTL: time.Hour}, time.Minute, 0, time.Minute - 1, cache.Hit},
		"after it":                           {cache.Policy{TTL: time.Hour}, time.Minute, 0, time.Minute, cache.Miss},
		"the machine slept for long":         {cache.Policy{TTL: time.Hour}, time.Minute, time.Minute, 0, cache.Miss},
		"the machine slept for a while":      {cache.Policy{TTL: time.Hour}, time.Minute, time.Minute - time.Second, 0, cache.Hit},
		"the clock is set back":              {cache.Policy{TTL: time.Hour}, time.Minute, -time.Hour, time.Minute, cache.Miss},
		"no expiry is known":                 {cache.Policy{TTL: time.Hour}, 0, 24 * time.Hour, time.Minute, cache.Hit},
		"stale, and the machine slept":       {cache.Policy{TTL: time.Second, StaleIfError: time.Hour}, time.Minute, time.Minute, time.Second, cache.Miss},
		"stale, and the machine did not":     {cache.Policy{TTL: time.Second, StaleIfError: time.Hour}, time.Minute, 0, time.Second, cache.Stale},
		"refreshed, and the machine slept":   {cache.Policy{TTL: time.Hour, RefreshAfter: time.Second}, time.Minute, time.Minute, time.Second, cache.Miss},
		"refreshed, and the machine did not": {cache.Policy{TTL: time.Hour, RefreshAfter: time.Second}, time.Minute, 0, time.Second, cache.Hit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, test.policy)
				key, l := cache.NewKey("k"), &loader{value: "v"}
				if test.expires > 0 {
					l.expires = time.Now().Add(test.expires)
				}
				if _, _, err := c.Do(t.Context(), key, l.load); err != nil {
					t.Fatal(err)
				}
				c.SetWallClock(test.set)
				time.Sleep(test.after)
				l.err = cache.ErrUnavailable
				if _, ok := c.Get(key); ok && test.want != cache.Hit {
					t.Error("Get finds it")
				}
				if _, result, err := c.Do(t.Context(), key, l.load); result != test.want || (err != nil) != (test.want == cache.Miss) {
					t.Errorf("%v, %v, want %v", result, err, test.want)
				}
				synctest.Wait()
			})
		})
	}
}

// TestAnAnswerThatHasExpiredByTheWallClockIsNone: what counts is the clock as it is when
// the load is over.
func TestAnAnswerThatHasExpiredByTheWallClockIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Hour})
		c.SetWallClock(time.Hour)
		l := &loader{value: "v", expires: time.Now().Add(time.Minute)}
		if v, result, err := c.Do(t.Context(), cache.NewKey("k"), l.load); v != "" || result != cache.Miss || !errors.Is(err, cache.ErrExpired) {
			t.Errorf("%q, %v, %v", v, result, err)
		}
	})
}

// TestDurationsWithoutEnd: the longest there is means for ever.
func TestDurationsWithoutEnd(t *testing.T) {
	const long = math.MaxInt64
	for name, policy := range map[string]cache.Policy{
		"TTL":                           {TTL: long},
		"TTL, and stale for an hour":    {TTL: long, StaleIfError: time.Hour},
		"TTL, and stale for ever":       {TTL: long, StaleIfError: long},
		"TTL, and a refresh":            {TTL: long, RefreshAfter: long - 1},
		"StaleIfError":                  {TTL: 24 * time.Hour, StaleIfError: long},
		"NegativeTTL":                   {TTL: 24 * time.Hour, NegativeTTL: long},
		"VerifyTimeout":                 {TTL: 24 * time.Hour, VerifyTimeout: long},
		"Patience":                      {TTL: 24 * time.Hour, Patience: long},
		"MaxVerifies and MaxPerSubject": {TTL: 24 * time.Hour, MaxVerifies: math.MaxInt, MaxPerSubject: math.MaxInt},
		"everything": {
			TTL: long, StaleIfError: long, RefreshAfter: long - 1, NegativeTTL: long, VerifyTimeout: long, Patience: long, MaxVerifies: math.MaxInt,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, policy)
				time.Sleep(time.Hour)
				good, bad := &loader{value: "v"}, &loader{err: cache.ErrNotFound}
				for i := range 3 {
					if v, result, err := c.Do(t.Context(), cache.NewKey("good"), good.load, tag("good")); v != "v" || err != nil || (result == cache.Hit) != (i > 0) {
						t.Errorf("%q, %v, %v", v, result, err)
					}
					time.Sleep(time.Hour)
				}
				for i := range 3 {
					if _, result, err := c.Do(t.Context(), cache.NewKey("bad"), bad.load); !errors.Is(err, cache.ErrNotFound) || (result == cache.Negative) != (i > 0 && policy.NegativeTTL > 0) {
						t.Errorf("%v, %v", result, err)
					}
				}
				// Two tags that share a place while marks are not exact any more.
				one, other := cache.Tag{0: 7, 1: 7}, cache.Tag{8: 7, 9: 7}
				_, _, _ = c.Do(t.Context(), cache.NewKey("one"), good.load, one)
				c.Forget(other)
				time.Sleep(time.Hour)
				c.Forget(tag("stranger"))
				if _, ok := c.Get(cache.NewKey("one")); !ok {
					t.Error("a stranger's Forget has it forgotten")
				}
				if c.Forget(tag("good")); c.ForgottenSince(c.Clock(), tag("good")) || !c.ForgottenSince(c.Clock()-1, tag("good")) {
					t.Error("the clock of Forgets is wrong")
				}
				if _, ok := c.Get(cache.NewKey("good")); ok {
					t.Error("not forgotten")
				}
			})
		})
	}
}

// TestStaleForEver: at the end of its TTL, a value is served stale and not dropped.
func TestStaleForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Minute, StaleIfError: math.MaxInt64})
		l := &loader{value: "v"}
		for i, want := range []cache.Result{cache.Miss, cache.Stale, cache.Stale} {
			if v, result, err := c.Do(t.Context(), cache.NewKey("k"), l.load); v != "v" || result != want || err != nil {
				t.Errorf("%d: %q, %v, %v", i, v, result, err)
			}
			l.err = fmt.Errorf("gone: %w", cache.ErrUnavailable)
			time.Sleep(time.Duration(i+1) * 1000 * time.Hour)
		}
	})
}

// TestTimeouts are those of the policy: a load gets that much and no more.
func TestTimeoutsAreThePolicys(t *testing.T) {
	for policy, want := range map[cache.Policy]time.Duration{{TTL: 1}: cache.DefaultVerifyTimeout, {TTL: 1, VerifyTimeout: time.Second}: time.Second} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			_, _, err := newCache(t, policy).Do(t.Context(), cache.NewKey("k"), func(ctx context.Context) (string, time.Time, error) {
				<-ctx.Done()
				return "", time.Time{}, ctx.Err()
			})
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cache.ErrUnavailable) || time.Since(start) != want {
				t.Errorf("%v after %v, want %v", err, time.Since(start), want)
			}
		})
	}
}
