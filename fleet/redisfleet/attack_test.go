package redisfleet_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
)

// TestADelayThatGrowsHidesNothing: somebody passes on what a replica says, all of it and in order,
// but more slowly than it says it.
func TestADelayThatGrowsHidesNothing(t *testing.T) {
	near, far := startRedis(t), startRedis(t)
	publisher, _ := join(t, near.config(), lag)
	_, l := join(t, far.config(), lag)
	passed := 0
	pass := func() {
		if all := near.entries(); passed < len(all) {
			far.do("XADD sessionauth:{test}:bus * e", all[passed].FieldValues["e"])
			passed++
		}
	}
	pass()
	slowly := time.NewTicker(lag * 3 / 4)
	defer slowly.Stop()
	var told time.Time
	for timeout := time.After(patience); ; {
		select {
		case <-slowly.C:
			if told.IsZero() {
				publish(t, publisher, 1)
				told = time.Now()
			}
			pass()
		case e := <-l.events:
			if told.IsZero() {
				continue
			}
			if e.what == "lost" {
				return
			}
			if e.what == "heard" && e.by.Sub(told) > time.Second {
				t.Fatalf("heard %v after what was forgotten, of which it does not know", e.by.Sub(told))
			}
		case <-timeout:
			t.Fatal("it is not noticed")
		}
	}
}

// TestWhoStartsMissesNobodysHistory: all that a replica has said is deleted, from a stream that
// is older than that.
func TestWhoStartsMissesNobodysHistory(t *testing.T) {
	s := startRedis(t)
	join(t, s.config(), patientLag)
	b, _ := join(t, s.config(), patientLag)
	publish(t, b, 1)
	before := b.Stats().Sent
	for i, entry := range s.entries() {
		if i > 0 {
			s.do("XDEL sessionauth:{test}:bus", entry.ID)
		}
	}
	eventually(t, "it says how far it is", func() bool { return b.Stats().Sent > before })
	late, l := newBus(t, s.config()), newListener(patientLag)
	if err := late.Follow(l); err != nil {
		t.Fatal(err)
	}
	if all := l.until(t, "heard"); count(all, "lost") != 2 {
		t.Errorf("%d times something was lost, want 2: at the start, and of who says nothing of message 1", count(all, "lost"))
	}
}

// TestWhatDoesNotFitIsMissed: more is forgotten while Redis is down than is kept to be sent.
func TestWhatDoesNotFitIsMissed(t *testing.T) {
	s := startRedis(t)
	c := s.config()
	cut, addr := through(t, s.addr)
	c.Redis.InitAddress = addr
	b, _ := join(t, c, patientLag)
	_, l := join(t, s.config(), patientLag)
	cut.drop(true)
	l.until(t, "heard")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	const most = 4096
	for n := range most + 1 {
		if err := b.Publish(gone, forgotten(t, n)); err == nil {
			t.Fatal("accepted by nobody")
		}
	}
	cut.drop(false)
	missed, applied := false, 0
	for timeout := time.After(patience); applied < most || !missed; {
		select {
		case e := <-l.events:
			missed = missed || e.what == "lost"
			if e.what == "apply" {
				applied++
			}
		case <-timeout:
			t.Fatalf("%d of %d were heard, and of the one that was not sent, missed is %t", applied, most+1, missed)
		}
	}
}

// TestAClockOfRedisThatIsFarAheadFillsNothing: by time, nothing of what is added then is ever old.
func TestAClockOfRedisThatIsFarAheadFillsNothing(t *testing.T) {
	s := startRedis(t)
	b, l := join(t, s.config(), patientLag)
	s.do("XADD sessionauth:{test}:bus 99999999999999-1 x y")
	const most = 1 << 16
	s.do("EVAL", "for i = 1, tonumber(ARGV[1]) do redis.call('XADD', KEYS[1], '*', 'x', 'y') end", "1", "sessionauth:{test}:bus", fmt.Sprint(most+1000))
	eventually(t, "it is trimmed", func() bool {
		length, err := s.do("XLEN sessionauth:{test}:bus").AsInt64()
		return err == nil && length <= most+500
	})
	publish(t, b, 1)
	l.untilApplied(t, 1)
}

// TestWhoHasNoTimeLearnsThatRedisIsSlow, or each would wait for it anew.
func TestWhoHasNoTimeLearnsThatRedisIsSlow(t *testing.T) {
	s := startRedis(t)
	c := s.config()
	c.Budget = time.Second
	store := newStore(t, c)
	s.signal(syscall.SIGSTOP)
	calls := 0
	for ; store.Stats().Reached && calls < 20; calls++ {
		ctx, cancel := context.WithTimeout(t.Context(), c.Budget/2)
		store.Fetch(ctx, cache.Key{}, func([]byte) bool { return true })
		cancel()
	}
	if calls > 4 {
		t.Errorf("%d calls waited for a frozen Redis", calls)
	}
}

// TestAPublisherDoesNotWaitForABusThatIsClosed.
func TestAPublisherDoesNotWaitForABusThatIsClosed(t *testing.T) {
	s := startRedis(t)
	b, _ := join(t, s.config(), time.Hour)
	s.signal(syscall.SIGSTOP)
	published := make(chan error)
	waits := &noticed{t.Context(), make(chan struct{}, 1)}
	go func() { published <- b.Publish(waits, forgotten(t, 1)) }()
	<-waits.waited
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = b.Close(ctx)
	select {
	case err := <-published:
		if !errors.Is(err, redisfleet.ErrNotAccepted) {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("it waits for Lag")
	}
	s.signal(syscall.SIGCONT)
}

// noticed is a context that says when somebody waits for it.
type noticed struct {
	context.Context

	waited chan struct{}
}

func (n *noticed) Done() <-chan struct{} {
	select {
	case n.waited <- struct{}{}:
	default:
	}
	return n.Context.Done()
}
