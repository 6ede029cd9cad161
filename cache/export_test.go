package cache

import "time"

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
