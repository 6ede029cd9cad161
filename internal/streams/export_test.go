package streams

import "time"

// SetWallClock replaces the wall clock of streams, until the returned func is called. The
// monotonic one stays what it is.
func SetWallClock(clock func() time.Time) (restore func()) {
	wallClock.Store(&clock)
	return func() { wallClock.Store(nil) }
}

// MaxRechecks and SpreadBeyond are the bounds that tests look at.
const (
	MaxRechecks  = maxRechecks
	SpreadBeyond = spreadBeyond
	ClockTick    = clockTick
	Patience     = defaultPatience
)

// Retag is retag.
func (s *Set) Retag(w *Watch, tags ...Tag) bool { return s.retag(w, w.own, tags, s.forgotten()) }

// Held is what is held of streams: those that can be found, the tags they can be found by,
// and the verifications that are under way or wait.
func (s *Set) Held() (streams, tags, verifications int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := s.byTag[Tag{}]; l != nil; l = l.next {
		streams++
	}
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return streams, len(s.byTag), s.turns.running + len(s.turns.waiting)
}
