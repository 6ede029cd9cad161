package cache

import (
	"sync/atomic"
)

// front is a table of entries that were found in the store lately. A hit that ends
// here takes no lock and writes to nothing that other hits read, as asking ttlcache
// would: it moves what it finds to the head of a list, under a lock.
//
// It decides nothing. What the store lets go of is marked as gone, and a marked entry is
// not found here, whoever put it back meanwhile. That a hit has been here reaches the store
// when it looks for something to evict.
type front[V any] struct{ places []atomic.Pointer[entry[V]] }

const (
	// ways is in how many places an entry can be; two share a cache line.
	ways = 2
	// maxFront bounds the table, which has twice as many places as there may be entries:
	// 16 MiB.
	maxFront = 1 << 21
)

func newFront[V any](maxEntries int) front[V] {
	n := ways
	for n < maxFront && n/2 < maxEntries {
		n *= 2
	}
	return front[V]{make([]atomic.Pointer[entry[V]], n)}
}

// of returns the places of key.
func (f *front[V]) of(key *Key) []atomic.Pointer[entry[V]] {
	folded := storeKey(key)
	i := int(folded^folded>>32) & (len(f.places) - ways) //nolint:gosec // some of its bits
	return f.places[i : i+ways]
}

// get returns the entry of key, or nil.
func (f *front[V]) get(key *Key) *entry[V] {
	places := f.of(key)
	for i := range places {
		if e := places[i].Load(); e != nil && e.key == *key && !e.gone() {
			return e
		}
	}
	return nil
}

// put puts e into one of its places, a free one if there is one.
func (f *front[V]) put(e *entry[V]) {
	places := f.of(&e.key)
	place := &places[int(e.key[20])%ways]
	for i := range places {
		if held := places[i].Load(); held == nil || held.gone() {
			place = &places[i]
		}
	}
	place.Store(e)
	if e.gone() { // after it was found, and drop may have come too early
		place.CompareAndSwap(e, nil)
	}
}

// drop lets go of the entry with this lease, which is marked as gone.
func (f *front[V]) drop(l *lease) {
	places := f.of(&l.key)
	for i := range places {
		if e := places[i].Load(); e != nil && &e.lease == l {
			places[i].CompareAndSwap(e, nil)
		}
	}
}
