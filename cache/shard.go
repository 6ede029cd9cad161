package cache

import (
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// maxLoadsOfAKey bounds the loads of one key in flight, abandoned ones included.
	// One is the rule: more come of Forgets, and of loads that do not answer.
	maxLoadsOfAKey = 8
	// overdue is the age of a load from which another is started beside it, if
	// a stale value depends on it.
	overdue = 750 * time.Millisecond
)

// shard is what the calls for a part of the keys share.
type shard struct {
	flights singleflight.Group
	mu      sync.Mutex
	loading map[Key]*loads
}

// loads are the loads of one key in flight.
type loads struct {
	uses    int           // by flights and by the loads themselves
	running int           // abandoned ones included
	last    time.Duration // when the youngest began
	started uint64        // how many did

	// landing is held while an answer is applied, so that an older one never comes
	// after a younger one.
	landing sync.Mutex
	landed  uint64 // the youngest that found out, by started
}

// begin counts a load of key and returns its number; ok is false when there are
// too many. Each one that began needs an end and a release.
func (s *shard) begin(key Key, now time.Duration) (l *loads, number uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loading == nil {
		s.loading = make(map[Key]*loads)
	}
	l = s.loading[key]
	if l == nil {
		l = new(loads)
		s.loading[key] = l
	}
	if l.running >= maxLoadsOfAKey {
		return nil, 0, false
	}
	l.uses += 2
	l.running++
	l.started++
	l.last = now
	return l, l.started, true
}

// end is for the load that has returned.
func (s *shard) end(key Key, l *loads) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.running--
	s.drop(key, l)
}

// release is for the flight that has used the load's answer.
func (s *shard) release(key Key, l *loads) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(key, l)
}

func (s *shard) drop(key Key, l *loads) {
	if l.uses--; l.uses == 0 {
		delete(s.loading, key)
	}
}

// isLoading reports whether a load of key runs, and since when the youngest does.
func (s *shard) isLoading(key Key) (since time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.loading[key]
	if l == nil || l.running == 0 {
		return 0, false
	}
	return l.last, true
}

// apply calls change, unless a younger load has found out already: it has the last
// word. One that could not find out has none.
func (l *loads) apply(number uint64, v verdict, change func()) bool {
	l.landing.Lock()
	defer l.landing.Unlock()
	if number < l.landed {
		return false
	}
	if v != unavailable && v != unclear {
		l.landed = number
	}
	change()
	return true
}
