package cache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// twin returns a key that the stores cannot tell from others of the same pair: each of its
// words differs, and all of them together do not.
func twin(pair, which uint64) (key cache.Key) {
	base := cache.NewKey(fmt.Sprint("pair", pair))
	copy(key[:], base[:])
	for _, at := range []int{8, 24} {
		binary.LittleEndian.PutUint64(key[at:], binary.LittleEndian.Uint64(key[at:])^which)
	}
	return key
}

// TestWhatTheCacheHoldsIsWhatAMapWould: random calls, with keys that meet in the stores and
// holders that have more than they may.
func TestWhatTheCacheHoldsIsWhatAMapWould(t *testing.T) {
	steps := 20_000
	if testing.Short() {
		steps = 2000
	}
	type known struct {
		value *held
		until time.Time
		tag   cache.Tag
	}
	for _, most := range []int{3, 20, 2000} {
		t.Run(fmt.Sprint(most, " entries"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(uint64(most), 1))
				c := newHeld(t, cache.Policy{TTL: time.Minute, MaxEntries: most, MaxPerSubject: 1 + most/4, NegativeTTL: time.Second})
				holders := make([]cache.Tag, 6)
				for i := range holders {
					holders[i] = tag("holder", i)
				}
				last := map[cache.Key]known{} // what was loaded last; it may have been evicted
				calls := cache.Stats{}
				for step := range steps {
					key := twin(random.Uint64N(uint64(max(4, most))), random.Uint64N(3))
					want, ok := last[key]
					own := tag(key)
					switch random.IntN(12) {
					case 0:
						time.Sleep(time.Duration(random.Int64N(int64(3 * time.Second))))
					case 1:
						time.Sleep(time.Until(want.until)) // its very end
					case 2:
						if random.IntN(8) == 0 {
							c.ForgetAll()
							clear(last)
						} else {
							c.Forget(own)
							delete(last, key)
						}
					case 3, 4:
						v, found := c.Get(key)
						if found {
							calls.Hits++
						}
						if found && (!ok || v != want.value || !time.Now().Before(want.until)) {
							t.Fatalf("found %p for %v, want %p", v, key[:4], want.value)
						}
					default:
						life := time.Duration(1 + random.Int64N(int64(2*time.Minute)))
						value := &held{holder: holders[random.IntN(len(holders))]}
						refused := random.IntN(5) == 0
						v, result, err := c.Do(t.Context(), key, func(context.Context) (*held, time.Time, error) {
							if refused {
								return nil, time.Time{}, cache.ErrNotFound
							}
							return value, time.Now().Add(life), nil
						}, own)
						switch result {
						case cache.Hit:
							calls.Hits++
							if !ok || v != want.value || !time.Now().Before(want.until) {
								t.Fatalf("a hit is %p, want %p", v, want.value)
							}
						case cache.Negative:
							calls.NegativeHits++
							if !errors.Is(err, cache.ErrNotFound) {
								t.Fatal(err)
							}
						default:
							calls.Misses++
							delete(last, key)
							if !refused {
								last[key] = known{value, time.Now().Add(min(life, time.Minute)), own}
							}
						}
					}
					if step%most != 0 {
						continue
					}
					if err := c.Consistent(); err != nil {
						t.Fatalf("after step %d: %v", step, err)
					}
				}
				s := c.Stats()
				if s.Hits != calls.Hits || s.Misses != calls.Misses || s.NegativeHits != calls.NegativeHits || s.Entries > most {
					t.Errorf("%+v, want %+v", s, calls)
				}
				c.ForgetAll()
				time.Sleep(time.Hour)
				put(t, c, "last", holders[0], time.Second)
				c.Tidy()
				for i, holder := range holders {
					if n := c.HeldBy(holder); n != map[bool]int{true: 1}[i == 0] {
						t.Errorf("holder %d has %d", i, n)
					}
				}
				if n := c.Stats().Entries; n != 1 {
					t.Errorf("%d entries", n)
				}
			})
		})
	}
}

// TestAnEntryThatExpiresWhileItIsReplaced: what was expired is cleared away, and in the next
// instant, in which the old entry expires, it is looked for.
func TestAnEntryThatExpiresWhileItIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newHeld(t, cache.Policy{TTL: time.Minute})
		key, holder := cache.NewKey("k"), tag("holder")
		put(t, c, "k", holder, time.Second)
		newer := &held{holder: holder}
		c.PutLate(key, newer, time.Minute, 2*time.Second, holder)
		if err := c.Consistent(); err != nil || c.Stats().Entries != 1 || c.HeldBy(holder) != 1 {
			t.Errorf("%v, %+v, %d of the holder", err, c.Stats(), c.HeldBy(holder))
		}
		for range 2 {
			if v, ok := c.Get(key); !ok || v != newer {
				t.Error("what is new was cleared away with what was expired")
			}
			c.Tidy()
		}
		c.Refuse(key)
		if _, ok := c.Get(key); ok {
			t.Error("found after it was refused")
		}
	})
}
