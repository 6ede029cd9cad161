package cache_test

import (
	"context"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func keyOf(i int) cache.Key {
	return cache.NewKey(string(binary.BigEndian.AppendUint64(nil, uint64(i))))
}

// TestAHotEntryIsNotEvicted: its hits do not reach the store, and yet it is not the oldest.
func TestAHotEntryIsNotEvicted(t *testing.T) {
	const most = 1000
	c := newCache(t, cache.Policy{TTL: time.Hour, MaxEntries: most})
	hot := make([]cache.Key, 20)
	for i := range hot {
		hot[i] = keyOf(-1 - i)
		_, _, _ = c.Do(t.Context(), hot[i], loadValue)
	}
	for i := range 20 * most {
		_, _, _ = c.Do(t.Context(), keyOf(i), loadValue)
		if i%(most/10) != 0 {
			continue
		}
		for _, key := range hot {
			if _, ok := c.Get(key); !ok {
				t.Fatalf("evicted by entry %d", i)
			}
		}
	}
	if s := c.Stats(); s.Entries != most {
		t.Errorf("%+v", s)
	}
	evicted := 0
	for range 2 { // nobody asks for them any more
		for i := range most {
			_, _, _ = c.Do(t.Context(), keyOf(1<<32+evicted*most+i), loadValue)
		}
		evicted++
	}
	for _, key := range hot {
		if _, ok := c.Get(key); ok {
			t.Error("not evicted when it is hot no more")
		}
	}
}

// TestWhatIsHeldNoMoreIsFoundNowhere: values are replaced all the time, and dropped now and
// then, while others look for them.
func TestWhatIsHeldNoMoreIsFoundNowhere(t *testing.T) {
	c, err := cache.New[int64](cache.Policy{TTL: 10 * time.Millisecond, RefreshAfter: time.Nanosecond, NegativeTTL: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	const loads = 3000
	key := cache.NewKey("k")
	var began, landed atomic.Int64 // loads; landed is the last that is known to have come to something
	load := func(context.Context) (int64, time.Time, error) {
		v := began.Add(1)
		landed.Store(v - 1) // one at a time
		if v%7 == 0 {
			return 0, time.Time{}, cache.ErrNotFound
		}
		return v, time.Time{}, nil
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for began.Load() < loads {
				least := landed.Load()
				v, _, err := c.Do(context.Background(), key, load)
				if err == nil && v < least {
					t.Errorf("found %d after %d", v, least)
					return
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
}

// TestAHitThatIsOvertaken: between finding an entry and remembering where it was, it was dropped.
func TestAHitThatIsOvertaken(t *testing.T) {
	for _, checked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c, err := cache.New[*[1 << 10]byte](cache.Policy{TTL: time.Hour, RefreshAfter: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			key := cache.NewKey("k")
			old := func() weak.Pointer[[1 << 10]byte] {
				v, _, _ := c.Do(t.Context(), key, loadNew)
				return weak.Make(v)
			}()
			time.Sleep(time.Minute)
			c.FindLate(key, func() { // a refresh finds that there is none
				_, _, _ = c.Do(t.Context(), key, func(context.Context) (*[1 << 10]byte, time.Time, error) {
					return nil, time.Time{}, cache.ErrNotFound
				})
				synctest.Wait()
			}, checked)
			if _, result, _ := c.Do(t.Context(), key, loadNew); result != cache.Miss {
				t.Errorf("checked %t: what was dropped is found: %v", checked, result)
			}
			runtime.GC()
			if checked && old.Value() != nil {
				t.Error("what was dropped is kept")
			}
			runtime.KeepAlive(c)
		})
	}
}

// TestNothingIsKeptThatIsHeldNoMore: what was found lately is not kept alive by that.
func TestNothingIsKeptThatIsHeldNoMore(t *testing.T) {
	for name, end := range map[string]func(c *cache.Cache[*[1 << 10]byte], key cache.Key){
		"expired": func(c *cache.Cache[*[1 << 10]byte], _ cache.Key) {
			time.Sleep(2 * time.Minute)
			_, _, _ = c.Do(context.Background(), keyOf(1), loadNew)
		},
		"evicted": func(c *cache.Cache[*[1 << 10]byte], _ cache.Key) {
			for i := range 8 {
				_, _, _ = c.Do(context.Background(), keyOf(i), loadNew)
			}
		},
		"replaced": func(c *cache.Cache[*[1 << 10]byte], key cache.Key) {
			c.Forget(cache.Tag{1})
			_, _, _ = c.Do(context.Background(), key, loadNew, cache.Tag{1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := cache.New[*[1 << 10]byte](cache.Policy{TTL: time.Minute, MaxEntries: 2})
				if err != nil {
					t.Fatal(err)
				}
				key := cache.NewKey("k")
				held := func() weak.Pointer[[1 << 10]byte] {
					_, _, _ = c.Do(t.Context(), key, loadNew, cache.Tag{1})
					v, ok := c.Get(key)
					if !ok {
						t.Error("not held")
					}
					return weak.Make(v)
				}()
				end(c, key)
				synctest.Wait()
				for range 3 {
					runtime.GC()
				}
				if held.Value() != nil {
					t.Error("it is in memory still")
				}
				runtime.KeepAlive(c)
			})
		})
	}
}

// TestTwoThatMeetHaveAPlaceEach: and the third takes one of theirs; what is dropped leaves the
// other where it is.
func TestTwoThatMeetHaveAPlaceEach(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Hour, MaxEntries: 1 << 20})
	keys := [3]cache.Key{}
	for i := range keys { // in shards of their own, with one place in the front
		base := cache.NewKey("k")
		binary.LittleEndian.PutUint64(base[0:], binary.LittleEndian.Uint64(base[0:])^uint64(i))
		binary.LittleEndian.PutUint64(base[8:], binary.LittleEndian.Uint64(base[8:])^uint64(i))
		keys[i] = base
	}
	held := func(want int) {
		t.Helper()
		n := 0
		for _, key := range keys {
			if c.FrontHolds(key) {
				n++
			}
		}
		if n != want {
			t.Errorf("%d are in the front, want %d", n, want)
		}
	}
	for i, want := range []int{1, 2, 2} {
		_, _, _ = c.Do(t.Context(), keys[i], loadValue)
		_, _ = c.Get(keys[i])
		held(want)
	}
	for _, key := range keys {
		if !c.FrontHolds(key) {
			continue
		}
		c.Refuse(key)
		held(1)
		break
	}
	if _, _, err := c.Do(t.Context(), cache.NewKey("another"), loadValue); err != nil {
		t.Error(err)
	}
	held(1)
}

func loadNew(context.Context) (*[1 << 10]byte, time.Time, error) {
	return new([1 << 10]byte), time.Time{}, nil
}
