package cache

import "time"

// slots bounds the loads in flight. A load holds its slot until it returns, even if
// nobody waits for it any more.
type slots struct {
	calls, rechecks chan struct{}
	// queue holds the new calls that wait for a slot, and turn the one that is next:
	// the others must not stand before what has a stale value.
	queue, turn chan struct{}
}

// maxQueue is how many new calls may wait for each slot. All users come at once after a
// deploy, and a junk flood must not hold more than this.
const maxQueue = 40

func newSlots(most int) slots {
	return slots{
		calls: make(chan struct{}, most), rechecks: make(chan struct{}, max(1, most/4)),
		queue: make(chan struct{}, min(most, 1<<20)*maxQueue), turn: make(chan struct{}, 1),
	}
}

// purpose is what a load is for.
type purpose uint8

const (
	newcomer   purpose = iota // a call, and nothing is in memory
	renewal                   // a call that could be answered stale
	background                // nobody waits for it
	recheck                   // something open waits for it
)

// take returns the slot, to be received from once, or nil when there is none. Loads in the
// background do not wait for one; new calls do so in a queue. What was in memory already
// has a second chance, so that a flood of junk does not keep sessions from being verified.
func (s slots) take(p purpose, patience, timeout time.Duration) chan struct{} {
	if p != recheck {
		select {
		case s.calls <- struct{}{}:
			return s.calls
		default:
		}
	}
	switch p {
	case background:
		return nil
	case newcomer:
		return s.wait(timeout)
	case renewal, recheck:
	}
	calls, wait := s.calls, patience
	if p == recheck {
		calls, wait = nil, timeout
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case calls <- struct{}{}:
		return calls
	case s.rechecks <- struct{}{}:
		return s.rechecks
	case <-timer.C:
		return nil
	}
}

// wait is take for a new call, if there is room in the queue.
func (s slots) wait(timeout time.Duration) chan struct{} {
	select {
	case s.queue <- struct{}{}:
		defer func() { <-s.queue }()
	default:
		return nil
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-timer.C:
		return nil
	}
	select {
	case s.calls <- struct{}{}:
		return s.calls
	case <-timer.C:
		return nil
	}
}
