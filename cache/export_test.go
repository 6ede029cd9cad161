package cache

import (
	"errors"
	"fmt"
	"time"
)

// SetWallClock sets the wall clock ahead of the monotonic one. A synctest bubble has
// only one clock, so nothing else tells them apart there.
func (c *Cache[V]) SetWallClock(ahead time.Duration) { c.ahead = ahead }

// HeldBy is how many values count as the holder's.
func (c *Cache[V]) HeldBy(holder Tag) int {
	h := &c.values.holders
	place, ok := h.add(holder)
	if !ok {
		return h.most
	}
	defer h.drop(place)
	return int(h.all()[place-1].Load()) - 1
}

// Loading is how many keys are known to be loading.
func (c *Cache[V]) Loading() (keys int) {
	for i := range c.shards {
		keys += len(c.shards[i].loading)
	}
	return keys
}

// FindLate finds the entry of key, lets drop run, and only then puts what was found into the
// front, as a hit may: with checks, or as if drop had come between them.
func (c *Cache[V]) FindLate(key Key, drop func(), checked bool) {
	e := c.entry(&key)
	drop()
	if checked {
		c.front.put(e)
		return
	}
	c.front.of(&key)[0].Store(e)
}

// Tidy clears away what has expired, in all shards.
func (c *Cache[V]) Tidy() {
	for i := range c.values.shards {
		c.values.write(&c.values.shards[i], func(*spaceShard[*entry[V]]) {})
	}
}

// Consistent reports what differs between the parts of the cache that say what it holds. Nothing
// may be loading.
func (c *Cache[V]) Consistent() error {
	s := c.values
	places, held := map[uint32]int32{}, 0
	for i := range s.shards {
		shard := &s.shards[i]
		if stored := shard.store.Len(); stored > len(shard.ends) {
			return fmt.Errorf("shard %d: %d are stored, %d have a lease", i, stored, len(shard.ends))
		}
		held += len(shard.ends)
		for at, l := range shard.ends {
			item := shard.store.Items()[storeKey(&l.key)]
			switch {
			case int(l.index) != at || l.gone():
				return fmt.Errorf("shard %d: lease %d says %d, gone %t", i, at, l.index, l.gone())
			case item == nil && l.until > c.now():
				return fmt.Errorf("shard %d: what is leased is not stored", i)
			case item != nil && item.Value().leased() != l:
				return fmt.Errorf("shard %d: another is stored than is leased", i)
			case l.state.Load()>>stateFlags > 0:
				places[l.state.Load()>>stateFlags]++
			}
		}
	}
	for place, n := range places {
		if counted := s.holders.all()[place-1].Load(); counted != n || int(n) > s.holders.most {
			return fmt.Errorf("place %d counts %d, holds %d", place, counted, n)
		}
	}
	if s.len() != held || held > int(s.max) {
		return fmt.Errorf("size %d, holds %d of %d", s.len(), held, s.max)
	}
	for i := range c.front.places {
		if e := c.front.places[i].Load(); e != nil && e.gone() {
			return errors.New("the front has what is gone")
		}
	}
	return nil
}

// PutLate puts a value as a load does, if this goroutine is held up for a while just before it
// looks for the entry that is there.
func (c *Cache[V]) PutLate(key Key, value V, ttl, late time.Duration, holder Tag) {
	e := &entry[V]{lease: lease{key: key}, value: value, expires: never}
	e.fresh, e.trusted = c.now()+late+ttl, never
	e.next.Store(never)
	e.seen.Store(c.forgets.Clock())
	c.values.write(c.values.shard(&key), func(shard *spaceShard[*entry[V]]) {
		time.Sleep(late)
		c.values.replace(shard, e, ttl, holder)
	})
}

// Refuse is what a load does that is refused.
func (c *Cache[V]) Refuse(key Key) { c.values.delete(key) }

// FrontPlaces is how many entries can be found without the store.
func (c *Cache[V]) FrontPlaces() int { return len(c.front.places) }

// FrontHolds reports whether the entry of key is found without the store.
func (c *Cache[V]) FrontHolds(key Key) bool { return c.front.get(&key) != nil }
