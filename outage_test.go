package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// away is an owner that can be away in several ways, and takes its time.
type away struct {
	mode    atomic.Value // a func(context.Context) (*record, error)
	started atomic.Int64
}

func answers(r *record, err error) func(context.Context) (*record, error) {
	return func(context.Context) (*record, error) { return r, err }
}

func (o *away) set(mode func(context.Context) (*record, error)) { o.mode.Store(mode) }

func (o *away) verify(ctx context.Context, _ string, _ http.Header) (*record, error) {
	o.started.Add(1)
	mode, _ := o.mode.Load().(func(context.Context) (*record, error))
	return mode(ctx)
}

// timeline calls an Authenticator at moments of its own choosing.
type timeline struct {
	t     *testing.T
	a     *interceptor.Authenticator
	owner *away
	start time.Time
}

func newTimeline(t *testing.T, policy cache.Policy, opts ...interceptor.Option) *timeline {
	t.Helper()
	o := &away{}
	o.set(answers(&record{User: "ada"}, nil))
	a, err := interceptor.NewSessionAuth(o.verify, mapRecord, append(opts, interceptor.WithCache(policy))...)
	if err != nil {
		t.Fatal(err)
	}
	return &timeline{t, a, o, time.Now()}
}

// anyNumber is for moments at which it does not matter how often the owner was asked.
const anyNumber = -1

// at moves on to a moment after the start and calls; want is nil for success. The
// call must have come back after took, and the owner must have been asked so often
// in all when the dust has settled.
func (l *timeline) at(moment time.Duration, want *refusal, took time.Duration, asked int64) {
	l.t.Helper()
	time.Sleep(moment - time.Since(l.start))
	before := time.Now()
	_, err := l.a.Authenticate(l.t.Context(), bearerHeader("t1"))
	if got := time.Since(before); got != took {
		l.t.Errorf("at %v: the call took %v, want %v", moment, got, took)
	}
	switch {
	case want != nil:
		want.check(l.t, err)
	case err != nil:
		l.t.Errorf("at %v: %v", moment, err)
	}
	synctest.Wait()
	if got := l.owner.started.Load(); asked != anyNumber && got != asked {
		l.t.Errorf("at %v: the owner was asked %d times, want %d", moment, got, asked)
	}
}

const s = time.Second

func TestStaleIfError(t *testing.T) {
	dead := answers(nil, interceptor.ErrUnavailable)
	policy := cache.Policy{TTL: 10 * s, StaleIfError: 60 * s}
	// Probes of an owner that is away come about once a second and more seldom later,
	// with jitter, so there are bounds on their number only.
	steadily := func(l *timeline, from, to time.Duration) (asked int64) {
		before := l.owner.started.Load()
		for moment := from; moment < to; moment += 100 * time.Millisecond {
			l.at(moment, nil, 0, anyNumber)
		}
		return l.owner.started.Load() - before
	}
	t.Run("bridges an outage and no more", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(dead)
			l.at(9*s, nil, 0, 1)  // fresh
			l.at(10*s, nil, 0, 2) // asked, and stale
			if asked := steadily(l, 10*s, 11*s-200*time.Millisecond); asked != 0 {
				t.Errorf("asked %d times within a second after it had failed", asked)
			}
			if asked := steadily(l, 11*s, 69*s); asked < 10 || asked > 60 {
				t.Errorf("asked %d times in 58 s", asked)
			}
			l.at(70*s, &unavailable, 0, anyNumber) // TTL + StaleIfError
		})
	})
	t.Run("ends when the owner answers again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(dead)
			l.at(20*s, nil, 0, 2)
			l.owner.set(answers(nil, interceptor.ErrInvalidSession)) // signed out meanwhile
			l.at(20*s+500*time.Millisecond, nil, 0, 2)               // not asked yet
			l.at(22*s, nil, 0, 3)                                    // stale once more, while it is found out
			l.at(22*s, &invalid, 0, 4)
		})
	})
	t.Run("does not wait for a stalled owner again and again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(func(ctx context.Context) (*record, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			l.at(20*s, nil, cache.DefaultPatience, 2) // the first one finds out
			if asked := steadily(l, 21*s, 31*s); asked < 4 || asked > 15 {
				t.Errorf("asked %d times in 10 s", asked)
			}
			l.owner.set(answers(&record{User: "ada"}, nil))
			if asked := steadily(l, 31*s, 34*s); asked != 1 {
				t.Errorf("asked %d times once it was back, want 1", asked)
			}
			if asked := steadily(l, 34*s, 40*s); asked != 0 {
				t.Errorf("asked %d times while it is fresh again", asked)
			}
		})
	})
	t.Run("a caller with a deadline gets its answer before that", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(func(ctx context.Context) (*record, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			})
			time.Sleep(20 * s)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if _, err := l.a.Authenticate(ctx, bearerHeader("t1")); err != nil || ctx.Err() != nil {
				t.Errorf("%v, %v", err, ctx.Err())
			}
			time.Sleep(cache.DefaultVerifyTimeout) // until the verification has been given up
		})
	})
	t.Run("never past ExpiresAt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.owner.set(answers(&record{User: "ada", Expires: time.Now().Add(15 * s)}, nil))
			l.at(0, nil, 0, 1)
			l.owner.set(dead)
			l.at(14*s, nil, 0, 2)
			l.at(15*s, &unavailable, 0, 3)
		})
	})
	t.Run("never after a Forget", func(t *testing.T) {
		for _, moment := range []time.Duration{5 * s, 14 * s} {
			synctest.Test(t, func(t *testing.T) {
				l := newTimeline(t, policy)
				l.at(0, nil, 0, 1)
				l.owner.set(dead)
				time.Sleep(moment)
				_ = l.a.Forget(context.Background(), "t1")
				l.at(moment+s, &unavailable, 0, 2)
			})
		}
	})
	t.Run("not for any other error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(answers(nil, errors.New("bug")))
			l.at(11*s, &notVerified, 0, 2)
		})
	})
	t.Run("not unless it is given", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, cache.Policy{TTL: 10 * s})
			l.at(0, nil, 0, 1)
			l.owner.set(dead)
			l.at(10*s, &unavailable, 0, 2)
		})
	})
	t.Run("is marked", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			spans := tracetest.NewSpanRecorder()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(dead)
			time.Sleep(11 * s)
			ctx, span := provider.Tracer("test").Start(t.Context(), "rpc")
			if _, err := l.a.Authenticate(ctx, bearerHeader("t1")); err != nil {
				t.Error(err)
			}
			span.End()
			rpc := spans.Ended()[0]
			if events := rpc.Events(); len(events) != 1 || events[0].Name != telemetry.EventStale {
				t.Errorf("events %v", events)
			}
			if got := rpc.Attributes()[0]; got.Key != telemetry.KeyResult || got.Value.AsString() != "stale" {
				t.Errorf("attributes %v", rpc.Attributes())
			}
			if got := l.a.Stats().StaleHits; got != 1 {
				t.Errorf("%d stale hits", got)
			}
		})
	})
}

