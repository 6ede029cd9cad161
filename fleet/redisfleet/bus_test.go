package redisfleet_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
)

// lag is one that is waited for, patientLag one within which any machine is heard.
const (
	lag        = time.Second
	patientLag = 8 * time.Second
)

// publish publishes a message, and again until that is accepted.
func publish(t testing.TB, b *redisfleet.Bus, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("message %d is accepted", n), func() bool {
		err := b.Publish(t.Context(), forgotten(t, n))
		if err != nil && !errors.Is(err, redisfleet.ErrNotAccepted) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func TestWhatOneForgetsAllHearInOneOrder(t *testing.T) {
	s := startRedis(t)
	const replicas, each = 3, 200
	var buses []*redisfleet.Bus
	var listeners []*listener
	for range replicas {
		b, l := join(t, s.config(), patientLag)
		buses, listeners = append(buses, b), append(listeners, l)
	}
	published := make(chan struct{})
	for i, b := range buses {
		go func() {
			for n := range each {
				publish(t, b, i*each+n)
			}
			published <- struct{}{}
		}()
	}
	for range buses {
		<-published
	}
	var first []event
	for i, l := range listeners {
		all := slices.DeleteFunc(l.after(t, "apply", replicas*each), func(e event) bool { return e.what != "apply" })
		if len(all) != replicas*each {
			t.Fatalf("replica %d heard %d messages, want %d", i, len(all), replicas*each)
		}
		for j := range first {
			if !same(t, first[j].f, all[j].f) || first[j].at != all[j].at {
				t.Fatalf("replica %d heard message %d in another order", i, j)
			}
		}
		first = all
	}
	for i, b := range buses {
		eventually(t, "all are heard", func() bool { return b.Stats().Publishers == replicas })
		if st := b.Stats(); !st.Heard || st.Behind > patientLag || st.Received != replicas*each || st.Lost != 1 || st.Dropped+st.Errors != 0 {
			t.Errorf("replica %d: %+v", i, st)
		}
	}
}

func TestAReplicaThatStartsKnowsWhatWasForgottenBefore(t *testing.T) {
	s := startRedis(t)
	b, _ := join(t, s.config(), patientLag)
	publish(t, b, 1)
	late, l := newBus(t, s.config()), newListener(patientLag)
	if err := late.Follow(l); err != nil {
		t.Fatal(err)
	}
	all := l.until(t, "heard")
	if all[0].what != "lost" || count(all, "lost") != 1 || count(all, "apply") != 1 {
		t.Errorf("it was told %v", all)
	}
}

// TestWhatMayHaveBeenLostIsSaid, and the bus goes on by itself.
func TestWhatMayHaveBeenLostIsSaid(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		happens func(t *testing.T, s *server, b *redisfleet.Bus)
		lost    bool
		soon    bool
	}{
		"nothing":              {func(*testing.T, *server, *redisfleet.Bus) {}, false, false},
		"killed and restarted": {func(_ *testing.T, s *server, _ *redisfleet.Bus) { s.kill(); s.start() }, true, false},
		"flushed":              {func(_ *testing.T, s *server, _ *redisfleet.Bus) { s.do("FLUSHALL") }, true, false},
		"another epoch":        {func(_ *testing.T, s *server, _ *redisfleet.Bus) { s.do("DEL sessionauth:{test}:epoch") }, true, false},
		"trimmed, but it had been heard": {func(_ *testing.T, s *server, _ *redisfleet.Bus) {
			s.do("XTRIM sessionauth:{test}:bus MAXLEN 0")
		}, false, false},
		"its clock is set back": {func(t *testing.T, s *server, b *redisfleet.Bus) {
			s.do("XADD sessionauth:{test}:bus 99999999999999-1 x y")
			eventually(t, "it is read", func() bool { return b.Stats().Dropped > 0 })
			s.do("DEL sessionauth:{test}:bus")
		}, true, true},
		"a replica is gone without a word": {func(t *testing.T, s *server, _ *redisfleet.Bus) {
			var cut *proxy
			c := s.config()
			cut, c.Redis.InitAddress = through(t, s.addr)
			join(t, c, patientLag)
			cut.close()
		}, true, true},
		"a replica is gone without a word while the clock of Redis stands still": {func(t *testing.T, s *server, b *redisfleet.Bus) {
			var cut *proxy
			c := s.config()
			cut, c.Redis.InitAddress = through(t, s.addr)
			join(t, c, patientLag)
			s.do("XADD sessionauth:{test}:bus 99999999999999-1 x y")
			eventually(t, "it is read", func() bool { return b.Stats().Dropped > 0 })
			cut.close()
		}, true, true},
		"a replica is closed": {func(t *testing.T, s *server, _ *redisfleet.Bus) {
			b, _ := join(t, s.config(), patientLag)
			closeBus(t, b)
		}, false, false},
		"it was frozen": {func(t *testing.T, s *server, b *redisfleet.Bus) {
			s.signal(syscall.SIGSTOP)
			eventually(t, "it is not heard", func() bool { return !b.Stats().Heard })
			if err := b.Publish(t.Context(), forgotten(t, 7)); !errors.Is(err, redisfleet.ErrNotAccepted) {
				t.Errorf("published to a frozen server: %v", err)
			}
			s.signal(syscall.SIGCONT)
		}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := patientLag
			if test.soon {
				of = lag // is waited for
			}
			s := startRedis(t)
			b, l := join(t, s.config(), of)
			other, _ := join(t, s.config(), of)
			l.until(t, "heard")
			test.happens(t, s, other)
			var all []event
			if test.lost {
				all = l.until(t, "lost")
			}
			all = append(all, l.until(t, "heard")...)
			for range pulsesToWait {
				all = append(all, l.until(t, "heard")...)
			}
			if got := count(all, "lost") > 0; got != test.lost {
				t.Errorf("%d times something was lost", count(all, "lost"))
			}
			publish(t, other, 1)
			l.untilApplied(t, 1)
			publish(t, b, 2)
		})
	}
}

