package cache

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

const (
	// entriesPerShard keeps the clearing away of one shard's expired entries, for
	// which ttlcache holds the shard's lock throughout, well below 5 ms.
	entriesPerShard = 512
	maxShards       = 4096
)

// space is a bounded map of entries that expire: a ttlcache for each shard, and
// one bound over all. Nothing runs in the background: whoever puts an entry also
// clears away what has expired, in its own shard and in one other.
type space[T any] struct {
	shards []spaceShard[T]
	max    int64
	size   atomic.Int64  // entries in all shards
	cursor atomic.Uint32 // the shard to tidy next
}

type spaceShard[T any] struct {
	mu    sync.Mutex // held by writers, so that size stays exact
	store *ttlcache.Cache[Key, T]
}

// shardsFor returns a power of two.
func shardsFor(maxEntries int) int {
	n := 1
	for n < maxShards && n*entriesPerShard < maxEntries {
		n *= 2
	}
	return n
}

func newSpace[T any](maxEntries int) *space[T] {
	s := &space[T]{shards: make([]spaceShard[T], shardsFor(maxEntries)), max: int64(maxEntries)}
	for i := range s.shards {
		// Without the option, every hit would extend the entry's life.
		s.shards[i].store = ttlcache.New(ttlcache.WithDisableTouchOnHit[Key, T]())
	}
	return s
}

func (s *space[T]) get(key Key) (T, bool) {
	item := s.shards[shardIndex(key, len(s.shards))].store.Get(key)
	if item == nil {
		var zero T
		return zero, false
	}
	return item.Value(), true
}

// put stores an entry for less than ttl, and makes room for it.
func (s *space[T]) put(key Key, value T, ttl time.Duration) {
	ttl-- // ttlcache serves an entry at the very instant of its expiry
	if ttl <= 0 {
		return // to ttlcache, 0 and less mean other things than "expired"
	}
	s.shards[shardIndex(key, len(s.shards))].write(&s.size, func(store *ttlcache.Cache[Key, T]) {
		store.Set(key, value, ttl)
	})
	// A whole round always makes room: some shard holds another entry.
	for range s.shards {
		next := &s.shards[int(s.cursor.Add(1))%len(s.shards)]
		next.write(&s.size, func(store *ttlcache.Cache[Key, T]) {
			if s.size.Load() > s.max {
				evictOldest(store, key)
			}
		})
		if s.size.Load() <= s.max {
			return
		}
	}
}

func (s *space[T]) delete(key Key) {
	s.shards[shardIndex(key, len(s.shards))].write(&s.size, func(store *ttlcache.Cache[Key, T]) { store.Delete(key) })
}

// write clears away what has expired in the shard and then calls change.
func (s *spaceShard[T]) write(size *atomic.Int64, change func(*ttlcache.Cache[Key, T])) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := held(s.store)
	s.store.DeleteExpired()
	size.Add(held(s.store) - before)
	before = held(s.store)
	change(s.store)
	size.Add(held(s.store) - before)
}

// held counts expired entries too, which Len does not.
func held[T any](store *ttlcache.Cache[Key, T]) int64 {
	m := store.Metrics()
	return int64(m.Insertions - m.Evictions) //nolint:gosec // a difference of counts, bounded by memory
}

// evictOldest removes the least recently used entry other than keep.
func evictOldest[T any](store *ttlcache.Cache[Key, T], keep Key) {
	store.RangeBackwards(func(item *ttlcache.Item[Key, T]) bool {
		if item.Key() == keep {
			return true
		}
		store.Delete(item.Key())
		return false
	})
}

func (s *space[T]) len() int {
	if s == nil {
		return 0
	}
	return int(s.size.Load())
}

func shardIndex(key Key, shards int) int {
	return int(binary.LittleEndian.Uint32(key[:])) & (shards - 1)
}
