package cache

import "time"

// slots bounds the loads in flight. A load holds its slot until it returns, even if
// nobody waits for it any more.
type slots struct {
	calls, rechecks chan struct{}
	queue           chan struct{} // a place for each new call that waits for a slot
}

// queued is how many new calls may wait for each slot: after a start with an empty
// memory there are more of them at once than slots, and a moment later they are done.
const queued = 8

func newSlots(most int) slots {
	return slots{
		calls: make(chan struct{}, most), rechecks: make(chan struct{}, max(1, most/4)),
		queue: make(chan struct{}, min(most, 1<<20)*queued),
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

// take returns the slot, to be received from once, or nil when there is none. A call
// waits for one for as long as it has patience, a recheck until it would time out; loads in
// the background do not wait. What was in memory already may take the place of a recheck,
// so that a flood of junk does not keep sessions from being verified.
func (s slots) take(p purpose, patience, timeout time.Duration) chan struct{} {
	calls, rechecks, wait := s.calls, s.rechecks, patience
	switch p {
	case recheck:
		calls, wait = nil, timeout
	case newcomer:
		rechecks = nil
	case renewal, background:
	}
	select {
	case calls <- struct{}{}:
		return s.calls
	default:
	}
	switch p {
	case background:
		return nil
	case newcomer:
		select {
		case s.queue <- struct{}{}:
			defer func() { <-s.queue }()
		default:
			return nil
		}
	case renewal, recheck:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case calls <- struct{}{}:
		return s.calls
	case rechecks <- struct{}{}:
		return s.rechecks
	case <-timer.C:
		return nil
	}
}
