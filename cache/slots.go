package cache

import "time"

// slots bounds the loads in flight. A load holds its slot until it returns, even if
// nobody waits for it any more.
type slots struct {
	calls, rechecks chan struct{}
}

func newSlots(most int) slots {
	return slots{calls: make(chan struct{}, most), rechecks: make(chan struct{}, max(1, most/4))}
}

// purpose is what a load is for.
type purpose uint8

const (
	newcomer   purpose = iota // a call, and nothing is in memory
	renewal                   // a call that could be answered stale
	background                // nobody waits for it
	recheck                   // something open waits for it
)

// take returns the slot, to be received from once, or nil when there is none. New calls
// and background loads do not wait for one. What was in memory already has a second
// chance, so that a flood of junk does not keep sessions from being verified.
func (s slots) take(p purpose, patience, timeout time.Duration) chan struct{} {
	if p != recheck {
		select {
		case s.calls <- struct{}{}:
			return s.calls
		default:
		}
		if p != renewal {
			return nil
		}
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