// TestTheSpanOfACallSaysHowItWasAnswered, by each way in which a cache can answer, and
// by verifying without one.
func TestTheSpanOfACallSaysHowItWasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewSpanRecorder()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
		l := newTimeline(t, cache.Policy{TTL: 10 * s, RefreshAfter: 6 * s, StaleIfError: 60 * s, NegativeTTL: time.Minute}, interceptor.WithOptionalAuth())
		call := func(a *interceptor.Authenticator, token string) string {
			ctx, span := provider.Tracer("test").Start(t.Context(), "rpc")
			header := http.Header{}
			if token != "" {
				header = bearerHeader(token)
			}
			_, err := a.Authenticate(ctx, header)
			span.End()
			var result string
			for _, ended := range spans.Ended() {
				if ended.SpanContext().Equal(span.SpanContext()) {
					result = ended.Attributes()[0].Value.AsString()
				}
			}
			return fmt.Sprintf("%s %t", result, err == nil)
		}
		expect := func(what, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		expect("the first", call(l.a, "t1"), "miss true")
		expect("from memory", call(l.a, "t1"), "hit true")
		time.Sleep(6 * s)
		expect("from memory, with a refresh", call(l.a, "t1"), "hit true")
		synctest.Wait()
		l.owner.set(func(context.Context) (*record, error) { time.Sleep(s); return &record{User: "bob"}, nil })
		var wg sync.WaitGroup
		wg.Go(func() { expect("the first of two", call(l.a, "t2"), "miss true") })
		synctest.Wait()
		expect("the second of two", call(l.a, "t2"), "shared true")
		wg.Wait()
		l.owner.set(answers(nil, interceptor.ErrInvalidSession))
		expect("refused", call(l.a, "junk"), "miss false")
		expect("refused from memory", call(l.a, "junk"), "negative false")
		l.owner.set(answers(nil, interceptor.ErrUnavailable))
		time.Sleep(11 * s)
		expect("in an outage", call(l.a, "t1"), "stale true")
		expect("nobody", call(l.a, ""), "anonymous true")
		expect("no token", call(l.a, "a,b"), "rejected false")
		uncached := newAuth(t, newOwner("t1"))
		expect("without a cache", call(uncached, "t1"), "verified true")
		expect("without a cache, refused", call(uncached, "junk"), "verified false")
	})
}

