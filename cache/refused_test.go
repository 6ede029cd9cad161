package cache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Minute, NegativeTTL: time.Hour})
		key, tag := cache.NewKey("junk"), cache.Tag{1}
		none := func(context.Context) (string, time.Time, error) { return "", time.Time{}, cache.ErrNotFound }
		if c.Refused(key) {
			t.Error("refused before it was asked for")
		}
		_, _, _ = c.Do(t.Context(), key, none, tag)
		if !c.Refused(key) || c.Refused(cache.NewKey("other")) || c.Stats().NegativeHits != 1 {
			t.Errorf("not refused, or another: %+v", c.Stats())
		}
		time.Sleep(time.Hour)
		if c.Refused(key) {
			t.Error("refused for longer than NegativeTTL")
		}
		_, _, _ = c.Do(t.Context(), key, none, tag)
		if c.Forget(tag); c.Refused(key) {
			t.Error("refused after it was forgotten")
		}
	})
	if newCache(t, cache.Policy{TTL: time.Minute}).Refused(cache.NewKey("junk")) {
		t.Error("refused without a NegativeTTL")
	}
}

// TestAValueEndsTheRefusalBeforeIt: an older load was told that there is no session, and a
// younger one that there is.
func TestAValueEndsTheRefusalBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: 10 * time.Second, StaleIfError: time.Hour, NegativeTTL: time.Hour})
		key := cache.NewKey("t")
		do := func(wait time.Duration, err error, want cache.Result) {
			t.Helper()
			_, result, failed := c.Do(t.Context(), key, func(context.Context) (string, time.Time, error) {
				time.Sleep(wait)
				return "v", time.Time{}, err
			})
			if result != want || failed != nil {
				t.Errorf("%v, %v, want %v", result, failed, want)
			}
		}
		do(0, nil, cache.Miss)
		time.Sleep(11 * time.Second)
		do(4*time.Second, cache.ErrNotFound, cache.Stale)
		time.Sleep(2 * time.Second)
		do(4*time.Second, nil, cache.Stale) // and a probe
		time.Sleep(2 * time.Second)
		if !c.Refused(key) {
			t.Error("the older load has not been heard")
		}
		time.Sleep(3 * time.Second)
		do(0, errors.New("not asked"), cache.Hit)
		time.Sleep(10 * time.Second)
		do(0, nil, cache.Miss)
	})
}
