package sessionauth_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestOneWhoVariesWhatItSendsDisplacesNobody: each variation is a key of its own, and one
// subject's keys have a share of the cache only.
func TestOneWhoVariesWhatItSendsDisplacesNobody(t *testing.T) {
	const entries, victims = 1000, 900
	for name, policy := range map[string]cache.Policy{
		"by default":         {TTL: time.Hour, MaxEntries: entries},
		"with MaxPerSubject": {TTL: time.Hour, MaxEntries: entries, MaxPerSubject: 5},
	} {
		for how, header := range map[string]func(i int) http.Header{
			"a second cookie of the name": func(i int) http.Header { return http.Header{"Cookie": {fmt.Sprintf("sid=mallory; sid=%d", i)}} },
			"a bearer token beside it":    func(i int) http.Header { return http.Header{"Cookie": {"sid=mallory"}, "X-Other": {fmt.Sprint(i)}} },
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				var asked [2]atomic.Int64 // for victims, for mallory
				verify := func(_ context.Context, token string, _ http.Header) (string, error) {
					if token == "mallory" {
						asked[1].Add(1)
					} else {
						asked[0].Add(1)
					}
					return token, nil
				}
				a, err := interceptor.NewSessionAuth(verify, subjectOf, interceptor.WithCache(policy),
					interceptor.WithExtractors(authmd.Cookie("sid"), authmd.HeaderToken("X-Other")))
				if err != nil {
					t.Fatal(err)
				}
				everybody := func() {
					for i := range victims {
						if _, err := a.Authenticate(t.Context(), http.Header{"Cookie": {fmt.Sprintf("sid=victim-%d", i)}}); err != nil {
							t.Fatal(err)
						}
					}
				}
				everybody()
				for i := range 2000 {
					if _, err := a.Authenticate(t.Context(), header(i)); err != nil {
						t.Fatal(err)
					}
				}
				everybody()
				// A few may share their place with others and have less room: see MaxPerSubject.
				if got := asked[0].Load(); got > victims+5 {
					t.Errorf("%d verifications for %d victims", got, victims)
				}
				if got := asked[1].Load(); got != 2000 {
					t.Errorf("%d verifications of mallory: what varies is no key", got)
				}
				if got := a.Stats().Entries; got > victims+max(policy.MaxPerSubject, 32) {
					t.Errorf("%d entries", got)
				}
			})
		}
	}
}

// TestVerificationsAreBoundedByDefault: whatever the callers do, they go away for one,
// there are so many at most that run.
func TestVerificationsAreBoundedByDefault(t *testing.T) {
	for setup, opts := range map[string][]interceptor.Option{"cached": {hour}, "not cached": nil} {
		for claim, stay := range map[string]time.Duration{"all callers gone": 10 * time.Millisecond, "all callers waiting": time.Hour} {
			t.Run(setup+", "+claim, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var running, most atomic.Int64
					verify := func(context.Context, string, http.Header) (string, error) {
						if n := running.Add(1); n > most.Load() {
							most.Store(n)
						}
						defer running.Add(-1)
						time.Sleep(time.Minute) // whatever its context says
						return "ada", nil
					}
					a, err := interceptor.NewSessionAuth(verify, subjectOf, opts...)
					if err != nil {
						t.Fatal(err)
					}
					var wg sync.WaitGroup
					start := time.Now()
					for i := range 3 * cache.DefaultMaxVerifies {
						wg.Go(func() {
							ctx, cancel := context.WithTimeout(t.Context(), stay)
							defer cancel()
							if _, err := a.Authenticate(ctx, bearerHeader(fmt.Sprint("t", i))); err == nil {
								t.Error("authenticated")
							} else if ctx.Err() == nil {
								unavailable.check(t, err)
							}
						})
					}
					wg.Wait()
					if took := time.Since(start); took > cache.DefaultVerifyTimeout {
						t.Errorf("the last one waited for %v", took)
					}
					if got := most.Load(); got != cache.DefaultMaxVerifies {
						t.Errorf("%d verifications at once, want %d", got, cache.DefaultMaxVerifies)
					}
					time.Sleep(2 * time.Minute)
					if _, err := a.Authenticate(t.Context(), bearerHeader("later")); running.Load() > 1 {
						t.Errorf("%d still run, %v", running.Load(), err)
					}
					time.Sleep(2 * time.Minute)
				})
			})
		}
	}
}

