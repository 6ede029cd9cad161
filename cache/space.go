package cache

import (
	"container/heap"
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
	start  time.Time
	shards []spaceShard[T]
	max    int64
	size   atomic.Int64  // entries in all shards
	cursor atomic.Uint32 // the shard to tidy next
	// holders and lease are set where entries count as somebody's.
	holders *holders
	lease   func(T) *lease
}

type spaceShard[T any] struct {
	mu    sync.Mutex // held by writers, so that size stays exact
	store *ttlcache.Cache[Key, T]
	ends  leases // of the entries that are somebody's
}

// shardsFor returns a power of two.
func shardsFor(maxEntries int) int {
	n := 1
	for n < maxShards && n*entriesPerShard < maxEntries {
		n *= 2
	}
	return n
}

func newSpace[T any](maxEntries int, start time.Time) *space[T] {
	s := &space[T]{start: start, shards: make([]spaceShard[T], shardsFor(maxEntries)), max: int64(maxEntries)}
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

// put stores an entry for less than ttl, and makes room for it. If holder has as many
// as it may already, the entry is not stored, and neither is the one before.
func (s *space[T]) put(key Key, value T, ttl time.Duration, holder Tag) {
	ttl--         // ttlcache serves an entry at the very instant of its expiry
	if ttl <= 0 { // to ttlcache, 0 and less mean other things than "expired"
		s.delete(key)
		return
	}
	home := &s.shards[shardIndex(key, len(s.shards))]
	if !s.set(home, key, value, ttl, holder) {
		if !s.holders.mayTidy(time.Since(s.start)) {
			return
		}
		for i := range s.shards { // some of the holder's may have expired
			s.write(&s.shards[i], func(*spaceShard[T]) {})
		}
		if !s.set(home, key, value, ttl, holder) {
			return
		}
	}
	// A whole round always makes room: some shard holds another entry.
	for range s.shards {
		next := &s.shards[int(s.cursor.Add(1))%len(s.shards)]
		s.write(next, func(shard *spaceShard[T]) {
			if s.size.Load() > s.max {
				s.evictOldest(shard, key)
			}
		})
		if s.size.Load() <= s.max {
			return
		}
	}
}

// set stores an entry in its shard, unless its holder has too many.
func (s *space[T]) set(home *spaceShard[T], key Key, value T, ttl time.Duration, holder Tag) (ok bool) {
	s.write(home, func(shard *spaceShard[T]) {
		s.end(shard, key)
		if holder != (Tag{}) {
			l := s.lease(value)
			if l.place = s.holders.place(holder); !s.holders.add(l.place) {
				shard.store.Delete(key)
				return
			}
			l.until = sum(time.Since(s.start), ttl)
			heap.Push(&shard.ends, l)
		}
		shard.store.Set(key, value, ttl)
		ok = true
	})
	return ok
}

func (s *space[T]) delete(key Key) {
	s.write(&s.shards[shardIndex(key, len(s.shards))], func(shard *spaceShard[T]) { s.remove(shard, key) })
}

// write clears away what has expired in the shard and then calls change.
func (s *space[T]) write(shard *spaceShard[T], change func(*spaceShard[T])) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	before := held(shard.store)
	shard.store.DeleteExpired()
	if len(shard.ends) > 0 {
		for now := time.Since(s.start); len(shard.ends) > 0 && shard.ends[0].until <= now; {
			s.holders.drop(&shard.ends, shard.ends[0])
		}
	}
	change(shard)
	s.size.Add(held(shard.store) - before)
}

// remove removes an entry.
func (s *space[T]) remove(shard *spaceShard[T], key Key) {
	s.end(shard, key)
	shard.store.Delete(key)
}

// end ends the lease of an entry that is removed or replaced.
func (s *space[T]) end(shard *spaceShard[T], key Key) {
	if len(shard.ends) == 0 {
		return
	}
	if item := shard.store.Get(key); item != nil {
		s.holders.drop(&shard.ends, s.lease(item.Value()))
	}
}

// held counts expired entries too, which Len does not.
func held[T any](store *ttlcache.Cache[Key, T]) int64 {
	m := store.Metrics()
	return int64(m.Insertions - m.Evictions) //nolint:gosec // a difference of counts, bounded by memory
}

// evictOldest removes the least recently used entry other than keep.
func (s *space[T]) evictOldest(shard *spaceShard[T], keep Key) {
	shard.store.RangeBackwards(func(item *ttlcache.Item[Key, T]) bool {
		if item.Key() == keep {
			return true
		}
		s.remove(shard, item.Key())
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
