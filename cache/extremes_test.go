package cache_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// TestAHurryIsNoOutageHoweverLongThePatience: one call has little time left, which says
// nothing about the owner. The patience is near what a time.Duration holds.
func TestAHurryIsNoOutageHoweverLongThePatience(t *testing.T) {
	for _, patience := range []time.Duration{time.Hour, math.MaxInt64 / 2, math.MaxInt64} {
		away(t, cache.Policy{Patience: patience}, 2, func(t *testing.T, c *cache.Cache[string], o *sessions) {
			o.set(func() { o.hangs = true })
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if result, err := o.call(ctx, c, "0"); result != cache.Stale || err != nil {
				t.Errorf("the call in a hurry: %v, %v", result, err)
			}
			o.set(func() { o.hangs = false })
			after(t, 0, o, c, "1", cache.Miss, nil)
		})
	}
}

// TestHoldersDoNotMeetInACacheWithoutABound: as many places as there may be at most.
func TestHoldersDoNotMeetInACacheWithoutABound(t *testing.T) {
	c := newHeld(t, cache.Policy{TTL: time.Hour, MaxEntries: math.MaxInt, MaxPerSubject: 1})
	const holders = 2048
	for i := range holders {
		var holder cache.Tag
		digest := cache.NewKey("holder", fmt.Sprint(i))
		copy(holder[:], digest[:])
		put(t, c, fmt.Sprint(i), holder, time.Hour)
	}
	if got := c.Stats().Entries; got < holders-20 { // about one meets another
		t.Errorf("%d entries of %d holders", got, holders)
	}
}

// TestEveryBoundHasItsTable: two places for each entry there may be, up to a bound.
func TestEveryBoundHasItsTable(t *testing.T) {
	for most, want := range map[int]int{1: 2, 3: 8, 1000: 2048, 1 << 20: 1 << 21, 1<<20 + 1: 1 << 21, math.MaxInt/2 + 1: 1 << 21, math.MaxInt: 1 << 21} {
		if got := newCache(t, cache.Policy{TTL: time.Hour, MaxEntries: most}).FrontPlaces(); got != want {
			t.Errorf("%d entries: %d places, want %d", most, got, want)
		}
	}
}
