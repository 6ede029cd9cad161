package sessionauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// asker asks an Authenticator with a token and counts what its owner is asked.
type asker struct {
	t *testing.T
	o *owner
	a *interceptor.Authenticator
}

// wants asks with t1 and compares with what the owner is asked, and what is answered.
func (k asker) wants(claim string, verified int64, code codes.Code) {
	k.t.Helper()
	before := k.o.verified.Load()
	_, err := k.a.Authenticate(k.t.Context(), bearerHeader("t1"))
	if got := k.o.verified.Load() - before; got != verified || status.Code(err) != code {
		k.t.Errorf("%s: %d verifications and %v, want %d and %v", claim, got, err, verified, code)
	}
}

// TestAReplicaThatIsCutOffTrustsNothingOlderThanItsLag: it behaves as if its TTL were that, and
// StaleIfError lengthens that.
func TestAReplicaThatIsCutOffTrustsNothingOlderThanItsLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bus{}
		o := newOwner("t1")
		k := asker{t, o, newAuth(t, o, hour, interceptor.WithBus(b, busSecret), interceptor.WithLag(2*time.Second))}
		k.wants("the first call", 1, codes.OK)
		for range 10 {
			time.Sleep(time.Second)
			b.hear()
			k.wants("while the bus is heard", 0, codes.OK)
		}
		time.Sleep(2*time.Second - 1)
		k.wants("within the lag", 0, codes.OK)
		time.Sleep(time.Nanosecond)
		k.wants("cut off", 1, codes.OK)
		time.Sleep(2*time.Second - 1)
		k.wants("within the lag of its verification", 0, codes.OK)
		time.Sleep(time.Nanosecond)
		k.wants("cut off still", 1, codes.OK)
		o.setFail(interceptor.ErrUnavailable)
		time.Sleep(2 * time.Second)
		k.wants("and the owner away", 1, codes.Unavailable)
		b.hear()
		k.wants("heard again, and nothing missed", 0, codes.OK)
		o.setFail(nil)
		b.members[0].Lost(fleet.Position{Epoch: 2})
		k.wants("messages may have been lost", 1, codes.OK)
		time.Sleep(2 * time.Second)
		k.wants("and the bus has not been heard since", 1, codes.OK)
	})
}

// TestLostEndsWhatWasHeard, however long that was to hold; and a shared session is fetched while it is
// younger than RefreshAfter only.
func TestLostEndsWhatWasHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, o, s := &bus{}, newOwner("t1"), &store{}
		policy := interceptor.WithCache(cache.Policy{TTL: time.Hour, RefreshAfter: time.Minute})
		opts := []interceptor.Option{policy, interceptor.WithBus(b, busSecret), interceptor.WithSharedCache(s, nil)}
		k, late := asker{t, o, newAuth(t, o, opts...)}, asker{t, o, newAuth(t, o, opts...)}
		for _, f := range b.members {
			f.Heard(b.at, time.Now().Add(24*time.Hour))
		}
		k.wants("the first call", 1, codes.OK)
		time.Sleep(time.Minute)
		late.wants("another, when it is to be refreshed", 1, codes.OK)
		b.members[0].Lost(fleet.Position{Epoch: 1, Number: 1})
		k.wants("lost", 1, codes.OK)
		time.Sleep(fleet.DefaultLag)
		k.wants("and not heard for the lag", 1, codes.OK)
	})
}

func TestStaleIfErrorLengthensTheLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("t1")
		k := asker{t, o, newAuth(t, o, interceptor.WithCache(cache.Policy{TTL: time.Hour, StaleIfError: time.Minute}), interceptor.WithBus(&bus{}, busSecret))}
		k.wants("the first call", 1, codes.OK)
		time.Sleep(fleet.DefaultLag)
		k.wants("cut off, and the owner is there", 1, codes.OK)
		o.setFail(interceptor.ErrUnavailable)
		time.Sleep(30 * time.Second)
		_, err := k.a.Authenticate(t.Context(), bearerHeader("t1"))
		if err != nil {
			t.Errorf("half of StaleIfError after the lag: %v", err)
		}
		time.Sleep(31 * time.Second)
		if _, err = k.a.Authenticate(t.Context(), bearerHeader("t1")); status.Code(err) != codes.Unavailable {
			t.Errorf("when StaleIfError and the lag are over: %v", err)
		}
	})
}