// pulsesToWait are those of more than a Lag.
const pulsesToWait = 5

// TestWhoCanWriteToRedisCanForgeReplayAndHideNothing, without the secret.
func TestWhoCanWriteToRedisCanForgeReplayAndHideNothing(t *testing.T) {
	s := startRedis(t)
	other := s.config()
	other.Secrets = []string{strings.ToUpper(secret)}
	b, l := join(t, s.config(), patientLag)
	stranger, _ := join(t, other, patientLag) // on the same stream
	publish(t, b, 1)
	l.until(t, "apply")
	publish(t, stranger, 2)
	raw := s.entries()
	for _, entry := range raw {
		value := entry.FieldValues["e"]
		s.do("XADD sessionauth:{test}:bus * e", value)                // replayed
		s.do("XADD sessionauth:{test}:bus * e", value[:len(value)/2]) // cut
		s.do("XADD sessionauth:{test}:bus * e", value+"x")
		for _, at := range []int{0, 1, 2, 12, 20, 30, len(value) - 1} { // changed
			s.do("XADD sessionauth:{test}:bus * e", value[:at]+string(value[at]^1)+value[at+1:])
		}
	}
	s.do("XADD sessionauth:{test}:bus * e", strings.Repeat("x", 1<<20))
	s.do("XADD sessionauth:{test}:bus * other field")
	all := l.until(t, "heard")
	if count(all, "apply")+count(all, "lost") != 0 {
		t.Errorf("%d forged or replayed messages were heard, %d times everything was forgotten", count(all, "apply"), count(all, "lost"))
	}
	if st := b.Stats(); st.Dropped == 0 || st.Stale == 0 {
		t.Errorf("not counted: %+v", st)
	}
	publish(t, b, 3)
	publish(t, b, 4)
	// Somebody who has not heard it yet, and for whom it is deleted.
	for _, entry := range s.entries() {
		if strings.Contains(entry.FieldValues["e"], fmt.Sprintf("%032d", 3)) {
			s.do("XDEL sessionauth:{test}:bus " + entry.ID)
		}
	}
	victim, late := newBus(t, s.config()), newListener(patientLag)
	if err := victim.Follow(late); err != nil {
		t.Fatal(err)
	}
	if all := late.until(t, "heard"); count(all, "lost") != 2 {
		t.Errorf("what was deleted is not noticed: %d times something was lost", count(all, "lost")-1)
	}
}

func TestSecretsOfABusRotate(t *testing.T) {
	s := startRedis(t)
	next := strings.ToUpper(secret)
	with := func(secrets ...string) redisfleet.Config {
		c := s.config()
		c.Secrets = secrets
		return c
	}
	steps := []redisfleet.Config{with(secret), with(secret, next), with(next, secret), with(next)}
	for i := range len(steps) - 1 {
		one, a := join(t, steps[i], patientLag)
		other, b := join(t, steps[i+1], patientLag)
		publish(t, one, 1)
		b.until(t, "apply")
		a.until(t, "apply")
		publish(t, other, 2)
		a.until(t, "apply")
		closeBus(t, one)
		closeBus(t, other)
	}
}

// leastACL is what docs/fleet.md says a replica needs to be allowed.
const leastACL = "on >pw resetkeys ~sessionauth:{test}:* ~sessionauth:s:test:* resetchannels -@all +hello +ping +xadd +xread +xrange +xrevrange +set +get +del"

func TestTheLeastACLIsEnough(t *testing.T) {
	s := startRedis(t)
	s.do("ACL SETUSER fleet " + leastACL)
	c := s.config()
	c.Redis.Username, c.Redis.Password = "fleet", "pw"
	b, _ := join(t, c, patientLag)
	publish(t, b, 1)
	if st := b.Stats(); st.Errors != 0 {
		t.Errorf("%+v", st)
	}
}

