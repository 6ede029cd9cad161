package cache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// TestWhatWasHeardIsWorthNothingOnceSomethingIsLost: until something is heard again, a value is
// served for its lag.
func TestWhatWasHeardIsWorthNothingOnceSomethingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lag = time.Second
		c := newCache(t, cache.Policy{TTL: time.Hour})
		if err := c.Fence(lag); err != nil {
			t.Fatal(err)
		}
		key := cache.NewKey("k")
		found := func(after time.Duration, want bool) {
			t.Helper()
			time.Sleep(after)
			if _, ok := c.Get(key); ok != want {
				t.Errorf("found: %t, want %t", ok, want)
			}
		}
		_, _, _ = c.Do(t.Context(), key, loadValue)
		found(lag-1, true)
		found(1, false)
		c.Heard(time.Now().Add(time.Minute))
		found(0, true)
		found(time.Minute+lag-1, true)
		found(1, false)
		c.Heard(time.Now().Add(time.Minute))
		c.Lost()
		found(0, false)
		_, _, _ = c.Do(t.Context(), key, loadValue)
		found(0, true)
		found(lag, false)
		c.Heard(time.Now())
		found(0, true)
		c.Heard(time.Now().Add(-time.Hour)) // a late message
		found(0, true)
	})
}