// TestHearingOnesOwnForgetVerifiesNothingAgain: it cost 200 verifications for 100 sessions.
func TestHearingOnesOwnForgetVerifiesNothingAgain(t *testing.T) {
	b := &bus{held: true}
	o := newOwner("t1")
	k := asker{t, o, newAuth(t, o, hour, interceptor.WithBus(b, busSecret))}
	for _, forget := range []func() error{
		func() error { return k.a.Forget(t.Context(), "t1") }, func() error { return k.a.ForgetAll(t.Context()) },
	} {
		if err := forget(); err != nil {
			t.Error(err)
		}
		k.wants("forgotten", 1, codes.OK)
		for range 2 { // late, and twice
			for i, data := range b.wire {
				var f fleet.Forgotten
				if err := f.UnmarshalBinary(data); err != nil {
					t.Fatal(err)
				}
				b.members[0].Apply(f, fleet.Position{Epoch: 1, Number: uint64(i + 1)})
			}
			k.wants("its own message", 0, codes.OK)
		}
	}
}

func TestALocalBusJoinsAuthenticatorsAndIsNeverCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, o := fleet.NewLocal(), newOwner("t1")
		one, other := newAuth(t, o, hour, interceptor.WithBus(b, busSecret)), newAuth(t, o, hour, interceptor.WithBus(b, busSecret))
		k := asker{t, o, other}
		k.wants("the first call", 1, codes.OK)
		time.Sleep(59 * time.Minute)
		k.wants("long after", 0, codes.OK)
		if err := one.ForgetSubject(t.Context(), "user-of-t1"); err != nil {
			t.Error(err)
		}
		k.wants("forgotten by the other", 1, codes.OK)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := one.ForgetAll(gone); !errors.Is(err, context.Canceled) {
			t.Errorf("the caller gave up: %v", err)
		}
		k.wants("which nobody was told", 0, codes.OK)
	})
}

// TestStreamsEndThoughTheBusIsCutOff: what it would have told is found out by asking.
func TestStreamsEndThoughTheBusIsCutOff(t *testing.T) {
	for name, test := range map[string]struct {
		cut    func(*bus)
		within time.Duration
	}{
		"not heard": {func(*bus) {}, fleet.DefaultLag + 5*time.Second},
		"lost":      {func(b *bus) { b.members[0].Lost(fleet.Position{Epoch: 2}) }, time.Second},
	} {
		for _, policy := range []interceptor.Option{nil, hour} {
			t.Run(fmt.Sprint(name, policy != nil), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := &bus{}
					o := newOwner("t1")
					a := newAuth(t, o, policy, interceptor.WithBus(b, busSecret))
					client := serve(t, newPatient(), a.ServerOptions()...)
					receive := openStreams["a client that never sends"](long(t, "t1"), client)
					synctest.Wait()
					for range 20 {
						time.Sleep(500 * time.Millisecond)
						b.hear()
					}
					if got := o.verified.Load(); got != 1 {
						t.Errorf("%d verifications while the bus is heard", got)
					}
					o.set("t1", nil)
					began := time.Now()
					test.cut(b)
					endOf(t, receive, invalid)
					if took := time.Since(began); took > test.within {
						t.Errorf("it ended after %v, want %v at most", took, test.within)
					}
				})
			})
		}
	}
}

