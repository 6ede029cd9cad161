package interceptor

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/forget"
)

const (
	// streamsUnheard is how often the sessions of open streams are verified while the bus is
	// not heard, or Lag if that is longer; each time they are spread over that.
	streamsUnheard = 5 * time.Second
	// clocksApart is by how much the clocks of replicas without a bus may differ.
	clocksApart = time.Second
	// maxUnheard bounds the Forgets of this Authenticator that have not come back to it.
	maxUnheard = 4096
	// maxPoints bounds the points of the order that are remembered.
	maxPoints = 4096
	// maxOrder is how many marks of the order are remembered one by one: 26 MB, and only with a
	// shared cache. Beyond it, some shared entries are verified again without need.
	maxOrder = 1 << 18
	forever  = 1<<63 - 1
)

// member is an Authenticator as one of a fleet: it follows the bus, and can judge whether
// what another has found out has been forgotten since.
type member struct {
	auth  *Authenticator
	bus   Bus // nil: there is only a shared cache
	id    uint64
	lag   time.Duration
	keep  time.Duration // for how long what was verified may be served
	start time.Time
	until atomic.Int64 // when the bus is taken to be lost unless it is heard, since start
	timer *time.Timer

	mu     sync.Mutex
	sent   uint64
	latest Position      // everything up to it has been applied
	order  *forget.Log   // of what was forgotten, own messages where they stand on the bus; nil: not needed
	points []point       // oldest first
	mine   []unheard     // oldest first
	blind  time.Duration // until when mine does not hold all, since start
}

// point says that everything up to a position had been marked at a time of the order's clock.
type point struct {
	at    Position
	clock uint64
	since time.Duration
}

// unheard is a Forget of this Authenticator that has not come back from the bus. Where it
// stands in the order is not known yet, if it is in there at all.
type unheard struct {
	Forgotten

	until time.Duration
}

// join makes a member of a, and has it follow the bus.
func (a *Authenticator) join() error {
	if a.bus == nil && a.shared == nil {
		return nil
	}
	m := &member{auth: a, bus: a.bus, id: rand.Uint64(), lag: a.lag, keep: cache.DefaultVerifyTimeout, start: time.Now()} //nolint:gosec // not a secret
	if a.policy != nil {
		m.keep = saturated(max(a.policy.VerifyTimeout, cache.DefaultVerifyTimeout), a.policy.TTL, a.policy.StaleIfError)
	}
	a.member = m
	if m.bus == nil {
		m.Lost(m.now(clocksApart))
		return nil
	}
	if a.cache != nil {
		if err := a.cache.Fence(m.lag); err != nil {
			return prefixed("WithBus: ", err)
		}
	}
	ref := weak.Make(m)
	m.timer = time.AfterFunc(forever, func() {
		if m := ref.Value(); m != nil {
			m.watch()
		}
	})
	m.timer.Reset(m.lag)
	return m.bus.Follow(m)
}

// saturated is a sum of times that are not negative.
func saturated(times ...time.Duration) (sum time.Duration) {
	for _, t := range times {
		if sum += t; sum < 0 {
			return forever
		}
	}
	return sum
}

// now is the position by the wall clock, for a member without a bus.
func (m *member) now(ahead time.Duration) Position {
	return Position{Number: uint64(max(0, time.Now().Add(ahead).UnixMilli()))}
}

// forget forgets here first: what a bus does may take a while.
func (m *member) forget(ctx context.Context, f Forgotten) error {
	m.mu.Lock()
	m.sent++
	f.by, f.number = m.id, m.sent
	if m.order != nil && m.bus != nil {
		m.wait(f)
	}
	m.mu.Unlock()
	m.auth.apply(f)
	if m.bus == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.mark(f)
		m.note(m.now(clocksApart), f.all)
		return nil
	}
	return m.bus.Publish(ctx, f)
}

