package cache

import (
	"encoding/binary"
	"sync/atomic"
	"time"
)

// holders counts the entries of each holder. Two may share a place, as there are about
// twice as many places as entries: then one of them has a little less room. A holder's
// tag is keyed, so nobody can choose whose place to share.
type holders struct {
	entries, most int
	places        atomic.Pointer[[]atomic.Int32]
	tidy          atomicTime // when expired entries may be looked for again
}

// lease is what a space knows of an entry.
type lease struct {
	key   Key
	until time.Duration // since the start of the space
	index int32         // in leases
	// state is isGone, isUsed, and beside them the place of the holder and one more, 0 for
	// nobody's: in one word, as there are many.
	state atomic.Uint32
}

const (
	isGone     = 1 // for ever: the entry is held no more
	isUsed     = 2 // by hits that the store does not learn of
	stateFlags = 2 // how many of them there are
)

func (l *lease) leased() *lease { return l }

func (l *lease) gone() bool { return l.state.Load()&isGone != 0 }

// use says that the entry was asked for. It is written to once only, until it is read.
func (l *lease) use() {
	if l.state.Load()&isUsed == 0 {
		l.state.Or(isUsed)
	}
}

// maxPlaces is 8 MB of them.
const maxPlaces = 1 << 21

// all returns the places, which are only made once there is a holder.
func (h *holders) all() []atomic.Int32 {
	if places := h.places.Load(); places != nil {
		return *places
	}
	n := 1024
	for n < maxPlaces && n/2 < h.entries {
		n *= 2
	}
	fresh := make([]atomic.Int32, n)
	h.places.CompareAndSwap(nil, &fresh)
	return *h.places.Load()
}

// add counts one more entry of holder, unless it has too many, and returns the holder's
// place, for drop. Entries of nobody do not count.
func (h *holders) add(holder Tag) (place uint32, ok bool) {
	if holder == (Tag{}) {
		return 0, true
	}
	places := h.all()
	at := (binary.LittleEndian.Uint32(holder[:]) ^ binary.LittleEndian.Uint32(holder[8:])) & uint32(len(places)-1) //nolint:gosec // below maxPlaces
	if places[at].Add(1) > int32(min(h.most, 1<<30)) {                                                             //nolint:gosec // bounded here
		places[at].Add(-1)
		return 0, false
	}
	return at + 1, true
}

// drop takes an entry from the place that add returned.
func (h *holders) drop(place uint32) {
	if place > 0 {
		h.all()[place-1].Add(-1)
	}
}

// mayTidy is true once a second, for one caller.
func (h *holders) mayTidy(now time.Duration) bool {
	due := h.tidy.Load()
	return now >= due && h.tidy.ns.CompareAndSwap(int64(due), int64(now+time.Second))
}

// leases is a heap: the one that ends first comes first. ttlcache does not tell which
// entries it has cleared away, so this says which are to be.
type leases []*lease

func (l *leases) Len() int           { return len(*l) }
func (l *leases) Less(i, j int) bool { return (*l)[i].until < (*l)[j].until }

func (l *leases) Swap(i, j int) {
	s := *l
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = int32(i), int32(j) //nolint:gosec // a shard is small
}

func (l *leases) Push(x any) {
	added, _ := x.(*lease)
	added.index = int32(len(*l)) //nolint:gosec // a shard is small
	*l = append(*l, added)
}

func (l *leases) Pop() any {
	s := *l
	last := s[len(s)-1]
	s[len(s)-1] = nil
	*l = s[:len(s)-1]
	return last
}
