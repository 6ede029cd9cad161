package cache_test

import (
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// TestAHitAllocatesNothing: whichever way it is asked for, with tags of the caller's own.
func TestAHitAllocatesNothing(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Hour, RefreshAfter: time.Minute, StaleIfError: time.Hour, NegativeTTL: time.Hour})
	key := cache.NewKey("k")
	if _, result, err := c.Do(t.Context(), key, loadValue); result != cache.Miss || err != nil {
		t.Fatal(result, err)
	}
	for name, ask := range map[string]func() bool{
		"Get": func() bool { _, ok := c.Get(key); return ok },
		"Do": func() bool {
			_, result, _ := c.Do(t.Context(), key, loadValue, cache.Tag{1}, cache.Tag{2})
			return result == cache.Hit
		},
		"Recheck": func() bool {
			_, result, _ := c.Recheck(t.Context(), key, loadValue, cache.Tag{1}, cache.Tag{2})
			return result == cache.Hit
		},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !ask() {
				t.Error("no hit")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
