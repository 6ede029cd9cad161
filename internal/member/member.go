// Package member makes an Authenticator one of a fleet: it follows the bus, and judges what
// others have verified.
package member

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/forget"
)

const (
	// streamsUnheard is how often the sessions of open streams are verified while the bus is
	// not heard, or Lag if that is longer; each time they are spread over that.
	streamsUnheard = 5 * time.Second
	// ClocksApart is by how much the clocks of replicas without a bus may differ.
	ClocksApart = time.Second
	// maxUnheard bounds the Forgets of this Authenticator that have not come back to it.
	maxUnheard = 4096
	// maxPoints bounds the points of the order that are remembered.
	maxPoints = 4096
	// maxOrder is how many marks of the order are remembered one by one: 26 MB, and only with a
	// shared cache. Beyond it, some shared entries are verified again without need.
	maxOrder = 1 << 18
	forever  = 1<<63 - 1
)

// Member is an Authenticator as one of a fleet: it follows the bus, and can judge whether
// what another has found out has been forgotten since.
type Member struct {
	Config

	local Local
	id    uint64
	start time.Time
	until atomic.Int64 // when the bus is taken to be lost unless it is heard, since start
	timer *time.Timer

	mu     sync.Mutex
	sent   uint64
	latest fleet.Position // everything up to it has been applied
	order  *forget.Log    // of what was forgotten, own messages where they stand on the bus; nil: not needed
	points []point        // oldest first
	mine   []unheard      // oldest first
	blind  time.Duration  // until when mine does not hold all, since start
}

// point says that everything up to a position had been marked at a time of the order's clock.
type point struct {
	at    fleet.Position
	clock uint64
	since time.Duration
}

// unheard is a Forget of this Authenticator that has not come back from the bus. Where it
// stands in the order is not known yet, if it is in there at all.
type unheard struct {
	fleet.Forgotten

	until time.Duration
}

// Local is the Authenticator that is a member.
type Local interface {
	// Apply forgets f.
	Apply(f fleet.Forgotten)
	// Heard says that everything others had told to forget by then has been applied.
	Heard(by time.Time)
	// Lost says that something may not have been heard.
	Lost()
	// Unheard has the sessions of open streams verified, spread over a time.
	Unheard(over time.Duration)
}

// Config says what kind of member it is.
type Config struct {
	Bus    fleet.Bus     // nil: there is only a shared cache
	Lag    time.Duration // for how long the bus may go unheard
	Keep   time.Duration // for how long what was verified may be served
	Shares bool          // there is a shared cache
}

// Join makes local a member, and has it follow the bus. The error is the bus's.
func Join(local Local, c Config) (*Member, error) {
	m := &Member{Config: c, local: local, id: rand.Uint64(), start: time.Now()} //nolint:gosec // not a secret
	if m.Bus == nil {
		m.Lost(m.now(ClocksApart))
		return m, nil
	}
	ref := weak.Make(m)
	m.timer = time.AfterFunc(forever, func() {
		if m := ref.Value(); m != nil {
			m.watch()
		}
	})
	m.timer.Reset(m.Config.Lag)
	return m, m.Bus.Follow(m)
}

// Sum is a sum of times that are not negative.
func Sum(times ...time.Duration) (sum time.Duration) {
	for _, t := range times {
		if sum += t; sum < 0 {
			return forever
		}
	}
	return sum
}

// now is the position by the wall clock, for a member without a bus.
func (m *Member) now(ahead time.Duration) fleet.Position {
	return fleet.Position{Number: uint64(max(0, time.Now().Add(ahead).UnixMilli()))}
}

// Forget forgets here first: what a bus does may take a while. What others have verified no
// longer stands before the Authenticator forgets, or a call that begins between the two could
// find, and keep, what is forgotten.
func (m *Member) Forget(ctx context.Context, f fleet.Forgotten) error {
	m.mu.Lock()
	m.sent++
	f.By, f.Number = m.id, m.sent
	switch {
	case m.Bus == nil:
		m.mark(f)
		m.note(m.now(ClocksApart), f.All)
	case m.order != nil:
		m.wait(f)
	}
	m.mu.Unlock()
	m.local.Apply(f)
	if m.Bus == nil {
		return nil
	}
	var err error
	if panicked := catch.Protect(func() { err = m.Bus.Publish(ctx, f) }); panicked != nil {
		return panicked
	}
	return err
}

