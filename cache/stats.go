package cache

import "sync/atomic"

// Result says how [Cache.Do] came by its answer.
type Result uint8

const (
	// Miss is that this call started the load that answered it.
	Miss Result = iota
	// Hit is that the value was in memory.
	Hit
	// Shared is that the answer is that of a load which another call had started.
	Shared
	// Stale is that the value was in memory, past its TTL, and its owner is unavailable.
	Stale
	// Negative is that the key was refused from memory.
	Negative
)

// String returns the result's name in lower case.
func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return "unknown"
}

var resultNames = [...]string{Miss: "miss", Hit: "hit", Shared: "shared", Stale: "stale", Negative: "negative"}

// Stats is a snapshot of what a [Cache] holds and has done since it was made.
type Stats struct {
	// Entries and NegativeEntries count what is held in memory. Expired ones,
	// which are never served, count until they are cleared away.
	Entries, NegativeEntries int
	// InFlight counts the loads that are running, abandoned ones included.
	InFlight int
	// Hits, Misses, Shared, StaleHits and NegativeHits count the calls of Do by their
	// [Result]. A call that gave up waiting counts as Shared or a Miss all the
	// same.
	Hits, Misses, Shared, StaleHits, NegativeHits uint64
}

// counters are spread, because every hit writes to one of them, and have a cache line
// each.
type counters [32]struct {
	results [Negative + 1]atomic.Uint64
	_       [64 - 8*(Negative+1)]byte
}

func (c *counters) count(key *Key, r Result) { c[key[24]%32].results[r].Add(1) }

// Stats returns a snapshot. It is safe to call concurrently, and cheap enough for
// a scrape but not for every call.
func (c *Cache[V]) Stats() Stats {
	s := Stats{Entries: c.values.len(), NegativeEntries: c.refusals.len(), InFlight: int(c.inFlight.Load())}
	for i := range c.counts {
		results := &c.counts[i].results
		s.Hits += results[Hit].Load()
		s.Misses += results[Miss].Load()
		s.Shared += results[Shared].Load()
		s.StaleHits += results[Stale].Load()
		s.NegativeHits += results[Negative].Load()
	}
	return s
}
