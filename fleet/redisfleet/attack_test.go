package redisfleet_test

import (
	"context"
	"testing"
	"time"
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
