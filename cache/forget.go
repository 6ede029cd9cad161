package cache

import (
	"encoding/binary"
	"sync/atomic"
)

// slots is how many places there are to remember a Forget in. Two tags may share
// one: the worst of it is a load that need not have been.
const slots = 1 << 16

// slot is the place of a tag.
type slot uint16

func slotOf(tag Key) slot { return slot(binary.BigEndian.Uint16(tag[:])) }

// forgets remembers what was forgotten, and when, in bounded memory and without
// looking at a single entry: a Forget marks a slot with the time by a clock that
// only Forgets move, an entry knows that clock's time when its load began, and
// whoever finds the entry compares.
type forgets struct {
	clock atomic.Uint64
	all   atomic.Uint64 // when everything was forgotten last
	slots atomic.Pointer[[slots]atomic.Uint64]
}

// mark makes every answer unusable whose load began before and which has the tag.
func (f *forgets) mark(tag Key) {
	table := f.slots.Load()
	if table == nil { // half a megabyte, only for those who ever forget
		f.slots.CompareAndSwap(nil, new([slots]atomic.Uint64))
		table = f.slots.Load()
	}
	raise(&table[slotOf(tag)], f.clock.Add(1))
}

// markAll makes every answer unusable whose load began before.
func (f *forgets) markAll() { raise(&f.all, f.clock.Add(1)) }

func raise(mark *atomic.Uint64, to uint64) {
	for {
		now := mark.Load()
		if now >= to || mark.CompareAndSwap(now, to) {
			return
		}
	}
}

// since reports whether any of tags was forgotten after began.
func (f *forgets) since(began uint64, tags []slot) bool {
	if f.clock.Load() == began {
		return false // nearly always
	}
	if f.all.Load() > began {
		return true
	}
	table := f.slots.Load()
	if table == nil {
		return false
	}
	for _, tag := range tags {
		if table[tag].Load() > began {
			return true
		}
	}
	return false
}

// latest is the newest time at which any of tags was forgotten.
func (f *forgets) latest(tags []slot) uint64 {
	newest := f.all.Load()
	if table := f.slots.Load(); table != nil {
		for _, tag := range tags {
			newest = max(newest, table[tag].Load())
		}
	}
	return newest
}

// Tagged is implemented by values that can be forgotten by more than the tags that
// [Cache.Do] was called with: those that only the load could know.
type Tagged interface{ Tags() []Key }

// Forget makes the cache forget every answer with this tag. After it returns no
// call of [Cache.Do] or [Cache.Get] is answered by a load that began before it: a
// load in flight stores nothing, and those who wait for it get a new one. It takes
// the same short time whatever the cache holds, and a tag that was never seen is
// fine.
func (c *Cache[V]) Forget(tag Key) { c.forgets.mark(tag) }

// ForgetAll is [Cache.Forget] for every answer there is.
func (c *Cache[V]) ForgetAll() { c.forgets.markAll() }
