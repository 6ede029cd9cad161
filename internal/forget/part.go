package forget

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// filter holds for each of many places the newest mark of all tags that share it.
// Most lookups end there.
type filter [1 << 16]atomic.Uint64

func (f *filter) place(tag Tag) *atomic.Uint64 {
	// Other bytes than a map's hash would be fine, too: tags are digests.
	return &f[binary.LittleEndian.Uint16(tag[:])^binary.LittleEndian.Uint16(tag[8:])]
}

// part holds the marks of some time.
type part struct {
	stripes

	newest       atomic.Uint64
	since, until time.Time // of the first mark and of the last
	size         int       // like the two above, for Mark only
}

// stripes are maps with a lock each, so that lookups on many cores do not meet.
type stripes [16]struct {
	mu    sync.RWMutex
	marks map[Tag]uint64
}

func newPart(now time.Time) *part { return &part{since: now, until: now} }

func (p *part) put(tag Tag, at uint64) {
	p.newest.Store(at)
	s := &p.stripes[tag[15]&15]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks == nil {
		s.marks = make(map[Tag]uint64)
	}
	before := len(s.marks)
	s.marks[tag] = at
	p.size += len(s.marks) - before
}

func (p *part) get(tag Tag) uint64 {
	s := &p.stripes[tag[15]&15]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.marks[tag]
}