func TestContradictionsOfAFleetFailTheConstructor(t *testing.T) {
	unfollowed := errors.New("no such bus")
	withBus := interceptor.WithBus(&bus{}, busSecret)
	for want, opts := range map[string][]interceptor.Option{
		"interceptor: WithLag needs WithBus":                                            {hour, interceptor.WithLag(time.Second)},
		"interceptor: WithLag: 0s must be positive and not above the TTL of 1h0m0s":     {hour, withBus, interceptor.WithLag(0)},
		"interceptor: WithLag: 1h0m1s must be positive and not above the TTL of 1h0m0s": {hour, withBus, interceptor.WithLag(time.Hour + time.Second)},
		"interceptor: WithSharedCache needs WithCache":                                  {interceptor.WithSharedCache(&store{}, nil)},
		"interceptor: WithBus: secret 2 has 5 bytes, want 32 or more of random ones":    {interceptor.WithBus(&bus{}, busSecret, "short")},
		"interceptor: WithBus: secret 2 is there twice":                                 {interceptor.WithBus(&bus{}, busSecret, busSecret)},
		"interceptor: WithBus: 4 secrets, want at most 3":                               {interceptor.WithBus(&bus{}, busSecret, busSecret+"1", busSecret+"2", busSecret+"3")},
		unfollowed.Error(): {interceptor.WithBus(&unfollowable{err: unfollowed}, busSecret)},
	} {
		if a, err := interceptor.NewSessionAuth(newOwner().verify, mapRecord, opts...); a != nil || err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	short := interceptor.WithCache(cache.Policy{TTL: time.Millisecond})
	if _, err := interceptor.NewSessionAuth(newOwner().verify, mapRecord, short, withBus, interceptor.WithSharedCache(nil, nil)); err != nil {
		t.Errorf("the default lag with a shorter TTL: %v", err)
	}
}

type unfollowable struct {
	bus
	err error
}

func (b *unfollowable) Follow(fleet.Follower) error { return b.err }

// TestSecretsRotateWithoutAnOutage: between any two steps of it, whoever was changed first.
func TestSecretsRotateWithoutAnOutage(t *testing.T) {
	const a, b = busSecret, busSecret + "new"
	steps := [][]string{{a}, {a, b}, {b, a}, {b}}
	for i := range len(steps) - 1 {
		for _, pair := range [][2][]string{{steps[i], steps[i+1]}, {steps[i+1], steps[i]}} {
			line, o := fleet.NewLocal(), newOwner("t1")
			one := newAuth(t, o, hour, interceptor.WithBus(line, pair[0][0], pair[0][1:]...))
			k := asker{t, o, newAuth(t, o, hour, interceptor.WithBus(line, pair[1][0], pair[1][1:]...))}
			for name, forget := range map[string]func() error{
				"token":   func() error { return one.Forget(t.Context(), "t1") },
				"subject": func() error { return one.ForgetSubject(t.Context(), "user-of-t1") },
			} {
				_, _ = k.a.Authenticate(t.Context(), bearerHeader("t1"))
				if err := forget(); err != nil {
					t.Error(err)
				}
				k.wants(fmt.Sprint(name, " by who has ", pair[0], " where there is ", pair[1]), 1, codes.OK)
			}
		}
	}
}

// store is a SharedCache in memory. It sees to it that one asks at a time.
type store struct {
	mu      sync.Mutex
	records map[cache.Key][]byte
	change  func([]byte) []byte
	lost    bool // nothing is kept
}

func (s *store) Fetch(_ context.Context, key cache.Key, usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
	s.mu.Lock()
	data, ok := s.records[key]
	if s.change != nil && ok {
		data = s.change(data)
	}
	if ok && usable(data) {
		s.mu.Unlock()
		return data, nil
	}
	return nil, func(data []byte, keep time.Duration) {
		defer s.mu.Unlock()
		if data != nil && keep > 0 && !s.lost {
			if s.records == nil {
				s.records = map[cache.Key][]byte{}
			}
			s.records[key] = data
		}
	}
}

// jsonCodec is a SessionCodec.
type jsonCodec struct{}

func (jsonCodec) Encode(session any) ([]byte, error) { return json.Marshal(session) }

func (jsonCodec) Decode(data []byte) (any, error) {
	var r *record
	return r, json.Unmarshal(data, &r)
}

// slowCodec takes a minute.
type slowCodec struct{ jsonCodec }

func (slowCodec) Encode(session any) ([]byte, error) {
	time.Sleep(time.Minute)
	return json.Marshal(session)
}

// TestASessionThatEndsBeforeItIsAnswered is not served, and its client hears why.
func TestASessionThatEndsBeforeItIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := interceptor.NewSessionAuth(newOwner("t1").verify, func(_ context.Context, r *record) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: r.User, ExpiresAt: time.Now().Add(time.Second)}, nil
		}, interceptor.WithCache(cache.Policy{TTL: time.Hour, VerifyTimeout: time.Hour}), interceptor.WithSharedCache(&store{}, slowCodec{}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Authenticate(t.Context(), bearerHeader("t1"))
		if status.Code(err) != codes.Unauthenticated || reason.Of(err) != reason.SessionExpired {
			t.Error(err)
		}
	})
}

