package streams

import (
	"sync/atomic"
	"time"
)

// clockTick is how often an idle stream looks at the wall clock. Timers follow the
// monotonic one, which does not notice when the other steps, and on some systems stands
// still while the machine sleeps.
const clockTick = 10 * time.Second

// forever is as good as no end, and no timer, at all.
const forever = 100 * 365 * 24 * time.Hour

// instant is a time by the monotonic clock, in a third of the memory of a time.Time; zero:
// none.
type instant time.Duration

var epoch = time.Now()

// in is the instant that comes d after now.
func in(now time.Time, d time.Duration) instant { return instant(now.Sub(epoch) + d) }

// until is how long it is until then.
func (i instant) until(now time.Time) time.Duration { return time.Duration(i) - now.Sub(epoch) }

// passed reports whether it has come; none never does.
func (i instant) passed(now time.Time) bool { return i != 0 && i.until(now) <= 0 }

// wallClock replaces the wall clock in tests; nil: it is the system's.
var wallClock atomic.Pointer[func() time.Time]

// wallTime returns the time of the wall clock alone.
func wallTime(now time.Time) time.Time {
	if clock := wallClock.Load(); clock != nil {
		now = (*clock)()
	}
	return now.Round(0)
}

// lifetime is how long a session is known to last: until the wall clock says so, or as
// much time has passed as remained when its end became known, whatever is first. So a step
// of the wall clock can shorten a session and never extend it. The zero lifetime has no
// end.
type lifetime struct {
	expires  time.Time // by the wall clock; zero: no end is known
	deadline instant
}

// renew notes that the session is now known to last until at; zero: no end is known. One
// that is farther than forever is none: differences of such times do not fit a Duration.
func (l *lifetime) renew(at time.Time) {
	at = at.Round(0)
	before, now := *l, time.Now()
	remains := at.Sub(wallTime(now))
	if *l = (lifetime{}); at.IsZero() || remains > forever {
		return
	}
	l.expires, l.deadline = at, in(now, remains)
	if before.expires.IsZero() {
		return
	}
	// Known already: it moves by as much as its owner has moved it.
	l.deadline = min(l.deadline, before.deadline+instant(at.Sub(before.expires)))
}

// over reports whether the session has expired.
func (l *lifetime) over() bool {
	if l.expires.IsZero() {
		return false
	}
	now := time.Now()
	return l.deadline.until(now) <= 0 || !wallTime(now).Before(l.expires)
}

// untilLook is how long there is no need to ask whether it is over.
func (l *lifetime) untilLook(now time.Time) time.Duration {
	if l.expires.IsZero() {
		return forever
	}
	return min(l.deadline.until(now), l.expires.Sub(wallTime(now)), clockTick)
}
