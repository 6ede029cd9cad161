package cache

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// probeEvery is about how often an owner that is away is asked for keys with a
	// stale value; probeRarely is how seldom it may become while the owner refuses.
	probeEvery  = time.Second
	probeRarely = 4 * time.Second
	// probeAgain is how long another probe is left to other keys than the last: one
	// whose loads alone fail must not be the only one to ask.
	probeAgain = 250 * time.Millisecond
	// outageMemory is how long after it was last seen away, its timeout included, the
	// owner is taken to be away still.
	outageMemory = 5 * time.Second
	// maxDelay bounds the delay that an owner can name.
	maxDelay = 5 * time.Minute
)

// owner is what is known of the owner of all entries being away.
type owner struct {
	until     atomicTime // it is away, unless it answers first
	notBefore atomicTime // it asked not to be asked
	due       atomicTime // the next probe
	// answers counts loads that prove that it is there.
	answers atomic.Uint32
	memory  time.Duration
	most    int // probes in the air

	mu     sync.Mutex
	probes int
	last   Key           // of the last probe
	pause  time.Duration // until the probe after the next
}

// blame is what an entry remembers of loads that failed: how many answers there had
// been at the first one and at the last, and one more; 0 for none.
type blame struct{ first, last atomic.Uint32 }

// chronic reports whether loads have failed again after others were answered.
func (b *blame) chronic() bool { return b.first.Load() != b.last.Load() }

func newOwner(timeout time.Duration) *owner {
	return &owner{memory: sum(timeout, outageMemory), most: int(max(1, min(timeout/probeEvery, 16))), pause: probeEvery}
}

// away reports whether stale values are served without waiting.
func (o *owner) away(now time.Duration) bool {
	return now < o.until.Load() || now < o.notBefore.Load()
}

// delayed returns for how long nobody may ask.
func (o *owner) delayed(now time.Duration) time.Duration { return o.notBefore.Load() - now }

// turn reports whether it is up to this key to ask an owner that is away.
func (o *owner) turn(now time.Duration, key Key) bool {
	if now < o.due.Load() { // which is no earlier than notBefore
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	due := o.due.Load()
	if now < due || o.probes >= o.most || key == o.last && now < due+probeAgain {
		return false
	}
	o.last = key
	o.due.Store(now + jitter(o.pause))
	return true
}

// probing counts a probe that begins or ends.
func (o *owner) probing(by int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.probes += by
}

// refused makes the next probes rarer. A probe that was not answered does not: it
// costs an owner that hangs little, and when it is back that should be noticed.
func (o *owner) refused() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pause = min(o.pause*3/2, probeRarely)
}

// failed learns from a load for a key in memory, which is one that had an answer
// once: it failed or takes too long. One that has failed before, and others have
// been answered since, is a case of its own.
func (o *owner) failed(now time.Duration, b *blame) {
	answers := o.answers.Load() + 1
	b.last.Store(answers)
	if !b.first.CompareAndSwap(0, answers) && b.chronic() {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.away(now) {
		o.pause, o.last = probeEvery, Key{}
		o.due.Store(now + jitter(o.pause))
	}
	o.until.raise(sum(now, o.memory))
}

// answeredSince reports whether others have been answered after the last failure of an
// entry, which may have been theirs, too.
func (o *owner) answeredSince(b *blame) bool {
	return !b.chronic() && b.last.Load() != o.answers.Load()+1
}

// answered learns that the owner is there. The delay that it named stays.
func (o *owner) answered() {
	o.answers.Add(1)
	if o.until.Load() != 0 {
		o.until.Store(0)
	}
}

// delay keeps everybody from asking for as long as the owner said. After that, it is
// taken to be away still: one asks first.
func (o *owner) delay(now, d time.Duration) {
	d = min(d, maxDelay)
	until := now + min(d+rand.N(d/10+1), maxDelay) //nolint:gosec // to spread load
	o.notBefore.raise(until)
	o.due.raise(until)
	o.until.raise(sum(until, o.memory))
}

// jitter is about d.
func jitter(d time.Duration) time.Duration { return d*7/8 + rand.N(d/4) } //nolint:gosec // to spread load
