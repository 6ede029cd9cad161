package redisfleet

import (
	"math/rand/v2"
	"sync"
	"time"
)

const (
	maxSlow  = 4 // round trips in a row
	minClose = 100 * time.Millisecond
	maxClose = 2 * time.Second
)

// breaker keeps calls from waiting for a Redis that does not answer, or not in time. One goroutine
// tries again, no call does.
type breaker struct {
	budget time.Duration
	try    func() (time.Duration, error) // reaches Redis, in a bounded time, and measures a round trip

	mu     sync.Mutex
	shut   bool
	closed bool // for good
	slow   int
	wait   time.Duration
	next   time.Time
	trying bool
	done   sync.WaitGroup
}

// passes reports whether Redis may be asked. If not, it sees to it that it is tried again.
func (b *breaker) passes() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return false
	case !b.shut:
		return true
	case !b.trying && !time.Now().Before(b.next):
		b.trying = true
		b.done.Go(b.again)
	}
	return false
}

// again tries whether Redis answers, and in time.
func (b *breaker) again() {
	took, err := b.try()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	if err == nil && took <= b.budget {
		b.shut, b.slow, b.wait = false, 0, 0
		return
	}
	b.postpone()
}

// postpone says when Redis is tried next. b.mu is held.
func (b *breaker) postpone() {
	b.wait = min(max(2*b.wait, minClose), maxClose)
	b.next = time.Now().Add(b.wait*3/4 + rand.N(b.wait/2)) //nolint:gosec // to spread load
}

// learn takes from a round trip whether the next should be made.
func (b *breaker) learn(took time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil && took <= b.budget:
		b.slow = 0
		return
	case err == nil:
		if b.slow++; b.slow < maxSlow {
			return
		}
	}
	if !b.shut {
		b.shut, b.wait = true, 0
		b.postpone()
	}
}

// state reports whether Redis is asked.
func (b *breaker) state() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.shut && !b.closed
}

// close ends it.
func (b *breaker) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.done.Wait()
}
