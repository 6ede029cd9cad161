package redisfleet

import "time"

// maxPublishers bounds those that are known at once.
const maxPublishers = 1 << 16

// publishers are those that have been heard lately, and how far each was.
type publishers struct {
	known   map[uint64]*progress // those that are gone, too, for as long as what they said is kept
	heard   int                  // how many are not gone
	own     uint64               // when one's own pulse was read last, in ms by the clock of Redis
	backlog bool                 // what is read was there before this one began: nobody is known yet
}

type progress struct {
	number, pulse uint64
	last          uint64 // when it was heard last, in ms by the clock of Redis
	gone          bool   // it has said goodbye, or was given up; should it be back, it has missed nothing
}

// verdict is what an envelope means.
type verdict uint8

const (
	stale verdict = iota // it is a replay, or comes after what made it superfluous
	next                 // it is what was expected
	gap                  // something before it was missed
)

// hear judges an envelope by what its publisher sent before.
func (p *publishers) hear(e *envelope, ms uint64) verdict {
	known, found := p.known[e.publisher]
	if !found {
		if len(p.known) >= maxPublishers {
			return stale
		}
		if e.kind == bye {
			return stale
		}
		if p.known == nil {
			p.known = map[uint64]*progress{}
		}
		first := e.number
		if e.kind == message {
			first--
		}
		p.known[e.publisher] = &progress{number: e.number, pulse: e.pulse, last: ms}
		p.heard++
		if first == 0 || p.backlog {
			return next
		}
		return gap
	}
	v := next
	switch {
	case e.kind == message && e.number <= known.number, e.kind != message && (e.number < known.number || e.pulse <= known.pulse):
		return stale
	case e.kind == message && e.number > known.number+1, e.kind != message && e.number > known.number:
		v = gap
	}
	known.number, known.pulse, known.last = e.number, max(e.pulse, known.pulse), max(known.last, ms)
	if gone := e.kind == bye; gone != known.gone {
		known.gone = gone
		if gone {
			p.heard--
		} else {
			p.heard++
		}
	}
	return v
}

// missing gives up the publishers that were not heard for a while before ms, when one's own pulse
// was read, and reports whether there were any: they may be silent because they are gone, or
// because what they send is suppressed. After a time in which nobody could send they have as long
// again.
func (p *publishers) missing(ms uint64, lag, retention time.Duration) bool {
	some := false
	if ms > p.own+uint64(lag.Milliseconds())/2 { //nolint:gosec // positive
		for _, known := range p.known {
			if !known.gone {
				known.last = max(known.last, ms)
			}
		}
	}
	p.own = ms
	for id, known := range p.known {
		switch {
		case known.gone && known.last+uint64(retention.Milliseconds()) < ms: //nolint:gosec // positive
			delete(p.known, id)
		case !known.gone && known.last+uint64(lag.Milliseconds()) < ms: //nolint:gosec // positive
			known.gone, some = true, true
			p.heard--
		}
	}
	return some
}