// TestOneVerificationAcrossAFleet, also of a refusal; and it lasts for the TTL from then, not
// from when another got to know of it.
func TestOneVerificationAcrossAFleet(t *testing.T) {
	for name, test := range map[string]struct {
		token string
		code  codes.Code
		ttl   time.Duration
	}{
		"a session": {"t1", codes.OK, time.Minute},
		"a refusal": {"unknown", codes.Unauthenticated, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, line, o := &store{}, fleet.NewLocal(), newOwner("t1")
				replicas := make([]*interceptor.Authenticator, 10)
				for i := range replicas {
					replicas[i] = newAuth(t, o, interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: 10 * time.Second}),
						interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(s, nil))
				}
				ask := func(i int) {
					if _, err := replicas[i].Authenticate(t.Context(), bearerHeader(test.token)); status.Code(err) != test.code {
						t.Error(err)
					}
				}
				var wg sync.WaitGroup
				for i := range 9 {
					wg.Go(func() { ask(i) })
				}
				wg.Wait()
				if got := o.verified.Load(); got != 1 {
					t.Errorf("%d verifications, want 1", got)
				}
				time.Sleep(test.ttl - 1)
				ask(9)
				if got := o.verified.Load(); got != 1 {
					t.Errorf("%d verifications within the TTL, want 1", got)
				}
				time.Sleep(time.Nanosecond)
				ask(9)
				if got := o.verified.Load(); got != 2 {
					t.Errorf("%d verifications when the TTL is over, want 2", got)
				}
			})
		})
	}
}

