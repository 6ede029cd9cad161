package redisfleet

import (
	"sync/atomic"
	"time"
)

type busStats struct {
	sent, received, dropped, stale, lost, errors atomic.Uint64
}

// BusStats is a snapshot of what a [Bus] has done since it was made.
type BusStats struct {
	// Behind is for how long the bus has not been heard, or one of the other replicas: up to three
	// quarters of Lag when all is well; since the Bus was made if it never was.
	Behind time.Duration
	// Heard is whether it has been heard within Lag: if not, its followers trust nothing older.
	Heard bool
	// Sent counts the entries that were added, pulses included, Received the messages of all
	// replicas, each once.
	Sent, Received uint64
	// Dropped counts entries that are not of this fleet: forged, of another secret or
	// version. Stale counts those that were there before: replays, or sent again to be safe.
	Dropped, Stale uint64
	// Lost counts how often something may have been lost and everything was forgotten; the
	// start of the bus is one.
	Lost uint64
	// Errors counts the round trips that failed.
	Errors uint64
	// Publishers is how many replicas are heard, this one included.
	Publishers int
}

// Stats returns a snapshot. It is safe to call concurrently.
func (b *Bus) Stats() BusStats {
	b.mu.Lock()
	heard, lag, count := b.heard, b.lag, b.count
	b.mu.Unlock()
	behind := time.Since(heard)
	if heard.IsZero() {
		behind = time.Since(b.made)
	}
	return BusStats{
		Behind: behind, Heard: !heard.IsZero() && behind < lag, Publishers: count,
		Sent: b.stats.sent.Load(), Received: b.stats.received.Load(), Dropped: b.stats.dropped.Load(), Stale: b.stats.stale.Load(),
		Lost: b.stats.lost.Load(), Errors: b.stats.errors.Load(),
	}
}