// wait notes a Forget of this member until it comes back. m.mu is held.
func (m *Member) wait(f fleet.Forgotten) {
	now := time.Since(m.start)
	for len(m.mine) > 0 && m.mine[0].until <= now {
		m.mine = m.mine[1:]
	}
	until := Sum(now, m.Keep)
	if len(m.mine) >= maxUnheard {
		m.blind = until
		return
	}
	m.mine = append(m.mine, unheard{f, until})
}

// Lag implements [fleet.Follower].
func (m *Member) Lag() time.Duration { return m.Config.Lag }

// Apply implements [fleet.Follower]. What this member published has been forgotten here already,
// and what was verified since need not be verified again. The order is as in Forget.
func (m *Member) Apply(f fleet.Forgotten, at fleet.Position) {
	own := f.By == m.id
	m.mu.Lock()
	m.mark(f)
	m.note(at, f.All)
	if own {
		m.mine = slices.DeleteFunc(m.mine, func(u unheard) bool { return u.Number == f.Number })
	}
	m.mu.Unlock()
	if !own {
		m.local.Apply(f)
	}
}

// Heard implements [fleet.Follower].
func (m *Member) Heard(at fleet.Position, by time.Time) {
	m.until.Store(int64(Sum(max(0, by.Sub(m.start)), m.Config.Lag)))
	m.mu.Lock()
	m.note(at, false)
	m.mu.Unlock()
	m.local.Heard(by)
}

// Lost implements [fleet.Follower].
func (m *Member) Lost(from fleet.Position) {
	m.until.Store(0)
	if m.timer != nil { // which may not run, see watch
		m.timer.Reset(m.Config.Lag)
	}
	m.local.Lost()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.points = nil
	if m.Shares {
		m.order = forget.New(m.Keep, maxOrder)
	}
	m.note(from, true)
}

// mark notes what was forgotten where it stands in the order. m.mu is held.
func (m *Member) mark(f fleet.Forgotten) {
	if m.order == nil {
		return
	}
	if f.All {
		m.order.MarkAll()
	}
	for _, tag := range f.Tags {
		m.order.Mark(tag)
	}
}

// note notes that everything up to a position has been marked: at every turn, or from time to
// time. What comes late, or again, does not lead back. m.mu is held.
func (m *Member) note(at fleet.Position, turn bool) {
	if len(m.points) > 0 && at.Epoch == m.latest.Epoch && !at.After(m.latest) {
		return
	}
	m.latest = at
	if m.order == nil {
		return
	}
	now := time.Since(m.start)
	if n := len(m.points); n > 0 && !turn && now-m.points[n-1].since < m.Keep/maxPoints {
		return
	}
	if len(m.points) >= maxPoints {
		m.points = slices.Delete(m.points, 0, maxPoints/4)
	}
	m.points = append(m.points, point{at, m.order.Clock(), now})
}

// Position is what everything that begins now comes after. It is false while the bus is not
// heard.
func (m *Member) Position() (fleet.Position, bool) {
	if m.Bus == nil {
		return m.now(0), true
	}
	if !m.hears(time.Since(m.start)) {
		return fleet.Position{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.latest, true
}

// hears reports whether what others forget is known.
func (m *Member) hears(now time.Duration) bool {
	return m.Bus == nil || now < time.Duration(m.until.Load())
}

// Stands reports whether what was verified after a position, by whichever member, is known
// not to have been forgotten since.
func (m *Member) Stands(at fleet.Position, tags []cache.Tag) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Since(m.start)
	if now < m.blind || m.order == nil || !m.hears(now) {
		return false
	}
	for i := range m.mine {
		u := &m.mine[i]
		if u.until > now && (u.All || slices.ContainsFunc(u.Tags, func(tag cache.Tag) bool { return slices.Contains(tags, tag) })) {
			return false
		}
	}
	if at == m.latest || at.After(m.latest) {
		return true
	}
	for _, p := range slices.Backward(m.points) {
		if at == p.at || at.After(p.at) {
			return !m.order.Since(p.clock, tags...)
		}
	}
	return false // from before what is remembered
}

// watch has the sessions of open streams verified while the bus is not heard. The timer rests
// where nothing can be missed, or it would outlive the member.
func (m *Member) watch() {
	until := m.until.Load()
	if until == forever {
		return
	}
	wait := time.Duration(until) - time.Since(m.start)
	if wait <= 0 {
		wait = max(m.Config.Lag, streamsUnheard)
		m.local.Unheard(wait)
	}
	m.timer.Reset(wait)
}