// TestWhatIsSharedIsNotServedWhereItsForgetIsKnown, whoever was told, in whatever state the bus
// is, and whether it has accepted the Forget or not.
func TestWhatIsSharedIsNotServedWhereItsForgetIsKnown(t *testing.T) {
	for name, test := range map[string]struct {
		between  func(t *testing.T, b *bus, writer, reader *interceptor.Authenticator)
		verified int64
	}{
		"nothing was forgotten": {func(*testing.T, *bus, *interceptor.Authenticator, *interceptor.Authenticator) {}, 0},
		"a stranger": {func(t *testing.T, _ *bus, writer, _ *interceptor.Authenticator) {
			_ = writer.Forget(t.Context(), "t2")
		}, 0},
		"by the writer": {func(t *testing.T, _ *bus, writer, _ *interceptor.Authenticator) {
			_ = writer.ForgetSession(t.Context(), "session-of-t1")
		}, 1},
		"by the reader": {func(t *testing.T, _ *bus, _, reader *interceptor.Authenticator) {
			_ = reader.Forget(t.Context(), "t1")
		}, 1},
		"by the reader, and verified since": {func(t *testing.T, _ *bus, writer, reader *interceptor.Authenticator) {
			_ = reader.Forget(t.Context(), "t1")
			_, _ = writer.Authenticate(t.Context(), bearerHeader("t1"))
		}, 0},
		"by the reader, who has not heard itself": {func(t *testing.T, b *bus, _, reader *interceptor.Authenticator) {
			b.held = true
			_ = reader.Forget(t.Context(), "t1")
			b.hear()
		}, 1},
		"by the reader, who has not heard itself for long": {func(t *testing.T, b *bus, _, reader *interceptor.Authenticator) {
			b.held = true
			_ = reader.Forget(t.Context(), "t1")
			for range 100 {
				time.Sleep(time.Second / 2)
				b.hear()
			}
		}, 1},
		"by the reader, and the bus has not accepted it": {func(t *testing.T, b *bus, _, reader *interceptor.Authenticator) {
			b.held, b.fail = true, errors.New("down")
			_ = reader.Forget(t.Context(), "t1")
			b.held = false
			b.hear()
		}, 1},
		"everything": {func(t *testing.T, _ *bus, writer, _ *interceptor.Authenticator) { _ = writer.ForgetAll(t.Context()) }, 1},
		"the reader may have missed something": {func(_ *testing.T, b *bus, _, _ *interceptor.Authenticator) {
			b.at.Number++
			b.members[1].Lost(b.at)
			b.hear()
		}, 1},
		"the reader may have missed nothing of this": {func(_ *testing.T, b *bus, _, _ *interceptor.Authenticator) {
			b.members[1].Lost(b.at)
			b.hear()
		}, 0},
		"another epoch": {func(_ *testing.T, b *bus, _, _ *interceptor.Authenticator) {
			b.at = fleet.Position{Epoch: 2, Number: 0}
			b.members[1].Lost(b.at)
			b.hear()
		}, 1},
		"the reader is cut off": {func(*testing.T, *bus, *interceptor.Authenticator, *interceptor.Authenticator) {
			time.Sleep(time.Second)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, b, o := &store{}, &bus{at: fleet.Position{Number: 10}}, newOwner("t1", "t2")
				newReplica := func() *interceptor.Authenticator {
					return newAuth(t, o, hour, interceptor.WithBus(b, busSecret), interceptor.WithSharedCache(s, nil))
				}
				writer, reader := newReplica(), newReplica()
				if _, err := writer.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
					t.Fatal(err)
				}
				test.between(t, b, writer, reader)
				asker{t, o, reader}.wants("the reader", test.verified, codes.OK)
			})
		})
	}
}

// TestAShareThatNamesNoBus: what this replica forgets holds here, and the TTL bounds the rest.
func TestAShareThatNamesNoBus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := &store{}, newOwner("t1")
		alone := func() asker { return asker{t, o, newAuth(t, o, hour, interceptor.WithSharedCache(s, nil))} }
		writer, reader := alone(), alone()
		time.Sleep(time.Minute)
		writer.wants("the first call", 1, codes.OK)
		_ = reader.a.Forget(t.Context(), "t1")
		reader.wants("forgotten by the reader", 1, codes.OK)
		time.Sleep(time.Minute)
		alone().wants("one that started after the verification, and may not know what was forgotten", 1, codes.OK)
		time.Sleep(time.Minute)
		late := alone()
		time.Sleep(2 * time.Second)
		_ = writer.a.Forget(t.Context(), "t1")
		writer.wants("the writer", 1, codes.OK)
		late.wants("verified after it started", 0, codes.OK)
	})
}