// wait notes a Forget of this member until it comes back. m.mu is held.
func (m *member) wait(f Forgotten) {
	now := time.Since(m.start)
	for len(m.mine) > 0 && m.mine[0].until <= now {
		m.mine = m.mine[1:]
	}
	until := saturated(now, m.keep)
	if len(m.mine) >= maxUnheard {
		m.blind = until
		return
	}
	m.mine = append(m.mine, unheard{f, until})
}

// Lag implements [Follower].
func (m *member) Lag() time.Duration { return m.lag }

// Apply implements [Follower]. What this member published has been forgotten here already,
// and what was verified since need not be verified again.
func (m *member) Apply(f Forgotten, at Position) {
	own := f.by == m.id
	if !own {
		m.auth.apply(f)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark(f)
	m.note(at, f.all)
	if own {
		m.mine = slices.DeleteFunc(m.mine, func(u unheard) bool { return u.number == f.number })
	}
}

// Heard implements [Follower].
func (m *member) Heard(at Position, by time.Time) {
	m.until.Store(int64(saturated(max(0, by.Sub(m.start)), m.lag)))
	m.mu.Lock()
	m.note(at, false)
	m.mu.Unlock()
	if m.auth.cache != nil {
		m.auth.cache.Heard(by)
	}
}

// Lost implements [Follower].
func (m *member) Lost(from Position) {
	m.until.Store(0)
	if m.auth.cache != nil {
		m.auth.cache.Lost()
	} else {
		m.auth.forgotten.ForgetAll()
	}
	m.auth.streams.WakeAll()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.points = nil
	if m.auth.shared != nil {
		m.order = forget.New(m.keep, maxOrder)
	}
	m.note(from, true)
}

// mark notes what was forgotten where it stands in the order. m.mu is held.
func (m *member) mark(f Forgotten) {
	if m.order == nil {
		return
	}
	if f.all {
		m.order.MarkAll()
	}
	for _, tag := range f.tags {
		m.order.Mark(tag)
	}
}

// note notes that everything up to a position has been marked: at every turn, or from time to
// time. m.mu is held.
func (m *member) note(at Position, turn bool) {
	m.latest = at
	if m.order == nil {
		return
	}
	now := time.Since(m.start)
	if n := len(m.points); n > 0 && (at == m.points[n-1].at || !turn && now-m.points[n-1].since < m.keep/maxPoints) {
		return
	}
	if len(m.points) >= maxPoints {
		m.points = slices.Delete(m.points, 0, maxPoints/4)
	}
	m.points = append(m.points, point{at, m.order.Clock(), now})
}

// position is what everything that begins now comes after. It is false while the bus is not
// heard.
func (m *member) position() (Position, bool) {
	if m.bus == nil {
		return m.now(0), true
	}
	if time.Since(m.start) >= time.Duration(m.until.Load()) {
		return Position{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest, true
}

// stands reports whether what was verified after a position, by whichever member, is known
// not to have been forgotten since.
func (m *member) stands(at Position, tags []cache.Tag) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Since(m.start)
	if now < m.blind || m.order == nil {
		return false
	}
	for i := range m.mine {
		u := &m.mine[i]
		if u.until > now && (u.all || slices.ContainsFunc(u.tags, func(tag cache.Tag) bool { return slices.Contains(tags, tag) })) {
			return false
		}
	}
	if at == m.latest || at.after(m.latest) {
		return true
	}
	for _, p := range slices.Backward(m.points) {
		if at == p.at || at.after(p.at) {
			return !m.order.Since(p.clock, tags...)
		}
	}
	return false // from before what is remembered
}

// watch has the sessions of open streams verified while the bus is not heard.
func (m *member) watch() {
	wait := time.Duration(m.until.Load()) - time.Since(m.start)
	if wait <= 0 {
		wait = max(m.lag, streamsUnheard)
		m.auth.streams.WakeOver(wait)
	}
	m.timer.Reset(wait)
}