func TestABusThatIsDownAtFirstIsHeardWhenItIsThere(t *testing.T) {
	s := startRedis(t)
	s.kill()
	b, l := newBus(t, s.config()), newListener(lag)
	if err := b.Follow(l); err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), forgotten(t, 1)); !errors.Is(err, redisfleet.ErrNotAccepted) {
		t.Errorf("published to nobody: %v", err)
	}
	if st := b.Stats(); st.Heard || st.Lost != 0 {
		t.Errorf("%+v", st)
	}
	s.start()
	if all := l.until(t, "heard"); count(all, "apply") != 1 {
		t.Errorf("%d messages were heard, want the one that was not accepted at first", count(all, "apply"))
	}
}

func TestABadConfigurationFailsTheConstructor(t *testing.T) {
	good := redisfleet.Config{Redis: rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}, Name: "x", Secrets: []string{secret}}
	for want, change := range map[string]func(*redisfleet.Config){
		"Name: \"\"":                        func(c *redisfleet.Config) { c.Name = "" },
		"Name: \"a b\"":                     func(c *redisfleet.Config) { c.Name = "a b" },
		"Name: \"{x}\"":                     func(c *redisfleet.Config) { c.Name = "{x}" },
		"Secrets: there are 0, want 1 to 3": func(c *redisfleet.Config) { c.Secrets = nil },
		"Secrets: number 2 has 31 bytes, want 32 or more of random ones":                  func(c *redisfleet.Config) { c.Secrets = append(c.Secrets, secret[1:]) },
		"Secrets: number 2 is there twice":                                                func(c *redisfleet.Config) { c.Secrets = append(c.Secrets, secret) },
		"Retention, Wait and Budget must not be negative":                                 func(c *redisfleet.Config) { c.Retention = -1 },
		"Wait: 15ms is too short for a Budget of 5ms, want more than three times as long": func(c *redisfleet.Config) { c.Wait = 15 * time.Millisecond },
		"Redis: InitAddress names no server":                                              func(c *redisfleet.Config) { c.Redis.InitAddress = nil },
	} {
		c := good
		c.Secrets = slices.Clone(good.Secrets)
		change(&c)
		b, err := redisfleet.NewBus(c)
		if b != nil || err == nil || !strings.HasPrefix(err.Error(), "redisfleet: "+want) || strings.Contains(err.Error(), secret[1:]) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b, err := redisfleet.NewBus(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Follow(newListener(99 * time.Millisecond)); err == nil || err.Error() != "redisfleet: a Lag of 99ms is too short, want 100ms or more" {
		t.Errorf("a short lag: %v", err)
	}
	closeBus(t, b)
	if err := b.Follow(newListener(patientLag)); err == nil {
		t.Error("a closed Bus was followed")
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, b); text != "redisfleet.Bus" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// TestWhatAReplicaSaidLatelyItSaysAgain after an error, for a failover may have dropped it.
func TestWhatAReplicaSaidLatelyItSaysAgain(t *testing.T) {
	s := startRedis(t)
	c := s.config()
	cut, addr := through(t, s.addr)
	c.Redis.InitAddress = addr
	b, _ := join(t, c, lag)
	publish(t, b, 1)
	s.do("DEL sessionauth:{test}:bus") // as if it had never come
	cut.drop(true)
	eventually(t, "it is not heard", func() bool { return !b.Stats().Heard })
	cut.drop(false)
	other, late := newBus(t, s.config()), newListener(patientLag)
	if err := other.Follow(late); err != nil {
		t.Fatal(err)
	}
	late.untilApplied(t, 1)
}

// TestAReplicaThatWasNotHeardMayHaveSaidSomething: when it is given up, but not when it is back
// and says by its number that it has not.
func TestAReplicaThatWasNotHeardMayHaveSaidSomething(t *testing.T) {
	s := startRedis(t)
	follower, l := join(t, s.config(), lag)
	c := s.config()
	cut, addr := through(t, s.addr)
	c.Redis.InitAddress = addr
	b, _ := join(t, c, patientLag)
	publish(t, b, 1)
	l.untilApplied(t, 1)
	eventually(t, "both are heard", func() bool { return follower.Stats().Publishers == 2 })
	before := follower.Stats().Lost
	cut.drop(true)
	eventually(t, "it is given up", func() bool { return follower.Stats().Publishers == 1 })
	if got := follower.Stats().Lost - before; got != 1 {
		t.Errorf("%d times something was lost when it was given up, want 1", got)
	}
	cut.drop(false)
	eventually(t, "it is back", func() bool { return follower.Stats().Publishers == 2 })
	publish(t, b, 2)
	l.untilApplied(t, 2)
	if got := follower.Stats().Lost - before; got != 1 {
		t.Errorf("%d times something was lost in all, want 1", got)
	}
}