// TestWhatTravelsIsTheSameOrDoesNot: an identity that is not what the mapper made decides
// otherwise.
func TestWhatTravelsIsTheSameOrDoesNot(t *testing.T) {
	for name, test := range map[string]struct {
		auth     authcontext.AuthContext
		verified int64
	}{
		"all fields": {authcontext.AuthContext{
			Name: "Ada", Roles: []string{"a"}, Scopes: []string{}, Type: "x", SessionID: "s", ExpiresAt: time.Now().Add(time.Hour),
			Claims: map[string]any{"n": 1.5, "l": []any{"x", nil, true}, "m": map[string]any{"k": "v"}},
		}, 1},
		"an int":                  {authcontext.AuthContext{Claims: map[string]any{"n": 1}}, 2},
		"a list of strings":       {authcontext.AuthContext{Claims: map[string]any{"l": []string{"x"}}}, 2},
		"a func":                  {authcontext.AuthContext{Claims: map[string]any{"f": func() {}}}, 2},
		"text that is not UTF-8":  {authcontext.AuthContext{Name: "\xff"}, 2},
		"more than can be stored": {authcontext.AuthContext{Name: strings.Repeat("x", 70<<10)}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			for _, codec := range []fleet.Codec{nil, jsonCodec{}} {
				s, line, o := &store{}, fleet.NewLocal(), newOwner()
				o.set("t1", &record{User: "ada"})
				ask := func() interceptor.Authentication {
					a, err := interceptor.NewSessionAuth(o.verify, func(_ context.Context, r *record) (*authcontext.AuthContext, error) {
						auth := test.auth
						auth.Subject = r.User
						return &auth, nil
					}, hour, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(s, codec))
					if err != nil {
						t.Fatal(err)
					}
					found, err := a.Authenticate(t.Context(), bearerHeader("t1"))
					if err != nil {
						t.Fatal(err)
					}
					return found
				}
				was, is := ask(), ask()
				if got := o.verified.Load(); got != test.verified {
					t.Errorf("%d verifications, want %d", got, test.verified)
				}
				was.AuthContext().ExpiresAt, is.AuthContext().ExpiresAt = was.AuthContext().ExpiresAt.Round(0).UTC(), is.AuthContext().ExpiresAt.UTC()
				if fmt.Sprint(*was.AuthContext(), len(was.AuthContext().Claims)) != fmt.Sprint(*is.AuthContext(), len(is.AuthContext().Claims)) {
					t.Errorf("%v became %v", was.AuthContext(), is.AuthContext())
				}
				session, ok := authcontext.SessionFromContext[*record](is.Identity.NewContext(t.Context()))
				if want := codec != nil || test.verified == 2; ok != want || ok && session.User != "ada" {
					t.Errorf("the session: %v, %t", session, ok)
				}
			}
		})
	}
}

// TestARecordThatWasTamperedWithIsAsGoodAsNone: a SharedCache should see to that, but nothing
// that it returns may crash, or stand for what it does not.
func TestARecordThatWasTamperedWithIsAsGoodAsNone(t *testing.T) {
	changes := map[string]func([]byte) []byte{
		"nothing":       func([]byte) []byte { return nil },
		"another start": func(data []byte) []byte { return append([]byte{9}, data[1:]...) },
		"cut":           func(data []byte) []byte { return data[:len(data)/2] },
		"no subject":    func(data []byte) []byte { return replaced(data, `"Subject":"user-of-t1"`, `"Subject":""`) },
		"a session cut": func(data []byte) []byte { return replaced(data, `"Session":"`, `"Session":"AAAA`) },
		"of the future": func(data []byte) []byte { return replaced(data, `"Verified":"20`, `"Verified":"21`) },
		"of the past":   func(data []byte) []byte { return replaced(data, `"Verified":"2`, `"Verified":"1`) },
		"huge":          func(data []byte) []byte { return append(data, make([]byte, 1<<20)...) },
	}
	for name, change := range changes {
		s, line, o := &store{}, fleet.NewLocal(), newOwner("t1")
		opts := []interceptor.Option{hour, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(s, jsonCodec{})}
		asker{t, o, newAuth(t, o, opts...)}.wants("the first", 1, codes.OK)
		asker{t, o, newAuth(t, o, opts...)}.wants("unchanged", 0, codes.OK)
		for _, data := range maps.Clone(s.records) {
			if was := string(data); string(change([]byte(was))) == was {
				t.Fatalf("%s changes nothing in %s", name, was)
			}
		}
		s.change = func(data []byte) []byte { return change([]byte(string(data))) }
		asker{t, o, newAuth(t, o, opts...)}.wants(name, 1, codes.OK)
	}
}

// crooked is a store, or a codec, that does what it must not.
type crooked struct {
	store
	jsonCodec

	fetch          func(usable func([]byte) bool) ([]byte, func([]byte, time.Duration))
	encode, decode func() ([]byte, error)
}

