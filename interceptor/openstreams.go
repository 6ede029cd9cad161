package interceptor

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// tag is what a session can be forgotten by. The zero tag is that of every stream.
type tag = cache.Tag

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

// openStreams are the open streams of one authenticator, to be found by what their
// sessions can be forgotten by. The zero value is ready, and a nil one holds no stream and
// bounds nothing. Its lock is taken before that of a watch.
type openStreams struct {
	mu      sync.Mutex
	byTag   map[tag]*link // the first of each list
	forgets uint64        // counts wake and wakeAll

	turns turns
}

// link is a stream's place in the list of one tag. A map in a map would cost three times
// the memory.
type link struct {
	watch      *watch
	tag        tag
	prev, next *link
}

// add makes w findable by these tags, in addition to those that it has.
func (s *openStreams) add(w *watch, tags ...tag) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(w, append(w.tags(), tags...))
}

// retag replaces the tags that w has beyond the first of them. It reports whether
// anything was forgotten since the given count of forgets: perhaps by the new tags, by
// which w could not be found.
func (s *openStreams) retag(w *watch, first int, tags []tag, since uint64) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(w, append(w.tags()[:first], tags...))
	return s.forgets != since
}

// remove is called when w is over.
func (s *openStreams) remove(w *watch) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(w, nil)
}

// set replaces the tags of w. s.mu is held.
func (s *openStreams) set(w *watch, tags []tag) {
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
		s.byTag = map[tag]*link{}
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
func (s *openStreams) forgotten() uint64 {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forgets
}

// wake has the streams with this tag verified: a handful at once, more of them spread over
// a while in proportion to their number, at most a second.
func (s *openStreams) wake(t tag) {
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
			l.watch.wake(0)
			continue
		}
		l.watch.wake(rand.N(over)) //nolint:gosec // to spread load, not to hide anything
	}
}

// wakeAll has all streams verified, spread over a second: other replicas may well do the
// same now.
func (s *openStreams) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgets++
	for l := s.byTag[tag{}]; l != nil; l = l.next {
		l.watch.wake(rand.N(spread)) //nolint:gosec // to spread load, not to hide anything
	}
}

// turns bounds the verifications under way. Those that wait for their turn cost no
// goroutine.
type turns struct {
	mu      sync.Mutex
	running int
	waiting []*watch // first come, first served
}

// take reports whether w may verify now. If not, its verification starts later, when
// others are done.
func (s *openStreams) take(w *watch) bool {
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
func (s *openStreams) done() {
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