func TestRefreshAfter(t *testing.T) {
	policy := cache.Policy{TTL: 10 * s, RefreshAfter: 6 * s}
	slow := func(r *record, err error) func(context.Context) (*record, error) {
		return func(context.Context) (*record, error) { time.Sleep(s); return r, err }
	}
	t.Run("a hot session never waits", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.owner.set(slow(&record{User: "ada"}, nil))
			l.at(0, nil, s, 1)
			l.at(6*s, nil, 0, 1) // loaded at 1 s
			for i, asked := range []int64{2, 2, 3, 3, 4, 4} {
				l.at(7*s+time.Duration(i)*4*s, nil, 0, asked)
			}
		})
	})
	t.Run("a refused refresh drops the entry at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(slow(nil, interceptor.ErrInvalidSession))
			l.at(6*s, nil, 0, 2)
			l.at(6*s+999*time.Millisecond, nil, 0, 2) // not known yet
			l.at(7*s+time.Millisecond, &invalid, s, 3)
		})
	})
	t.Run("a refresh that finds an expired session drops it, too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(answers(&record{User: "ada", Expires: time.Now()}, nil))
			l.at(6*s, nil, 0, 2)
			l.at(6*s, &expired, 0, 3)
		})
	})
	for name, fail := range map[string]error{"an outage": interceptor.ErrUnavailable, "a bug": errors.New("bug")} {
		t.Run("a refresh that fails by "+name+" keeps the entry to its TTL", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newTimeline(t, policy)
				l.at(0, nil, 0, 1)
				l.owner.set(answers(nil, fail))
				l.at(6*s, nil, 0, 2)
				l.at(6*s+500*time.Millisecond, nil, 0, 2) // not tried on every call
				l.at(8*s, nil, 0, 3)
				l.at(9999*time.Millisecond, nil, 0, 4)
				want := &unavailable
				if name == "a bug" {
					want = &notVerified
				}
				l.at(10*s, want, 0, 5)
			})
		})
	}
	t.Run("a Forget while it runs makes it void", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := newTimeline(t, policy)
			l.at(0, nil, 0, 1)
			l.owner.set(slow(&record{User: "ada"}, nil))
			l.at(6*s, nil, 0, 2)
			l.owner.set(answers(nil, interceptor.ErrInvalidSession))
			_ = l.a.Forget(context.Background(), "t1")
			l.at(6*s, &invalid, 0, 3) // and does not wait for the refresh
			l.at(8*s, &invalid, 0, 4) // which stored nothing
		})
	})
}

func TestMaxVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		a, err := interceptor.NewSessionAuth(g.verify, subjectOf, interceptor.WithCache(cache.Policy{TTL: time.Minute, MaxVerifies: 3}))
		if err != nil {
			t.Fatal(err)
		}
		cached := make(chan error)
		go func() {
			_, err := a.Authenticate(t.Context(), bearerHeader("cached"))
			cached <- err
		}()
		synctest.Wait()
		g.open <- struct{}{}
		if err := <-cached; err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 30 { // ten callers for each of three
			wg.Go(func() {
				if _, err := a.Authenticate(t.Context(), bearerHeader(fmt.Sprint("t", i%3))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		wg.Go(func() {
			if _, err := a.Authenticate(t.Context(), bearerHeader("extra")); err != nil {
				t.Errorf("one that waits for its turn: %v", err)
			}
		})
		synctest.Wait()
		start := time.Now()
		if _, err := a.Authenticate(t.Context(), bearerHeader("cached")); err != nil {
			t.Errorf("a hit: %v", err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("a hit waited %v", waited)
		}
		if got := a.Stats().InFlight; got != 3 {
			t.Errorf("%d in flight", got)
		}
		close(g.open)
		wg.Wait()
		if _, err = a.Authenticate(t.Context(), bearerHeader("extra")); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if got := a.Stats().InFlight; got != 0 {
			t.Errorf("%d in flight afterwards", got)
		}
	})
}

func TestAbandonedVerificationsCountAgainstMaxVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		forever := make(chan struct{})
		verify := func(context.Context, string, http.Header) (string, error) {
			<-forever
			return "late", nil
		}
		a, err := interceptor.NewSessionAuth(verify, subjectOf, interceptor.WithCache(cache.Policy{TTL: time.Minute, MaxVerifies: 1}))
		if err != nil {
			t.Fatal(err)
		}
		for _, waits := range []time.Duration{cache.DefaultVerifyTimeout, cache.DefaultVerifyTimeout} {
			start := time.Now()
			_, err := a.Authenticate(t.Context(), bearerHeader("t1"))
			unavailable.check(t, err)
			if got := time.Since(start); got != waits {
				t.Errorf("waited %v, want %v", got, waits)
			}
		}
		close(forever)
		synctest.Wait()
		if s := a.Stats(); s.InFlight != 0 || s.Entries != 0 {
			t.Errorf("%+v: what comes late is not stored", s)
		}
	})
}