func (c *crooked) Fetch(ctx context.Context, key cache.Key, usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
	if c.fetch != nil {
		return c.fetch(usable)
	}
	return c.store.Fetch(ctx, key, usable)
}

func (c *crooked) Encode(session any) ([]byte, error) {
	if c.encode != nil {
		return c.encode()
	}
	return c.jsonCodec.Encode(session)
}

func (c *crooked) Decode(data []byte) (any, error) {
	if c.decode != nil {
		return c.decode()
	}
	return c.jsonCodec.Decode(data)
}

// TestAStoreOrACodecThatBreaksItsContractDecidesNothing: the owner is asked, and its word counts.
func TestAStoreOrACodecThatBreaksItsContractDecidesNothing(t *testing.T) {
	const refusedRecord = "\x01" + `{"At":{"Epoch":1},"Verified":"2100-01-01T00:00:00Z"}`
	returns := func(data []byte, settle func([]byte, time.Duration)) func(func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
		return func(func([]byte) bool) ([]byte, func([]byte, time.Duration)) { return data, settle }
	}
	for name, broken := range map[string]*crooked{
		"Fetch panics":                      {fetch: func(func([]byte) bool) ([]byte, func([]byte, time.Duration)) { panic("x") }},
		"nothing":                           {fetch: returns(nil, nil)},
		"a record that was not asked about": {fetch: returns([]byte(refusedRecord), nil)},
		"a record that may not be used": {fetch: func(usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
			usable([]byte(refusedRecord))
			return []byte(refusedRecord), nil
		}},
		"a record, and the turn":  {fetch: returns([]byte(refusedRecord), func([]byte, time.Duration) {})},
		"settle panics":           {fetch: returns(nil, func([]byte, time.Duration) { panic("x") })},
		"Encode panics":           {encode: func() ([]byte, error) { panic("x") }},
		"Encode ends in an error": {encode: func() ([]byte, error) { return nil, errors.New("x") }},
		"Decode panics":           {decode: func() ([]byte, error) { panic("x") }},
		"Decode ends in an error": {decode: func() ([]byte, error) { return nil, errors.New("x") }},
		"Decode returns nil":      {decode: func() ([]byte, error) { return nil, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			line, o := fleet.NewLocal(), newOwner("t1")
			for range 2 {
				a := newAuth(t, o, hour, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(broken, broken))
				asker{t, o, a}.wants("a good session", 1, codes.OK)
				_, err := a.Authenticate(t.Context(), bearerHeader("unknown"))
				if broken.fetch != nil && status.Code(err) != codes.Unauthenticated {
					t.Errorf("no such session: %v", err)
				}
			}
		})
	}
}

// TestACutOffDuringTheFetch: what the store took too long to return is not known to stand.
func TestACutOffDuringTheFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, o, s := &bus{}, newOwner("t1"), &crooked{}
		opts := []interceptor.Option{hour, interceptor.WithBus(b, busSecret), interceptor.WithSharedCache(s, nil)}
		asker{t, o, newAuth(t, o, opts...)}.wants("the first", 1, codes.OK)
		k := asker{t, o, newAuth(t, o, opts...)}
		s.change = func(data []byte) []byte {
			time.Sleep(fleet.DefaultLag)
			return data
		}
		k.wants("another", 1, codes.OK)
	})
}

func replaced(data []byte, was, is string) []byte {
	return []byte(strings.Replace(string(data), was, is, 1))
}

