package redisfleet_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// owner is the owner of sessions: a token is good unless it was ended.
type owner struct {
	mu       sync.Mutex
	ended    map[string]time.Time
	down     bool
	gate     chan struct{} // not nil: nobody is answered before it is closed
	verified atomic.Int64
}

type session struct{ User string }

func (o *owner) verify(_ context.Context, token string, _ http.Header) (*session, error) {
	o.verified.Add(1)
	o.mu.Lock()
	gate := o.gate
	o.mu.Unlock()
	if gate != nil {
		<-gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.down:
		return nil, interceptor.ErrUnavailable
	case !o.ended[token].IsZero() || strings.HasPrefix(token, "junk"):
		return nil, interceptor.ErrInvalidSession
	}
	return &session{"user-of-" + token}, nil
}

// shut has nobody answered until open is called.
func (o *owner) shut() (open func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gate = make(chan struct{})
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		close(o.gate)
		o.gate = nil
	}
}

func (o *owner) end(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		o.ended = map[string]time.Time{}
	}
	o.ended[token] = time.Now()
}

func identify(_ context.Context, s *session) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s.User, SessionID: "session-of-" + s.User, Roles: []string{"secret-role"}}, nil
}

// newStore returns a store that has reached Redis, and is closed with the test.
func newStore(t testing.TB, c redisfleet.Config) *redisfleet.Store {
	t.Helper()
	s, err := redisfleet.NewStore(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	eventually(t, "Redis is reached", func() bool {
		s.Fetch(gone, cache.Key{}, nil) // calls have it tried again
		return s.Stats().Reached
	})
	return s
}

// long is a policy under which nothing ends by itself.
var long = interceptor.WithCache(cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour, VerifyTimeout: patience})

