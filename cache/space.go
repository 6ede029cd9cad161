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
	// entriesPerShard keeps the clearing away of one shard's expired entries, which is
	// done in one go, short.
	entriesPerShard = 512
	maxShards       = 4096
)

// space is a bounded map of entries that expire: a ttlcache for each shard, and
// one bound over all. Nothing runs in the background: whoever puts an entry also
// clears away what has expired, in its own shard and in one other.
type space[T resident] struct {
	start   time.Time
	shards  []spaceShard[T]
	max     int64
	size    atomic.Int64  // entries in all shards
	cursor  atomic.Uint32 // the shard to tidy next
	holders holders
	dropped func(*lease) // is told of what is held no more; may be nil
}

// resident is what can be held: it has a lease.
type resident interface{ leased() *lease }

type spaceShard[T resident] struct {
	mu sync.Mutex // held by writers, so that size stays exact
	// store goes by a part of the key: its entries have the rest, and are told apart
	// by all of it.
	store *ttlcache.Cache[uint64, T]
	ends  leases // of all that is in the store
}

// shardsFor returns a power of two.
func shardsFor(maxEntries int) int {
	n := 1
	for n < maxShards && n*entriesPerShard < maxEntries {
		n *= 2
	}
	return n
}

func newSpace[T resident](p Policy, start time.Time) *space[T] {
	s := &space[T]{start: start, shards: make([]spaceShard[T], shardsFor(p.MaxEntries)), max: int64(p.MaxEntries)}
	s.holders.entries, s.holders.most = p.MaxEntries, p.MaxPerSubject
	for i := range s.shards {
		// Without the first option, every hit would extend the entry's life; without the second,
		// which sets no bound, every item would have a func of its own.
		s.shards[i].store = ttlcache.New(ttlcache.WithDisableTouchOnHit[uint64, T](), ttlcache.WithMaxCost(0, costless[T]))
	}
	return s
}

func costless[T resident](ttlcache.CostItem[uint64, T]) uint64 { return 0 }

// storeKey is what a shard's store knows an entry by.
func storeKey(key *Key) uint64 {
	word := func(i int) uint64 { return binary.LittleEndian.Uint64(key[i:]) }
	return word(0) ^ word(8) ^ word(16) ^ word(24)
}

func (s *space[T]) shard(key *Key) *spaceShard[T] { return &s.shards[shardIndex(key, len(s.shards))] }

func (s *space[T]) get(key Key) (value T, ok bool) {
	if item := s.shard(&key).store.Get(storeKey(&key)); item != nil {
		value = item.Value()
		l := value.leased()
		ok = l.key == key && !l.gone()
	}
	return value, ok
}

// put stores an entry for less than ttl, and makes room for it. If holder has as many
// as it may already, the entry is not stored, and neither is the one before.
func (s *space[T]) put(value T, ttl time.Duration, holder Tag) {
	ttl-- // ttlcache serves an entry at the very instant of its expiry
	key := value.leased().key
	if ttl <= 0 { // to ttlcache, 0 and less mean other things than "expired"
		s.delete(key)
		return
	}
	home := s.shard(&key)
	if !s.set(home, value, ttl, holder) {
		if !s.holders.mayTidy(time.Since(s.start)) {
			return
		}
		for i := range s.shards { // some of the holder's may have expired
			s.write(&s.shards[i], func(*spaceShard[T]) {})
		}
		if !s.set(home, value, ttl, holder) {
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
func (s *space[T]) set(home *spaceShard[T], value T, ttl time.Duration, holder Tag) (ok bool) {
	s.write(home, func(shard *spaceShard[T]) { ok = s.replace(shard, value, ttl, holder) })
	return ok
}

// replace is set within write. Whoever looks meanwhile finds the entry before or this one.
func (s *space[T]) replace(shard *spaceShard[T], value T, ttl time.Duration, holder Tag) bool {
	l := value.leased()
	at := storeKey(&l.key)
	if item := shard.store.Get(at); item != nil {
		before := item.Value().leased()
		s.end(shard, before)
		defer s.drop(before)
	} else { // or it has expired since write looked, and would outlive what is put in its place
		s.tidy(shard)
	}
	place, ok := s.holders.add(holder)
	if !ok {
		shard.store.Delete(at)
		return false
	}
	l.state.Store(place << stateFlags)
	l.until = sum(time.Since(s.start), ttl)
	heap.Push(&shard.ends, l)
	shard.store.Set(at, value, ttl)
	return true
}

func (s *space[T]) delete(key Key) {
	s.write(s.shard(&key), func(shard *spaceShard[T]) {
		if value, ok := s.get(key); ok {
			s.remove(shard, value.leased())
		}
	})
}

// write clears away what has expired in the shard and then calls change.
func (s *space[T]) write(shard *spaceShard[T], change func(*spaceShard[T])) {
	shard.mu.Lock()
	defer shard.mu.Unlock()
	before := len(shard.ends)
	s.tidy(shard)
	change(shard)
	s.size.Add(int64(len(shard.ends) - before))
}

// tidy removes what has expired: all that the store does not find any more, which lets go of
// it a little later.
func (s *space[T]) tidy(shard *spaceShard[T]) {
	if len(shard.ends) == 0 {
		return
	}
	for now := time.Since(s.start); len(shard.ends) > 0 && shard.ends[0].until <= now; {
		s.remove(shard, shard.ends[0])
	}
}

// remove removes the entry with this lease.
func (s *space[T]) remove(shard *spaceShard[T], l *lease) {
	s.end(shard, l)
	shard.store.Delete(storeKey(&l.key))
	s.drop(l)
}

// end ends a lease: its entry does not count any more.
func (s *space[T]) end(shard *spaceShard[T], l *lease) {
	heap.Remove(&shard.ends, int(l.index))
	s.holders.drop(l.state.Load() >> stateFlags)
}

// drop has the entry with this lease found nowhere, once the store does not have it.
func (s *space[T]) drop(l *lease) {
	l.state.Or(isGone)
	if s.dropped != nil {
		s.dropped(l)
	}
}

// evictOldest removes the least recently used entry other than keep. What was asked for
// without the store's knowledge it is told of first.
func (s *space[T]) evictOldest(shard *spaceShard[T], keep Key) {
	for again := len(shard.ends); ; again-- {
		var oldest *lease
		shard.store.RangeBackwards(func(item *ttlcache.Item[uint64, T]) bool {
			if l := item.Value().leased(); l.key != keep {
				oldest = l
			}
			return oldest == nil
		})
		switch {
		case oldest == nil:
			return
		case again <= 0 || oldest.state.And(^uint32(isUsed))&isUsed == 0:
			s.remove(shard, oldest)
			return
		}
		shard.store.Get(storeKey(&oldest.key))
	}
}

func (s *space[T]) len() int {
	if s == nil {
		return 0
	}
	return int(s.size.Load())
}

func shardIndex(key *Key, shards int) int {
	return int(binary.LittleEndian.Uint32(key[:])) & (shards - 1)
}
