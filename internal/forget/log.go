// Package forget remembers what was forgotten, and when, without looking at a
// single answer: a Forget marks a tag with the time by a clock that only Forgets
// move, an answer knows that clock's time when its load began, and whoever finds
// the answer compares.
package forget

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Tag is what an answer can be forgotten by: a digest of a name. It should be keyed
// with a secret of the process: who can compute tags can make two of them meet in
// one place of the filter.
type Tag [16]byte

// Format implements [fmt.Formatter] and never prints the tag.
func (Tag) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Tag[redacted]")) }

// generations is in how many parts the marks are dropped: one of them at a time,
// when it is no longer needed or the bound is reached.
const generations = 8

// Log holds the marks. It is safe for concurrent use and has nothing to close.
//
// Marks are exact for as long as New's keep, and while they are at most max: a
// stranger's mark never meets a tag. Where older ones have been dropped, answers
// from before fall back to the filter, in which tags share places: then a stranger's
// mark may be taken for one's own, but no mark is ever missed.
type Log struct {
	// clock counts the marks. Whoever reads a time from it sees every mark up to it:
	// it is moved last.
	clock atomic.Uint64
	all   atomic.Uint64 // when everything was forgotten last
	// dropped is the time of the newest mark that is in the filter only.
	dropped atomic.Uint64
	filter  atomic.Pointer[filter]
	parts   atomic.Pointer[[]*part] // oldest first; the slice is never modified

	mu   sync.Mutex // held by Mark
	keep time.Duration
	max  int
}

// New returns an empty log that keeps each mark for keep, which is how long an
// answer may be served after its load began, and at most this many of them.
func New(keep time.Duration, most int) *Log {
	return &Log{keep: keep, max: most}
}

// Clock returns the time by the clock of marks: how many there were.
func (l *Log) Clock() uint64 { return l.clock.Load() }

// MarkAll makes every answer unusable whose load began before.
func (l *Log) MarkAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.clock.Load() + 1
	l.all.Store(at)
	l.clock.Store(at)
}

// Mark makes every answer unusable whose load began before and which has the tag.
func (l *Log) Mark(tag Tag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.clock.Load() + 1
	l.current(time.Now(), at).put(tag, at)
	f := l.filter.Load()
	if f == nil { // half a megabyte, only for those who ever forget
		f = new(filter)
		l.filter.Store(f)
	}
	f.place(tag).Store(at)
	l.clock.Store(at)
}

// current returns the part for a mark made now, after it has dropped what is no
// longer needed. l.mu is held.
func (l *Log) current(now time.Time, at uint64) *part {
	var parts []*part
	if held := l.parts.Load(); held != nil {
		parts = *held
	}
	if n := len(parts); n > 0 {
		// So long that when there is one part too many, all marks of the first are old enough.
		if last := parts[n-1]; now.Sub(last.since) < l.keep/(generations-1) && last.size < max(1, l.max/generations) {
			last.until = now
			return last
		}
	}
	first := 0
	for len(parts)-first > 0 && (now.Sub(parts[first].until) > l.keep || len(parts)-first >= generations) {
		first++
	}
	if first > 0 { // before they are gone, so that nobody finds neither
		l.dropped.Store(parts[first-1].newest.Load())
	}
	fresh := newPart(now)
	next := append(append(make([]*part, 0, generations), parts[first:]...), fresh)
	fresh.newest.Store(at)
	l.parts.Store(&next)
	return fresh
}

// Since reports whether any of tags, or everything, was forgotten after began.
func (l *Log) Since(began uint64, tags ...Tag) bool {
	if l.clock.Load() == began {
		return false // nearly always
	}
	if l.all.Load() > began {
		return true
	}
	f := l.filter.Load()
	if f == nil {
		return false
	}
	for i := range tags {
		if f.place(tags[i]).Load() > began && l.markedSince(began, tags[i]) {
			return true
		}
	}
	return false
}

// markedSince is Since for a tag whose place in the filter was marked after began.
func (l *Log) markedSince(began uint64, tag Tag) bool {
	at := l.newest(began, tag)
	// In this order: a part that was not there any more had been counted as dropped.
	return at > began || l.dropped.Load() > began
}

// newest is when tag was marked last, as far as that was after began and is known;
// 0 otherwise.
func (l *Log) newest(began uint64, tag Tag) uint64 {
	held := l.parts.Load()
	if held == nil {
		return 0
	}
	for _, p := range slices.Backward(*held) {
		if p.newest.Load() <= began {
			return 0
		}
		if at := p.get(tag); at != 0 {
			return at
		}
	}
	return 0
}

// Latest returns a time after which none of tags was forgotten. It changes when one
// of them is, and rarely otherwise.
func (l *Log) Latest(tags ...Tag) uint64 {
	latest := l.all.Load()
	f := l.filter.Load()
	if f == nil {
		return latest
	}
	for i := range tags {
		marked := f.place(tags[i]).Load()
		if marked <= latest {
			continue
		}
		at := l.newest(latest, tags[i])
		if at == 0 { // if it was marked, then that mark has been dropped
			at = min(marked, l.dropped.Load())
		}
		latest = max(latest, at)
	}
	return latest
}
