package redisfleet

import (
	"encoding/binary"
	"time"
)

const (
	// maxPublishers bounds those that are known at once.
	maxPublishers = 1 << 16
	// clocksApart is by how much the clocks of replicas may differ.
	clocksApart = time.Second
)

// publishers are those that have been heard lately, and how far each was. What they send is
// dated by what one has sent oneself: the clock of Redis, and ids, are whatever somebody there says.
type publishers struct {
	known   map[uint64]*progress // those that are gone, too, for as long as what they said is kept
	heard   int                  // how many are not gone
	me      uint64
	clock   time.Time // when one's own pulse was sent that was read last; zero: none was
	backlog bool      // what is read was there before this one began
}

type progress struct {
	number, pulse uint64
	ms            uint64    // when it was heard last, by the clock of Redis
	last          time.Time // its pulse that was heard last was sent then or later
	since         time.Time // from when on it is waited for
	gone          bool      // it has said goodbye, or was given up; should it be back, it has missed nothing
}

// verdict is what an envelope means.
type verdict uint8

const (
	stale verdict = iota // it is a replay, or comes after what made it superfluous
	next                 // it is what was expected
	gap                  // something before it was missed
)

// meet judges the first envelope of a publisher.
func (p *publishers) meet(e *envelope, ms uint64) verdict {
	switch {
	case e.kind == bye:
		return stale
	case len(p.known) >= maxPublishers:
		return gap // and again: there is no room to know it in
	case p.known == nil:
		p.known = map[uint64]*progress{}
	}
	known := &progress{number: e.number, pulse: e.pulse, ms: ms, last: p.clock, since: p.clock}
	if e.kind == pulse {
		known.last = p.sent(e)
	}
	p.known[e.publisher] = known
	p.heard++
	if e.number == 0 || e.kind == message && e.number == 1 {
		return next
	}
	return gap
}

// hear judges an envelope by what its publisher sent before.
func (p *publishers) hear(e *envelope, ms uint64, lag time.Duration) verdict {
	known, found := p.known[e.publisher]
	if !found {
		return p.meet(e, ms)
	}
	v := next
	switch {
	case e.kind == message && e.number <= known.number, e.kind != message && (e.number < known.number || e.pulse <= known.pulse):
		return stale
	case e.kind == message && e.number > known.number+1, e.kind != message && e.number > known.number:
		v = gap
	}
	known.number, known.pulse, known.ms = e.number, max(e.pulse, known.pulse), max(known.ms, ms)
	switch {
	case e.kind == bye && !known.gone:
		known.gone = true
		p.heard--
	case e.kind == pulse:
		known.last = latest(known.last, p.sent(e))
		if known.gone && p.clock.Sub(known.last) <= lag { // what is older is no sign of life
			known.gone, known.since = false, p.clock
			p.heard++
		}
	}
	return v
}

// sent is a time before which a pulse was not sent: it comes after one's own; but what somebody has
// held back does that as well, so it counts when its publisher says that it was sent.
func (p *publishers) sent(e *envelope) time.Time {
	if len(e.payload) != pulseLength {
		return time.Time{}
	}
	now := time.Now()
	wall := time.UnixMilli(int64(binary.BigEndian.Uint64(e.payload[8:]))) //nolint:gosec // authentic
	if said := now.Add(wall.Sub(now.Round(0)) + clocksApart); said.Before(p.clock) {
		return said
	}
	return p.clock
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pulsed takes note of one's own pulse: when it was sent, and of when it is by the clock of Redis.
// It returns the time by which everything that anybody had sent has been heard; and it gives up
// those that were not heard for Lag, and reports whether there were any: they may be silent because
// they are gone, or because what they send is suppressed. After a time in which nobody could send
// they have as long again.
func (p *publishers) pulsed(sent time.Time, ms uint64, lag, retention time.Duration) (by time.Time, missing bool) {
	first := p.clock.IsZero()
	if sent.Sub(p.clock) > lag/2 {
		for _, known := range p.known {
			if first || !known.gone {
				known.since = sent
			}
		}
	}
	p.clock, by = sent, sent
	for id, known := range p.known {
		silent := sent.Sub(latest(known.last, known.since))
		switch {
		case id == p.me:
		case known.gone:
			if silent > retention {
				delete(p.known, id)
			}
		case p.backlog && known.ms+uint64(lag.Milliseconds()) < ms: //nolint:gosec // positive
			known.gone = true // before this one began
			p.heard--
		case silent > lag:
			known.gone, missing = true, true
			p.heard--
		case known.last.Before(by):
			by = known.last
		}
	}
	return by, missing
}
