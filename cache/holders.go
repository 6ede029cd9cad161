package cache

import (
	"container/heap"
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

// lease is an entry's part in what its holder holds. ttlcache does not tell which
// entries it has cleared away, so each shard keeps those of its own by their ends.
type lease struct {
	until time.Duration // since the start of the space
	place int32
	index int32 // in leases, and one more; 0 when it does not count
}

// maxPlaces is 8 MB of them.
const maxPlaces = 1 << 21

// place returns the holder's place. The places are only made once there is a holder.
func (h *holders) place(holder Tag) int32 {
	places := h.places.Load()
	if places == nil {
		n := 1024
		for n < maxPlaces && n/2 < h.entries {
			n *= 2
		}
		fresh := make([]atomic.Int32, n)
		h.places.CompareAndSwap(nil, &fresh)
		places = h.places.Load()
	}
	digest := binary.LittleEndian.Uint32(holder[:]) ^ binary.LittleEndian.Uint32(holder[8:])
	return int32(digest & uint32(len(*places)-1)) //nolint:gosec // below maxPlaces
}

// add counts one more entry, unless there are too many.
func (h *holders) add(place int32) bool {
	count := &(*h.places.Load())[place]
	if count.Add(1) <= int32(min(h.most, 1<<30)) { //nolint:gosec // bounded here
		return true
	}
	count.Add(-1)
	return false
}

// drop ends a lease, once.
func (h *holders) drop(ends *leases, l *lease) {
	if l.index == 0 {
		return
	}
	heap.Remove(ends, int(l.index)-1)
	(*h.places.Load())[l.place].Add(-1)
}

// mayTidy is true once a second, for one caller.
func (h *holders) mayTidy(now time.Duration) bool {
	due := h.tidy.Load()
	return now >= due && h.tidy.ns.CompareAndSwap(int64(due), int64(now+time.Second))
}

// leases is a heap: the one that ends first comes first.
type leases []*lease

func (l *leases) Len() int           { return len(*l) }
func (l *leases) Less(i, j int) bool { return (*l)[i].until < (*l)[j].until }

func (l *leases) Swap(i, j int) {
	s := *l
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = int32(i+1), int32(j+1) //nolint:gosec // a shard is small
}

func (l *leases) Push(x any) {
	added, _ := x.(*lease)
	*l = append(*l, added)
	added.index = int32(len(*l)) //nolint:gosec // a shard is small
}

func (l *leases) Pop() any {
	s := *l
	last := s[len(s)-1]
	s[len(s)-1] = nil
	*l = s[:len(s)-1]
	last.index = 0
	return last
}
