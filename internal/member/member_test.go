package member_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
)

const (
	lag  = time.Second
	keep = time.Hour
)

var ours, others = cache.Tag{1}, cache.Tag{2}

// local is an Authenticator that notes what it is told.
type local struct {
	applied []fleet.Forgotten
	heard   []time.Time
	lost    int
	unheard []time.Duration // when, since began
	over    []time.Duration
	began   time.Time
	during  func() // is called in Apply
}

func (l *local) Apply(f fleet.Forgotten) {
	l.applied = append(l.applied, f)
	if l.during != nil {
		l.during()
	}
}
func (l *local) Heard(by time.Time) { l.heard = append(l.heard, by) }
func (l *local) Lost()              { l.lost++ }

func (l *local) Unheard(over time.Duration) {
	l.unheard, l.over = append(l.unheard, time.Since(l.began)), append(l.over, over)
}

// line is a Bus whose messages the tests deliver.
type line struct {
	sent    []fleet.Forgotten
	publish func() error
}

func (*line) Follow(fleet.Follower) error { return nil }

func (b *line) Publish(_ context.Context, f fleet.Forgotten) error {
	b.sent = append(b.sent, f)
	if b.publish != nil {
		return b.publish()
	}
	return nil
}

// at is a position of the first epoch.
func at(number uint64) fleet.Position { return fleet.Position{Epoch: 1, Number: number} }

// join makes a member that has followed the bus from position 10, and has just heard it; or
// one without a bus.
func join(t *testing.T, bus fleet.Bus) (*member.Member, *local) {
	t.Helper()
	l := &local{began: time.Now()}
	m, err := member.Join(l, member.Config{Bus: bus, Lag: lag, Keep: keep, Shares: true})
	if err != nil {
		t.Fatal(err)
	}
	if bus != nil {
		m.Lost(at(10))
		m.Heard(at(10), time.Now())
	}
	return m, l
}

func of(by uint64, tags ...cache.Tag) fleet.Forgotten {
	return fleet.Forgotten{By: by, Number: 1, Tags: tags}
}