// TestRechecksAreBoundedWithoutACache, too: many open streams are verified a few at a time.
func TestRechecksAreBoundedWithoutACache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = cache.DefaultMaxVerifies / 4
		var running, seen atomic.Int64
		var slow atomic.Bool
		a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (string, error) {
			if slow.Load() {
				seen.Store(max(seen.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
			}
			return token, nil
		}, subjectOf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 * most {
			found, err := a.Authenticate(t.Context(), bearerHeader(fmt.Sprint(i)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := found.Session.Watch(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer found.Session.Close()
		}
		slow.Store(true)
		_ = a.ForgetAll(t.Context())
		time.Sleep(time.Minute)
		if n := seen.Load(); n != most {
			t.Errorf("%d verifications at once, want %d", n, most)
		}
	})
}

// TestRechecksHaveRoomOfTheirOwn: a flood of new calls does not keep an open stream from
// being verified, with a cache or without.
func TestRechecksHaveRoomOfTheirOwn(t *testing.T) {
	for setup, opts := range map[string][]interceptor.Option{"cached": {hour}, "not cached": nil} {
		t.Run(setup, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out atomic.Bool
				verify := func(_ context.Context, token string, _ http.Header) (string, error) {
					switch {
					case token != "t1":
						time.Sleep(time.Minute)
					case out.Load():
						return "", interceptor.ErrInvalidSession
					}
					return token, nil
				}
				a, err := interceptor.NewSessionAuth(verify, subjectOf, opts...)
				if err != nil {
					t.Fatal(err)
				}
				client := serve(t, newPatient(), a.ServerOptions()...)
				receive := openStreams["bidi stream"](long(t, "t1"), client)
				var wg sync.WaitGroup
				for i := range 2 * cache.DefaultMaxVerifies {
					wg.Go(func() { _, _ = a.Authenticate(t.Context(), bearerHeader(fmt.Sprint("junk", i))) })
				}
				synctest.Wait()
				out.Store(true)
				_ = a.Forget(t.Context(), "t1")
				if after := endOf(t, receive, invalid); after > time.Second {
					t.Errorf("ended %v after the Forget", after)
				}
				wg.Wait()
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// TestAStreamOutlastsAWantOfRoom: that its session could not be verified because others were
// being verified says nothing about it, and is tried again.
func TestAStreamOutlastsAWantOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow, out atomic.Bool
		verify := func(_ context.Context, token string, _ http.Header) (string, error) {
			switch {
			case token == "slow" && slow.Load():
				time.Sleep(3 * time.Second) // whatever its context says
			case out.Load():
				return "", interceptor.ErrInvalidSession
			}
			return token, nil
		}
		policy := cache.Policy{TTL: time.Hour, MaxVerifies: 4, VerifyTimeout: time.Second} // room for one recheck
		a, err := interceptor.NewSessionAuth(verify, subjectOf, interceptor.WithCache(policy))
		if err != nil {
			t.Fatal(err)
		}
		client := serve(t, newPatient(), a.ServerOptions()...)
		other, receive := openStreams["bidi stream"](long(t, "slow"), client), openStreams["bidi stream"](long(t, "t1"), client)
		synctest.Wait()
		slow.Store(true)
		_ = a.Forget(t.Context(), "slow")
		synctest.Wait()
		_ = a.Forget(t.Context(), "t1")
		_ = endOf(t, other, unavailable)
		time.Sleep(5 * time.Second)
		out.Store(true)
		_ = a.Forget(t.Context(), "t1")
		if after := endOf(t, receive, invalid); after > time.Second {
			t.Errorf("ended %v after the Forget", after)
		}
	})
}
