// Package streams ends open streams with the sessions that they were opened for: when
// those expire, and with what is found out when they are verified again.
package streams

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/grpc-sessionauth/sessionauth/internal/forget"
)

// Tag is what a session can be forgotten by. The zero tag is that of every stream.
type Tag = forget.Tag

const (
	// spread is over how long at most the streams spread the verifications that a Forget
	// makes necessary, or the owner of the sessions would be asked for all at once.
	spread = time.Second
	// spreadEach is what each stream adds to that.
	spreadEach = time.Millisecond
	// spreadBeyond is how many streams verify at once before any is delayed.
	spreadBeyond = 8
	// maxRechecks bounds the verifications that the streams of one authenticator have
	// under way. The others wait for their turn.
	maxRechecks = 64
)

// Set are the open streams of one authenticator, to be found by what their
// sessions can be forgotten by. The zero value is ready, and a nil one holds no stream and
// bounds nothing. Its lock is taken before that of a watch.
type Set struct {
	mu      sync.Mutex
	byTag   map[Tag]*link // the first of each list
	forgets uint64        // counts Wake and WakeAll

	turns turns
}

// link is a stream's place in the list of one tag. A map in a map would cost three times
// the memory.
type link struct {
	watch      *Watch
	tag        Tag
	prev, next *link
}

// add makes w, which is new, findable by these tags.
func (s *Set) add(w *Watch, tags ...Tag) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(w, tags)
}

// retag replaces the tags that w has beyond the first of them. It reports whether
// anything was forgotten since the given count of forgets: perhaps by the new tags, by
// which w could not be found.
func (s *Set) retag(w *Watch, first int, tags []Tag, since uint64) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(w.links) == 0 {
		return false // closed meanwhile: it is not to be found again
	}
	s.set(w, append(w.tags()[:first], tags...))
	return s.forgets != since
}

// remove is called when w is over.
func (s *Set) remove(w *Watch) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(w, nil)
}

// set replaces the tags of w. s.mu is held.
func (s *Set) set(w *Watch, tags []Tag) {
	for i := range w.links {
		l := &w.links[i]
		if l.next != nil {
			l.next.prev = l.prev
		}
		switch {
		case l.prev != nil:
			l.prev.next = l.next
		case l.next != nil:
			s.byTag[l.tag] = l.next
		default:
			delete(s.byTag, l.tag)
		}
	}
	w.links = nil
	if len(tags) == 0 {
		return
	}
	if s.byTag == nil {
		s.byTag = map[Tag]*link{}
	}
	w.links = make([]link, len(tags))
	for i, t := range tags {
		l := &w.links[i]
		l.watch, l.tag, l.next = w, t, s.byTag[t]
		if l.next != nil {
			l.next.prev = l
		}
		s.byTag[t] = l
	}
}

// forgotten counts what the streams were woken by.
func (s *Set) forgotten() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgets
}

// Wake has the streams with this tag verified: a handful at once, more of them spread over
// a while in proportion to their number, at most a second.
func (s *Set) Wake(t Tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgets++
	n := 0
	for l := s.byTag[t]; l != nil; l = l.next {
		n++
	}
	over := min(spread, time.Duration(n)*spreadEach)
	i := 0
	for l := s.byTag[t]; l != nil; l = l.next {
		if i++; i <= spreadBeyond {
			l.watch.Wake(0)
			continue
		}
		l.watch.Wake(rand.N(over)) //nolint:gosec // to spread load, not to hide anything
	}
}

// WakeAll has all streams verified, spread over a second: other replicas may well do the
// same now.
func (s *Set) WakeAll() { s.WakeOver(spread) }

// WakeOver is WakeAll, spread over another time.
func (s *Set) WakeOver(over time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgets++
	for l := s.byTag[Tag{}]; l != nil; l = l.next {
		l.watch.Wake(rand.N(over)) //nolint:gosec // to spread load, not to hide anything
	}
}

// turns bounds the verifications under way. Those that wait for their turn cost no
// goroutine.
type turns struct {
	mu      sync.Mutex
	running int
	waiting []*Watch // first come, first served
}

// take reports whether w may verify now. If not, its verification starts later, when
// others are done.
func (s *Set) take(w *Watch) bool {
	if s == nil {
		return true
	}
	t := &s.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running < maxRechecks {
		t.running++
		return true
	}
	t.waiting = append(t.waiting, w)
	return false
}

// done is called when a verification has ended.
func (s *Set) done() {
	if s == nil {
		return
	}
	t := &s.turns
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.waiting = nil
		t.running--
		return
	}
	next := t.waiting[0]
	t.waiting[0] = nil
	t.waiting = t.waiting[1:]
	go next.verify()
}