// TestWhatStands: what was verified after a position is used only if all is known that was
// forgotten since, and none of it is about that.
func TestWhatStands(t *testing.T) {
	another := func(f fleet.Forgotten, number uint64) func(*member.Member, *line) {
		return func(m *member.Member, _ *line) { m.Apply(f, at(number)) }
	}
	for name, test := range map[string]struct {
		then  func(*member.Member, *line)
		at    fleet.Position
		wants bool
	}{
		"nothing was forgotten":                           {nil, at(10), true},
		"from before this member follows the bus":         {nil, at(9), false},
		"later than what has been applied":                {nil, at(11), true},
		"later in part":                                   {nil, fleet.Position{Epoch: 1, Number: 10, Part: 1}, true},
		"of another epoch":                                {nil, fleet.Position{Epoch: 2, Number: 11}, false},
		"forgotten since":                                 {another(of(1, ours), 11), at(10), false},
		"verified after it was forgotten":                 {another(of(1, ours), 11), at(11), true},
		"a stranger was forgotten since":                  {another(of(1, others), 11), at(10), true},
		"everything was forgotten since":                  {another(fleet.Forgotten{By: 1, All: true}, 11), at(10), false},
		"verified after everything":                       {another(fleet.Forgotten{By: 1, All: true}, 11), at(11), true},
		"forgotten long ago, and a later one is about it": {func(m *member.Member, _ *line) { m.Apply(of(1, ours), at(11)); m.Apply(of(1, ours), at(13)) }, at(12), false},
		"between two points, and not forgotten after them": {func(m *member.Member, _ *line) {
			m.Apply(of(1, ours), at(11))
			m.Apply(fleet.Forgotten{All: true}, at(12))
		}, at(12), true},
		"forgotten, and an older message comes again": {func(m *member.Member, _ *line) {
			m.Apply(of(1, others), at(11))
			m.Apply(of(1, ours), at(13))
			m.Apply(of(1, others), at(11))
		}, at(12), false},
		"forgotten, and the newest is heard of late": {func(m *member.Member, _ *line) { m.Apply(of(1, ours), at(12)); m.Heard(at(10), time.Now()) }, at(11), false},
		"forgotten after a point of some time later": {func(m *member.Member, _ *line) {
			time.Sleep(time.Second - 1)
			m.Heard(at(20), time.Now())
			m.Apply(of(1, ours), at(21))
		}, at(20), false},
		"forgotten before a point of some time later": {func(m *member.Member, _ *line) {
			m.Apply(of(1, ours), at(11))
			time.Sleep(time.Second - 1)
			m.Heard(at(20), time.Now())
			m.Apply(of(1, others), at(21))
		}, at(20), true},
		"messages may have been lost": {func(m *member.Member, _ *line) { m.Lost(at(20)); m.Heard(at(20), time.Now()) }, at(19), false},
		"verified after messages may have been lost": {func(m *member.Member, _ *line) {
			m.Apply(fleet.Forgotten{All: true}, at(11))
			m.Lost(at(20))
			m.Heard(at(20), time.Now())
		}, at(20), true},
		"lost, and not heard since": {func(m *member.Member, _ *line) { m.Lost(at(20)) }, at(20), false},
		"an epoch that begins again": {func(m *member.Member, _ *line) {
			m.Lost(fleet.Position{Epoch: 2})
			m.Heard(fleet.Position{Epoch: 2}, time.Now())
		}, at(10), false},
		"in the epoch that begins again": {func(m *member.Member, _ *line) {
			m.Lost(fleet.Position{Epoch: 2})
			m.Heard(fleet.Position{Epoch: 2}, time.Now())
		}, fleet.Position{Epoch: 2}, true},
		"just heard":                               {func(*member.Member, *line) { time.Sleep(lag - 1) }, at(10), true},
		"not heard for the lag":                    {func(*member.Member, *line) { time.Sleep(lag) }, at(10), false},
		"forgotten here, and not come back":        {forgotten(false, ours), at(10), false},
		"forgotten here, not come back, and later": {forgotten(false, ours), at(12), false},
		"forgotten here, not come back, and one before it need not": {func(m *member.Member, _ *line) {
			_ = m.Forget(context.Background(), of(0, others))
			time.Sleep(keep / 2)
			_ = m.Forget(context.Background(), of(0, ours))
			time.Sleep(keep / 2)
			_ = m.Forget(context.Background(), of(0, cache.Tag{8}))
			m.Heard(at(10), time.Now())
		}, at(12), false},
		"a stranger forgotten here, not come back": {forgotten(false, others), at(10), true},
		"everything forgotten here, not come back": {forgottenAll(false), at(12), false},
		"forgotten here, and come back":            {forgotten(true, ours), at(10), false},
		"verified after it came back":              {forgotten(true, ours), at(11), true},
		"everything forgotten here, and come back": {forgottenAll(true), at(10), false},
		"verified after everything came back":      {forgottenAll(true), at(11), true},
		"verified after everything, and a stranger was forgotten since": {func(m *member.Member, _ *line) {
			m.Apply(fleet.Forgotten{By: 1, All: true}, at(11))
			m.Apply(of(1, others), at(12))
		}, at(11), true},
		"forgotten here, and another's of that number comes": {func(m *member.Member, b *line) {
			_ = m.Forget(context.Background(), of(0, ours))
			m.Apply(fleet.Forgotten{By: b.sent[0].By + 1, Number: b.sent[0].Number, Tags: []cache.Tag{others}}, at(11))
		}, at(11), false},
		"two forgotten here, of which one came back": {func(m *member.Member, b *line) {
			_ = m.Forget(context.Background(), of(0, ours))
			_ = m.Forget(context.Background(), of(0, others))
			m.Apply(b.sent[1], at(11))
		}, at(11), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &line{}
				m, _ := join(t, b)
				if test.then != nil {
					test.then(m, b)
				}
				if got := m.Stands(test.at, []cache.Tag{{9}, ours}); got != test.wants {
					t.Errorf("stands: %t", got)
				}
			})
		})
	}
}

func forgotten(back bool, tag cache.Tag) func(*member.Member, *line) {
	return forgottenHere(fleet.Forgotten{Tags: []cache.Tag{tag}}, back)
}

func forgottenAll(back bool) func(*member.Member, *line) {
	return forgottenHere(fleet.Forgotten{All: true}, back)
}

func forgottenHere(f fleet.Forgotten, back bool) func(*member.Member, *line) {
	return func(m *member.Member, b *line) {
		_ = m.Forget(context.Background(), f)
		if back {
			m.Apply(b.sent[0], at(11))
		}
	}
}