func newAuth(t testing.TB, o *owner, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	a, err := interceptor.NewSessionAuth(o.verify, identify, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newReplica is an Authenticator that shares what it verifies, and follows the bus.
func newReplica(t testing.TB, s *server, o *owner) (*interceptor.Authenticator, *redisfleet.Bus, *redisfleet.Store) {
	t.Helper()
	b, store := newBus(t, s.config()), newStore(t, s.config())
	a := newAuth(t, o, long, interceptor.WithBus(b, secret), interceptor.WithLag(patientLag), interceptor.WithSharedCache(store, nil))
	hears(t, b)
	return a, b, store
}

func ask(t testing.TB, a *interceptor.Authenticator, token string, want codes.Code) {
	t.Helper()
	found, err := a.Authenticate(context.Background(), http.Header{"Authorization": {"Bearer " + token}})
	if status.Code(err) != want || err == nil && found.AuthContext().Subject != "user-of-"+token {
		t.Errorf("%s: %v, %v, want %v", token, found.AuthContext(), err, want)
	}
}

// TestOneVerificationForAllReplicas, of a session and of junk, though all see it at once.
func TestOneVerificationForAllReplicas(t *testing.T) {
	s, o := startRedis(t), &owner{}
	replicas := make([]*interceptor.Authenticator, 5)
	for i := range replicas {
		replicas[i], _, _ = newReplica(t, s, o)
	}
	const tokens = 50
	var wg sync.WaitGroup
	for _, a := range replicas {
		for n := range tokens {
			wg.Go(func() { ask(t, a, fmt.Sprint("t", n), codes.OK) })
			wg.Go(func() { ask(t, a, fmt.Sprint("junk", n), codes.Unauthenticated) })
		}
	}
	wg.Wait()
	if got := o.verified.Load(); got != 2*tokens {
		t.Errorf("%d verifications, want %d", got, 2*tokens)
	}
	for _, forget := range []func() error{
		func() error { return replicas[0].ForgetSubject(t.Context(), "user-of-t1") },
		func() error { return replicas[1].Forget(t.Context(), "t1") },
		func() error { return replicas[2].ForgetSession(t.Context(), "session-of-user-of-t1") },
	} {
		if err := forget(); err != nil {
			t.Error(err)
		}
		o.end("t1")
	}
	for i, a := range replicas {
		eventually(t, "it is heard", func() bool {
			return status.Code(authenticate(a, "t1")) == codes.Unauthenticated
		})
		ask(t, replicas[i], "t2", codes.OK)
	}
	if got := o.verified.Load() - 2*tokens; got == 0 || got > 3*int64(len(replicas)) {
		t.Errorf("%d verifications after one session was forgotten", got)
	}
}

func authenticate(a *interceptor.Authenticator, token string) error {
	_, err := a.Authenticate(context.Background(), http.Header{"Authorization": {"Bearer " + token}})
	return err
}

// dump is all that is in Redis: the values of the store by their keys.
func (s *server) dump() map[string]string {
	s.t.Helper()
	keys, err := s.do("KEYS sessionauth:s:*").AsStrSlice()
	if err != nil {
		s.t.Fatal(err)
	}
	values := map[string]string{}
	for _, key := range keys {
		value, err := s.do("GET", key).ToString()
		if err == nil && !strings.HasSuffix(key, ":probe") {
			values[key] = value
		}
	}
	return values
}

// TestWhoOwnsRedisFindsNothingAndChangesNothing: with all rights there, and the secret, but without
// a token.
func TestWhoOwnsRedisFindsNothingAndChangesNothing(t *testing.T) {
	s, o := startRedis(t), &owner{}
	a, _, _ := newReplica(t, s, o)
	ask(t, a, "t1", codes.OK)
	ask(t, a, "t2", codes.OK)
	ask(t, a, "junk", codes.Unauthenticated)
	was := s.dump()
	if len(was) != 3 {
		t.Fatalf("%d values in Redis, want 3", len(was))
	}
	all := fmt.Sprint(was, s.entries())
	for _, telling := range []string{"Bearer", "user-of", "Subject", "secret-role", "session-of"} {
		if strings.Contains(all, telling) {
			t.Errorf("%q can be read in Redis", telling)
		}
	}
	var keys []string
	for key := range was {
		keys = append(keys, key)
	}
	for name, change := range map[string]func(key, value string) string{
		"unchanged":       nil,
		"moved":           func(key, _ string) string { return was[keys[(1+indexOf(keys, key))%len(keys)]] },
		"cut":             func(_, value string) string { return value[:len(value)-1] },
		"empty":           func(string, string) string { return "" },
		"one byte":        func(string, string) string { return "\x01" },
		"another version": func(_, value string) string { return "\x02" + value[1:] },
		"another nonce":   func(_, value string) string { return value[:1] + string(value[1]^1) + value[2:] },
		"a changed byte":  func(_, value string) string { return value[:20] + string(value[20]^1) + value[21:] },
		"1 MiB":           func(string, string) string { return "\x01" + strings.Repeat("x", 1<<20) },
	} {
		for key, value := range was {
			if change != nil {
				value = change(key, value)
			}
			s.do("SET", key, value)
		}
		fresh, _, store := newReplica(t, s, o)
		before := o.verified.Load()
		ask(t, fresh, "t1", codes.OK)
		ask(t, fresh, "t2", codes.OK)
		ask(t, fresh, "junk", codes.Unauthenticated)
		got, dropped := o.verified.Load()-before, store.Stats().Dropped
		if change == nil && (got != 0 || dropped != 0) || change != nil && (got != 3 || dropped == 0) {
			t.Errorf("%s: %d verifications, %d dropped", name, got, dropped)
		}
	}
	// Brought back after its Forget: with the keys, the epoch and the stream as they were before.
	stream, _ := s.do("DUMP sessionauth:{test}:bus").ToString()
	o.end("t1")
	if err := a.Forget(t.Context(), "t1"); err != nil {
		t.Error(err)
	}
	ask(t, a, "t1", codes.Unauthenticated)
	for key, value := range was {
		s.do("SET", key, value)
	}
	ask(t, a, "t1", codes.Unauthenticated)
	fresh, _, _ := newReplica(t, s, o)
	ask(t, fresh, "t1", codes.Unauthenticated)
	epoch, _ := s.do("GET sessionauth:{test}:epoch").ToString()
	s.do("FLUSHALL")
	s.do("SET sessionauth:{test}:epoch", epoch)
	s.do("RESTORE sessionauth:{test}:bus 0", stream, "REPLACE")
	for key, value := range was {
		s.do("SET", key, value)
	}
	ask(t, a, "t1", codes.Unauthenticated)
	newest, _, _ := newReplica(t, s, o) // knows only what is there now, until it hears how far the other is
	eventually(t, "it is refused", func() bool { return status.Code(authenticate(newest, "t1")) == codes.Unauthenticated })
}

func indexOf(all []string, one string) int {
	for i, s := range all {
		if s == one {
			return i
		}
	}
	return -1
}

// TestNoCallIsAllowedOrRefusedBecauseOfRedis, whatever has become of it; and when it is back it is
// used again.
func TestNoCallIsAllowedOrRefusedBecauseOfRedis(t *testing.T) {
	for name, test := range map[string]struct{ breaks, mends func(s *server) }{
		"killed":          {func(s *server) { s.kill() }, func(s *server) { s.start() }},
		"frozen":          {func(s *server) { s.signal(syscall.SIGSTOP) }, func(s *server) { s.signal(syscall.SIGCONT) }},
		"full":            {func(s *server) { s.do("CONFIG SET maxmemory 1") }, func(s *server) { s.do("CONFIG SET maxmemory 0") }},
		"read-only":       {func(s *server) { s.do("REPLICAOF 127.0.0.1 1") }, func(s *server) { s.do("REPLICAOF NO ONE") }},
		"without rights":  {func(s *server) { s.do("ACL SETUSER default -set -get -xadd -xread") }, func(s *server) { s.do("ACL SETUSER default +@all") }},
		"restarted empty": {func(s *server) { s.kill(); s.start() }, func(*server) {}},
	} {
		t.Run(name, func(t *testing.T) {
			s, o := startRedis(t), &owner{}
			c := s.config()
			c.Budget, c.Wait, c.Redis = 0, 0, rueidis.ClientOption{InitAddress: c.Redis.InitAddress}
			bus := newBus(t, s.config())
			hasty := newStore(t, c) // as it is by default
			a := newAuth(t, o, long, interceptor.WithBus(bus, secret), interceptor.WithSharedCache(hasty, nil))
			hears(t, bus)
			ask(t, a, "before", codes.OK)
			test.breaks(s)
			var worst time.Duration
			const calls = 100
			for i := range calls {
				start := time.Now()
				ask(t, a, fmt.Sprint("t", i), codes.OK)
				ask(t, a, fmt.Sprint("junk", i), codes.Unauthenticated)
				worst = max(worst, time.Since(start))
			}
			t.Logf("the slowest of %d calls took %v", calls, worst)
			if got := o.verified.Load(); got != 1+2*calls {
				t.Errorf("%d verifications, want %d", got, 1+2*calls)
			}
			test.mends(s)
			n := 0
			eventually(t, "it is used again", func() bool {
				before := hasty.Stats().Misses
				n++
				ask(t, a, fmt.Sprint("after", n), codes.OK)
				return hasty.Stats().Misses > before && bus.Stats().Heard
			})
			eventually(t, "the bus accepts again", func() bool {
				err := a.ForgetAll(t.Context())
				if err != nil && !errors.Is(err, redisfleet.ErrNotAccepted) {
					t.Fatal(err)
				}
				return err == nil
			})
		})
	}
}

func TestAStoreThatIsDownAtFirst(t *testing.T) {
	s, o := startRedis(t), &owner{}
	s.kill()
	store, err := redisfleet.NewStore(s.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	a := newAuth(t, o, long, interceptor.WithSharedCache(store, nil))
	ask(t, a, "t1", codes.OK)
	s.start()
	n := 0
	eventually(t, "Redis is reached", func() bool {
		n++
		ask(t, a, fmt.Sprint("t", n), codes.OK)
		return store.Stats().Reached
	})
	wrong := s.config()
	wrong.Redis.Username, wrong.Redis.Password = "nobody", "wrong"
	locked, err := redisfleet.NewStore(wrong)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(locked.Close)
	ask(t, newAuth(t, o, long, interceptor.WithSharedCache(locked, nil)), "t1", codes.OK)
}

// TestAReplicaThatDiesWhileItVerifiesHoldsUpNobodyForLong.
func TestAReplicaThatDiesWhileItVerifiesHoldsUpNobodyForLong(t *testing.T) {
	s := startRedis(t)
	c := s.config()
	c.Budget, c.Wait = 500*time.Millisecond, 2*time.Second // half of which is left of the lock when that gives up
	dead, alive := newStore(t, c), newStore(t, c)
	usable := func([]byte) bool { return true }
	tries := 0
	eventually(t, "the other gets its turn", func() bool { // on a busy machine, a store gives up now and then
		tries++
		key := cache.NewKey(fmt.Sprint(tries))
		if _, settle := dead.Fetch(t.Context(), key, usable); settle == nil {
			return false
		} // it is not called
		_, settle := alive.Fetch(t.Context(), key, usable)
		if settle == nil {
			return false
		}
		settle([]byte("record"), time.Minute)
		record, settle := dead.Fetch(t.Context(), key, usable)
		if settle != nil {
			settle(nil, 0)
		}
		return string(record) == "record"
	})
}

func TestTheLeastACLIsEnoughForAStore(t *testing.T) {
	s := startRedis(t)
	s.do("ACL SETUSER fleet " + leastACL)
	c := s.config()
	c.Redis.Username, c.Redis.Password = "fleet", "pw"
	store := newStore(t, c)
	_, settle := store.Fetch(t.Context(), cache.NewKey("x"), func([]byte) bool { return true })
	settle([]byte("record"), time.Minute)
	record, _ := store.Fetch(t.Context(), cache.NewKey("x"), func([]byte) bool { return true })
	if st := store.Stats(); string(record) != "record" || st.Errors != 0 {
		t.Errorf("%q, %+v", record, st)
	}
	if keys, _ := s.do("KEYS *lock").AsStrSlice(); len(keys) != 0 {
		t.Errorf("a lock is left: %v", keys)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb, store); text != "redisfleet.Store" {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}

// FuzzValue: whatever is in Redis, it is refused, or what was sealed for that very key.
func FuzzValue(f *testing.F) {
	f.Add([]byte(nil), []byte("record"))
	f.Add([]byte("\x01"+strings.Repeat("x", 100)), []byte{})
	f.Fuzz(func(t *testing.T, data, record []byte) {
		if redisfleet.OpensValue(data) {
			t.Errorf("%x is taken for a value", data)
		}
		if err := redisfleet.SealsValue(record); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkFetch(b *testing.B) {
	s := startRedis(b)
	store := newStore(b, s.config())
	yes := func([]byte) bool { return true }
	_, settle := store.Fetch(b.Context(), cache.NewKey("hit"), yes)
	settle(make([]byte, 300), time.Hour)
	b.Run("hit", func(b *testing.B) {
		for b.Loop() {
			store.Fetch(b.Context(), cache.NewKey("hit"), yes)
		}
	})
	b.Run("miss", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_, settle := store.Fetch(b.Context(), cache.NewKey("miss", fmt.Sprint(i)), yes)
			settle(make([]byte, 300), time.Second)
		}
	})
	down := s.config()
	down.Redis = rueidis.ClientOption{InitAddress: []string{"127.0.0.1:1"}}
	none, err := redisfleet.NewStore(down)
	if err != nil {
		b.Fatal(err)
	}
	defer none.Close()
	b.Run("no Redis", func(b *testing.B) {
		for b.Loop() {
			none.Fetch(b.Context(), cache.NewKey("hit"), yes)
		}
	})
}