// FuzzForgotten: whatever is on the bus, it is refused or comes out as it went in.
func FuzzForgotten(f *testing.F) {
	f.Add([]byte{3, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add(append([]byte{4}, make([]byte, 16)...))
	f.Add(append([]byte{3}, make([]byte, 32)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var read fleet.Forgotten
		if read.UnmarshalBinary(data) != nil {
			return
		}
		if again, err := read.MarshalBinary(); err != nil || string(again) != string(data) {
			t.Errorf("%x came out as %x, %v", data, again, err)
		}
	})
}

// FuzzRecord: whatever a SharedCache returns, there is a verification or the identity.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x01{}"))
	f.Add([]byte(`` + "\x01" + `{"At":{"Epoch":1},"Verified":"2026-01-01T00:00:00Z","Auth":{"Subject":"x"},"Whole":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, o := &store{records: map[cache.Key][]byte{}}, newOwner("t1")
		a := newAuth(t, o, hour, interceptor.WithSharedCache(&always{s, data}, jsonCodec{}))
		if _, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil || o.verified.Load() != 1 {
			t.Errorf("%v, %d verifications", err, o.verified.Load())
		}
	})
}

// always finds these data.
type always struct {
	*store
	data []byte
}

func (s *always) Fetch(_ context.Context, _ cache.Key, usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
	if usable(s.data) {
		return s.data, nil
	}
	return nil, func([]byte, time.Duration) {}
}

// BenchmarkApply is what it costs to hear of one Forget of another replica, at the rate of a minute of
// 10,000 a second, with and without a shared cache.
func BenchmarkApply(b *testing.B) {
	for name, share := range map[string]fleet.Store{"bus": nil, "bus and shared cache": &store{}} {
		b.Run(name, func(b *testing.B) {
			line := &bus{}
			a, err := interceptor.NewSessionAuth(newOwner("t1").verify, mapRecord, hour, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(share, nil))
			if err != nil {
				b.Fatal(err)
			}
			messages := make([]fleet.Forgotten, 600_000)
			for i := range messages {
				if err := messages[i].UnmarshalBinary(fmt.Appendf([]byte{3}, "%016d%016d", 1, i*7919)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				line.at.Number++
				line.members[0].Apply(messages[i%len(messages)], line.at)
			}
			runtime.KeepAlive(a)
		})
	}
}

// BenchmarkFencedHit is a hit without a bus, with one, and with a shared cache behind it: in memory it
// costs the same.
func BenchmarkFencedHit(b *testing.B) {
	for _, test := range []struct {
		name string
		opts []interceptor.Option
	}{
		{"alone", nil},
		{"bus", []interceptor.Option{interceptor.WithBus(fleet.NewLocal(), busSecret)}},
		{"bus and shared cache", []interceptor.Option{interceptor.WithBus(fleet.NewLocal(), busSecret), interceptor.WithSharedCache(&store{}, nil)}},
	} {
		for _, expires := range []time.Time{{}, time.Now().Add(24 * time.Hour)} {
			b.Run(fmt.Sprintf("%s, expiring=%t", test.name, !expires.IsZero()), func(b *testing.B) {
				o := newOwner()
				o.set("t1", &record{User: "ada", Expires: expires})
				a, err := interceptor.NewSessionAuth(o.verify, mapRecord, append(test.opts, hour)...)
				if err != nil {
					b.Fatal(err)
				}
				header := bearerHeader("t1")
				b.ReportAllocs()
				for b.Loop() {
					if _, err := a.Authenticate(b.Context(), header); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestWhatAnotherVerifiedIsCountedAsFetched, and there is no span of a verification.
func TestWhatAnotherVerifiedIsCountedAsFetched(t *testing.T) {
	s, line, o := &store{}, fleet.NewLocal(), newOwner("t1")
	reader := sdkmetric.NewManualReader()
	opts := []interceptor.Option{hour, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(s, nil)}
	asker{t, o, newAuth(t, o, opts...)}.wants("the first", 1, codes.OK)
	a := newAuth(t, o, append(opts, interceptor.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))...)
	k := asker{t, o, a}
	k.wants("another", 0, codes.OK)
	k.wants("again", 0, codes.OK)
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	counted := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == telemetry.MetricAuthentications {
				for _, point := range data.DataPoints {
					result, _ := point.Attributes.Value(telemetry.KeyResult)
					counted[result.AsString()] += point.Value
				}
			}
		}
	}
	if len(counted) != 2 || counted["fetched"] != 1 || counted["hit"] != 1 {
		t.Errorf("counted %v", counted)
	}
}