// TestWhatIsForgottenHereDoesNotStandEither: who begins after the cache has forgotten must not
// find, and keep, what was verified before.
func TestWhatIsForgottenHereDoesNotStandEither(t *testing.T) {
	byAnother := func(m *member.Member) { m.Apply(of(1, ours), at(11)) }
	byItself := func(m *member.Member) { _ = m.Forget(t.Context(), of(0, ours)) }
	for name, test := range map[string]struct {
		bus    fleet.Bus
		forget func(*member.Member)
	}{"by another": {&line{}, byAnother}, "by itself": {&line{}, byItself}, "without a bus": {nil, byItself}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, l := join(t, test.bus)
				time.Sleep(time.Minute)
				if test.bus != nil {
					m.Heard(at(10), time.Now())
				}
				was, _ := m.Position()
				stood, during := m.Stands(was, []cache.Tag{ours}), 0
				l.during = func() {
					during++
					if m.Stands(was, []cache.Tag{ours}) {
						t.Error("it stands while it is being forgotten")
					}
				}
				if test.forget(m); !stood || during != 1 {
					t.Errorf("stood before: %t, applied %d times", stood, during)
				}
			})
		})
	}
}

// TestWithoutABus: the order is that of the wall clock.
func TestWithoutABus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := join(t, nil)
		position := func() fleet.Position {
			p, ok := m.Position()
			if !ok {
				t.Error("no position")
			}
			return p
		}
		stands := func(claim string, p fleet.Position, wants bool) {
			t.Helper()
			if got := m.Stands(p, []cache.Tag{ours}); got != wants {
				t.Errorf("%s: stands: %t", claim, got)
			}
		}
		stands("from before it started, maybe", position(), false)
		time.Sleep(member.ClocksApart)
		stands("after it started", position(), true)
		time.Sleep(24 * time.Hour)
		was := position()
		if err := m.Forget(t.Context(), of(0, ours)); err != nil || len(l.applied) != 1 {
			t.Errorf("%v, applied %d times", err, len(l.applied))
		}
		stands("forgotten", was, false)
		time.Sleep(member.ClocksApart - time.Millisecond)
		stands("after that, by a clock that is late", position(), false)
		time.Sleep(time.Millisecond)
		stands("after that", position(), true)
		if err := m.Forget(t.Context(), fleet.Forgotten{All: true}); err != nil {
			t.Error(err)
		}
		stands("everything", position(), false)
		if l.unheard != nil || l.lost != 1 {
			t.Errorf("unheard %v, lost %d", l.unheard, l.lost)
		}
	})
}

// TestTooManyForgetsThatDoNotComeBack: then nothing is known to stand, for as long as what was
// verified before them may be used.
func TestTooManyForgetsThatDoNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4096
		m, _ := join(t, &line{})
		for range most {
			_ = m.Forget(t.Context(), of(0, others))
		}
		if !m.Stands(at(10), []cache.Tag{ours}) {
			t.Error("a stranger does not stand while all are remembered")
		}
		_ = m.Forget(t.Context(), of(0, ours))
		hear := func() { m.Heard(at(10), time.Now()) }
		if m.Stands(at(12), []cache.Tag{ours}) {
			t.Error("it stands though it is forgotten")
		}
		time.Sleep(keep - 1)
		if hear(); m.Stands(at(12), []cache.Tag{ours}) {
			t.Error("it stands within the time that it is kept")
		}
		time.Sleep(time.Nanosecond)
		if hear(); !m.Stands(at(12), []cache.Tag{ours}) || !m.Stands(at(12), []cache.Tag{others}) {
			t.Error("it does not stand when everything from before is over")
		}
		_ = m.Forget(t.Context(), of(0, others))
		if m.Stands(at(12), []cache.Tag{others}) || !m.Stands(at(12), []cache.Tag{ours}) {
			t.Error("there is no room for new ones")
		}
	})
}

// TestPointsAreBounded: the oldest are dropped, and what is from before them does not stand.
func TestPointsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4096
		m, _ := join(t, &line{})
		none := []cache.Tag(nil)
		apart := keep/most + 1
		hear := func(number uint64) {
			time.Sleep(apart)
			m.Heard(at(number), time.Now())
		}
		for i := range uint64(most - 1) {
			hear(11 + i)
		}
		if !m.Stands(at(10), none) {
			t.Error("the first point is dropped while there is room")
		}
		hear(10 + most)
		if m.Stands(at(10), none) || m.Stands(at(10+most/4-1), none) || !m.Stands(at(10+most/4), none) {
			t.Error("other points than the oldest quarter are dropped")
		}
		m.Lost(at(9000))
		for i := range uint64(most) { // faster than points are kept
			m.Heard(at(9001+i), time.Now())
		}
		if !m.Stands(at(9000), none) {
			t.Error("there are more points than are needed")
		}
	})
}

func TestAPositionIsThatOfWhatWasApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := join(t, &line{})
		wants := func(claim string, want fleet.Position, known bool) {
			t.Helper()
			if got, ok := m.Position(); got != want || ok != known {
				t.Errorf("%s: %v, %t", claim, got, ok)
			}
		}
		wants("at first", at(10), true)
		m.Apply(of(1, ours), at(11))
		wants("applied", at(11), true)
		time.Sleep(lag - 1)
		wants("within the lag", at(11), true)
		time.Sleep(time.Nanosecond)
		wants("not heard", fleet.Position{}, false)
		m.Heard(at(12), time.Now().Add(-lag/2))
		wants("heard of half of the lag ago", at(12), true)
		time.Sleep(lag / 2)
		wants("not heard of for the lag", fleet.Position{}, false)
		m.Heard(at(12), time.Now())
		m.Lost(at(20))
		wants("lost", fleet.Position{}, false)
		m.Heard(at(20), time.Now())
		wants("heard again", at(20), true)
		if l.lost != 2 || len(l.heard) != 4 || m.Lag() != lag {
			t.Errorf("lost %d, heard %d, lag %v", l.lost, len(l.heard), m.Lag())
		}
	})
}

// TestOpenStreamsAreVerifiedWhileTheBusIsNotHeard, about every five seconds, and not while it is.
func TestOpenStreamsAreVerifiedWhileTheBusIsNotHeard(t *testing.T) {
	for name, test := range map[string]struct {
		then  func(*member.Member)
		wants []time.Duration // in the next twelve seconds
	}{
		"never heard again": {func(*member.Member) { time.Sleep(12 * time.Second) }, []time.Duration{lag, lag + 5*time.Second, lag + 10*time.Second}},
		"heard, then not": {func(m *member.Member) {
			time.Sleep(lag / 2)
			m.Heard(at(10), time.Now())
			time.Sleep(11500 * time.Millisecond)
		}, []time.Duration{3 * lag / 2, 3*lag/2 + 5*time.Second, 3*lag/2 + 10*time.Second}},
		"heard for ever": {func(m *member.Member) { m.Heard(at(10), time.Now().Add(1<<63-1)); time.Sleep(12 * time.Second) }, nil},
		"heard for ever, and lost": {func(m *member.Member) {
			m.Heard(at(10), time.Now().Add(1<<63-1))
			time.Sleep(6 * time.Second)
			m.Lost(at(20))
			time.Sleep(6 * time.Second)
		}, []time.Duration{6*time.Second + lag, 11*time.Second + lag}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, l := join(t, &line{})
				test.then(m)
				synctest.Wait()
				if !slices.Equal(l.unheard, test.wants) || slices.ContainsFunc(l.over, func(d time.Duration) bool { return d != 5*time.Second }) {
					t.Errorf("verified after %v over %v, want %v", l.unheard, l.over, test.wants)
				}
			})
		})
	}
}

// TestForgetIsNumberedAndSaysWhatTheBusSays, whatever that is: here it is forgotten.
func TestForgetIsNumberedAndSaysWhatTheBusSays(t *testing.T) {
	down := errors.New("down")
	for name, test := range map[string]struct {
		publish func() error
		is      func(error) bool
	}{
		"accepted": {func() error { return nil }, func(err error) bool { return err == nil }},
		"refused":  {func() error { return down }, func(err error) bool { return errors.Is(err, down) }},
		"a panic":  {func() error { panic("secret") }, func(err error) bool { return err != nil && err.Error() == "catch: the callback panicked" }},
	} {
		b := &line{publish: test.publish}
		m, l := join(t, b)
		for range 2 {
			if err := m.Forget(t.Context(), of(7, ours)); !test.is(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(l.applied) != 2 || len(b.sent) != 2 || b.sent[0].Number != 1 || b.sent[1].Number != 2 || b.sent[0].By == 7 || b.sent[0].By != b.sent[1].By {
			t.Errorf("%s: applied %d, sent %d", name, len(l.applied), len(b.sent))
		}
		if m.Apply(b.sent[0], at(11)); len(l.applied) != 2 {
			t.Errorf("%s: one's own is applied again", name)
		}
		if m.Apply(of(1, ours), at(12)); len(l.applied) != 3 {
			t.Errorf("%s: another's is not applied", name)
		}
	}
}

func TestSumIsNeverNegative(t *testing.T) {
	const forever = time.Duration(1<<63 - 1)
	if member.Sum() != 0 || member.Sum(1, 2, 3) != 6 || member.Sum(forever, 0) != forever || member.Sum(forever, 1, forever) != forever {
		t.Error("wrong sums")
	}
}
