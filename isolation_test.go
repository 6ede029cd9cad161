package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// everything makes an identity of all that the verifier is given, so that an
// answer that was shared wrongly shows.
func everything(_ context.Context, token string, header http.Header) (string, error) {
	var seen strings.Builder
	fmt.Fprintf(&seen, "token=%q", token)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&seen, " %s=%q", name, header[name])
	}
	return seen.String(), nil
}

func subjectOf(_ context.Context, session string) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: session}, nil
}

func TestRequestsThatDifferNeverShareAnAnswer(t *testing.T) {
	long := strings.Repeat("t", 73) // bcrypt looks at 72 bytes
	huge := strings.Repeat("t", 5000)
	b := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	and := func(h http.Header, name string, values ...string) http.Header {
		h = h.Clone()
		h[name] = values
		return h
	}
	requests := []http.Header{
		b("a"), b("ab"), b("abc"), b("b"), b("bc"), b("c"),
		b(long + "1"), b(long + "2"), b(huge + "1"), b(huge + "2"),
		{"Cookie": {"sid=a"}}, {"Cookie": {"sid=ab"}}, {"Cookie": {"__Host-sid=a"}}, {"Cookie": {"__Secure-sid=a"}},
		{"Cookie": {"sid=a; sid=b"}}, {"Cookie": {"sid=b; sid=a"}}, {"Cookie": {"sid=a; alt=b"}}, {"Cookie": {"alt=a"}},
		{"Cookie": {"sid=a; sid="}}, {"Cookie": {"sid=; sid=a"}}, {"Cookie": {`sid="a"`}},
		{"X-Session-Token": {"a"}}, {"X-Session-Token": {"ab"}},
		and(b("a"), "Cookie", "sid=a"), and(b("a"), "Cookie", "sid=bc"), and(b("ab"), "Cookie", "sid=c"),
		and(b("a"), "X-Session-Token", "a"), and(b("a"), "X-Session-Token", "b"),
		and(b("a"), "X-Tenant", "a"), and(b("a"), "X-Tenant", "bc"), and(b("ab"), "X-Tenant", "c"),
		and(b("a"), "X-Tenant", "b", "c"), and(b("a"), "X-Tenant", "b, c"), and(b("a"), "X-Tenant", ""),
		and(b("a"), "X-Region", "bc"), and(and(b("a"), "X-Tenant", "b"), "X-Region", "c"),
		and(b("a"), "Host", "a.example"), and(b("a"), "Host", "b.example"),
	}
	a, err := interceptor.NewSessionAuth(everything, subjectOf, minute,
		interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid", "alt"), authmd.HeaderToken("X-Session-Token")),
		interceptor.WithKeyHeaders("X-Tenant", "x-region", "Host"))
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]http.Header{}
	for range 2 { // the second time from memory
		for _, request := range requests {
			// What the verifier may not look at must not decide; these differ each time.
			noise := and(and(request, "User-Agent", time.Now().String()), "X-Other", time.Now().String())
			found, err := a.Authenticate(t.Context(), noise)
			ac := found.AuthContext()
			if err != nil {
				t.Fatalf("%v: %v", request, err)
			}
			if other, ok := answers[ac.Subject]; ok && fmt.Sprint(other) != fmt.Sprint(request) {
				t.Errorf("%v and %v share the answer %s", request, other, ac.Subject)
			}
			answers[ac.Subject] = request
		}
	}
	if got := int(a.Stats().Misses); got != len(requests) {
		t.Errorf("%d verifications for %d requests", got, len(requests))
	}
}

func TestWithKeyHeadersTheVerifierSeesOnlyWhatIsInTheKey(t *testing.T) {
	request := http.Header{
		"Authorization": {"bearer  t1"}, "Cookie": {"theme=dark; sid=c1; _ga=1; sid=c2"}, "X-Tenant": {"t"}, "Host": {"h"},
		"X-Other": {"o"}, "User-Agent": {"u"}, "X-Auth-Subject": {"root"}, "X-Session-Token": {"s1"},
	}
	extractors := interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid"), authmd.HeaderToken("X-Session-Token"))
	tests := map[string]struct {
		opts []interceptor.Option
		want string
	}{
		"no names: the credentials alone": {
			[]interceptor.Option{extractors, interceptor.WithKeyHeaders()},
			`token="t1" Authorization=["Bearer t1"] Cookie=["sid=c1; sid=c2"] X-Session-Token=["s1"]`,
		},
		"names are added": {
			[]interceptor.Option{extractors, interceptor.WithKeyHeaders("host"), interceptor.WithKeyHeaders("x-tenant")},
			`token="t1" Authorization=["Bearer t1"] Cookie=["sid=c1; sid=c2"] Host=["h"] X-Session-Token=["s1"] X-Tenant=["t"]`,
		},
		"a whole header that an extractor reads in part": {
			[]interceptor.Option{extractors, interceptor.WithKeyHeaders("Cookie")},
			`token="t1" Authorization=["Bearer t1"] Cookie=["theme=dark; sid=c1; _ga=1; sid=c2"] X-Session-Token=["s1"]`,
		},
		"a cookie that two extractors find": {
			[]interceptor.Option{interceptor.WithExtractors(authmd.Cookie("sid"), authmd.CookieHeader()), interceptor.WithKeyHeaders()},
			`token="c1" Cookie=["sid=c1; sid=c2; theme=dark; _ga=1"]`,
		},
		"a custom extractor's header stays out": {
			[]interceptor.Option{interceptor.WithExtractors(authmd.ExtractorFunc(func(h http.Header) (string, bool) {
				return h.Get("X-Other"), true
			})), interceptor.WithKeyHeaders()},
			`token="o"`,
		},
		"without WithKeyHeaders everything but identities": {
			[]interceptor.Option{extractors},
			`token="t1" Authorization=["bearer  t1"] Cookie=["theme=dark; sid=c1; _ga=1; sid=c2"] User-Agent=["u"] X-Other=["o"] X-Session-Token=["s1"] X-Tenant=["t"]`,
		},
	}
	for name, test := range tests {
		for _, opts := range [][]interceptor.Option{test.opts, append(slices.Clip(test.opts), minute)} {
			t.Run(name, func(t *testing.T) {
				a, err := interceptor.NewSessionAuth(everything, subjectOf, opts...)
				if err != nil {
					t.Fatal(err)
				}
				found, err := a.Authenticate(t.Context(), request)
				ac := found.AuthContext()
				if err != nil {
					t.Fatal(err)
				}
				if ac.Subject != test.want {
					t.Errorf("the verifier saw\n%s, want\n%s", ac.Subject, test.want)
				}
			})
		}
	}
}

func TestHostNamesTheAuthorityOfACall(t *testing.T) {
	a, err := interceptor.NewSessionAuth(everything, subjectOf, minute, interceptor.WithKeyHeaders("Host"))
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, &service{}, a.ServerOptions()...)
	want := `token="t1" Authorization=["Bearer t1"] Host=["bufconn"]`
	if got, err := kinds["unary"](bearer(t, "t1"), client, ""); got != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

type tenantKey struct{}

// tenantVerify makes an identity of the values in the context.
func tenantVerify(ctx context.Context, token string, _ http.Header) (string, error) {
	tenant, _ := ctx.Value(tenantKey{}).(string)
	_, hasPeer := peer.FromContext(ctx)
	return fmt.Sprintf("%s of %q peer %t baggage %q trace %s", token, tenant, hasPeer,
		baggage.FromContext(ctx).Member("k").Value(), trace.SpanContextFromContext(ctx).TraceID()), nil
}

func TestContextValuesOfTheFirstCallerDecideForNobodyElse(t *testing.T) {
	member, err := baggage.NewMember("k", "v")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	traced := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	call := func(tenant string) context.Context {
		ctx := context.WithValue(t.Context(), tenantKey{}, tenant)
		ctx = peer.NewContext(ctx, &peer.Peer{})
		return baggage.ContextWithBaggage(trace.ContextWithSpanContext(ctx, traced), bag)
	}
	header := http.Header{"Authorization": {"Bearer t1"}}
	carry := interceptor.WithKeyContext(func(from, to context.Context) (context.Context, string) {
		tenant, _ := from.Value(tenantKey{}).(string)
		return context.WithValue(to, tenantKey{}, tenant), tenant
	})
	const traceAlone = ` baggage "" trace 01000000000000000000000000000000`
	const rest = ` baggage "v" trace 01000000000000000000000000000000`
	tests := map[string]struct {
		opts          []interceptor.Option
		first, second string
	}{
		"without a cache, the caller's own context": {
			nil, `t1 of "red" peer true` + rest, `t1 of "blue" peer true` + rest,
		},
		"with a cache, the trace alone": {
			[]interceptor.Option{minute}, `t1 of "" peer false` + traceAlone, `t1 of "" peer false` + traceAlone,
		},
		"with WithKeyContext, what it carries": {
			[]interceptor.Option{minute, carry}, `t1 of "red" peer false` + traceAlone, `t1 of "blue" peer false` + traceAlone,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(tenantVerify, subjectOf, test.opts...)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				for tenant, want := range map[string]string{"red": test.first, "blue": test.second} {
					found, err := a.Authenticate(call(tenant), header)
					ac := found.AuthContext()
					if err != nil {
						t.Fatal(err)
					}
					if ac.Subject != want {
						t.Errorf("tenant %s got %s, want %s", tenant, ac.Subject, want)
					}
				}
			}
		})
	}
}

func TestWithKeyContextCarriesNoDeadline(t *testing.T) {
	all := func(from, _ context.Context) (context.Context, string) { return from, "" }
	verify := func(ctx context.Context, token string, _ http.Header) (string, error) {
		if _, ok := ctx.Value(tenantKey{}).(string); !ok {
			return "", errors.New("the value was not carried over")
		}
		deadline, _ := ctx.Deadline()
		if left := time.Until(deadline); left != cache.DefaultVerifyTimeout {
			return "", fmt.Errorf("%v left", left)
		}
		return token, nil
	}
	synctest.Test(t, func(t *testing.T) {
		a, err := interceptor.NewSessionAuth(verify, subjectOf, minute, interceptor.WithKeyContext(all))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), tenantKey{}, "red"), time.Second)
		defer cancel()
		if _, err := a.Authenticate(ctx, http.Header{"Authorization": {"Bearer t1"}}); err != nil {
			t.Error(err)
		}
	})
}

// gate is a verifier that waits until it is opened.
type gate struct {
	open    chan struct{}
	started atomic.Int64
}

func (g *gate) verify(ctx context.Context, token string, _ http.Header) (string, error) {
	g.started.Add(1)
	select {
	case <-g.open:
		return token, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func TestConcurrentCallersShareOneVerification(t *testing.T) {
	for _, tokens := range []int{1, 100} {
		t.Run(fmt.Sprintf("%d tokens", tokens), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{open: make(chan struct{})}
				a, err := interceptor.NewSessionAuth(g.verify, subjectOf, minute)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for i := range 10_000 {
					wg.Go(func() {
						token := fmt.Sprintf("t%d", i%tokens)
						found, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
						ac := found.AuthContext()
						if err != nil || ac.Subject != token {
							t.Errorf("%s got %v, %v", token, ac, err)
						}
					})
				}
				synctest.Wait() // all of them are waiting
				close(g.open)
				wg.Wait()
				if got := g.started.Load(); got != int64(tokens) {
					t.Errorf("%d verifications, want %d", got, tokens)
				}
				if s := a.Stats(); s.Misses != uint64(tokens) || s.Shared != uint64(10_000-tokens) {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

func TestACallerThatGivesUpFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		a, err := interceptor.NewSessionAuth(g.verify, subjectOf, minute)
		if err != nil {
			t.Fatal(err)
		}
		client := serve(t, &service{}, a.ServerOptions()...)
		authenticate := func(ctx context.Context) chan error {
			done := make(chan error, 1)
			go func() {
				_, err := kinds["unary"](ctx, client, "")
				done <- err
			}()
			synctest.Wait()
			return done
		}
		firstCtx, cancel := context.WithCancel(bearer(t, "t1"))
		first := authenticate(firstCtx)
		hasty, cancelHasty := context.WithTimeout(bearer(t, "t1"), time.Second)
		defer cancelHasty()
		second, third := authenticate(hasty), authenticate(bearer(t, "t1"))
		cancel()
		if err := <-first; status.Code(err) != codes.Canceled {
			t.Errorf("the caller that was cancelled got %v", err)
		}
		if err := <-second; status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the caller with a deadline got %v", err)
		}
		close(g.open)
		if err := <-third; err != nil {
			t.Errorf("the third got %v", err)
		}
		if got := g.started.Load(); got != 1 {
			t.Errorf("%d verifications", got)
		}
	})
}

func TestACallerThatGivesUpGetsItsOwnStatus(t *testing.T) {
	header := http.Header{"Authorization": {"Bearer t1"}}
	for name, opts := range map[string][]interceptor.Option{"cached": {minute}, "not cached": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{open: make(chan struct{})}
				defer close(g.open)
				a, err := interceptor.NewSessionAuth(g.verify, subjectOf, opts...)
				if err != nil {
					t.Fatal(err)
				}
				cancelled, cancel := context.WithCancel(t.Context())
				go func() {
					time.Sleep(time.Second)
					cancel()
				}()
				_, err = a.Authenticate(cancelled, header)
				refusal{codes.Canceled, "context canceled", string(reason.VerificationUnavailable)}.check(t, err)
				hasty, cancelHasty := context.WithTimeout(t.Context(), time.Second)
				defer cancelHasty()
				_, err = a.Authenticate(hasty, header)
				refusal{codes.DeadlineExceeded, "context deadline exceeded", string(reason.VerificationUnavailable)}.check(t, err)
			})
		})
	}
}

func TestACallbackThatHangsHoldsUpNobodyForLong(t *testing.T) {
	for name, opts := range map[string][]interceptor.Option{"cached": {minute}, "not cached": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forever := make(chan struct{})
				defer close(forever)
				verify := func(_ context.Context, token string, _ http.Header) (string, error) {
					if token == "hang" {
						<-forever // whatever its context says
					}
					return token, nil
				}
				a, err := interceptor.NewSessionAuth(verify, subjectOf, opts...)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						_, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer hang"}})
						unavailable.check(t, err)
					})
				}
				synctest.Wait()
				if _, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer other"}}); err != nil {
					t.Errorf("another key: %v", err)
				}
				if waited := time.Since(start); waited != 0 {
					t.Errorf("another key waited %v", waited)
				}
				wg.Wait()
				if waited := time.Since(start); waited != cache.DefaultVerifyTimeout {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}

func TestExtractorsAndCarriersThatPanicRefuseTheCall(t *testing.T) {
	o := newOwner("t1")
	boom := authmd.ExtractorFunc(func(http.Header) (string, bool) { panic("t1") })
	for name, opt := range map[string]interceptor.Option{
		"extractor": interceptor.WithExtractors(authmd.Bearer(), boom),
		"carry":     interceptor.WithKeyContext(func(_, _ context.Context) (context.Context, string) { panic("t1") }),
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, &service{}, newAuth(t, o, minute, opt).ServerOptions()...)
			_, err := kinds["unary"](bearer(t, "t1"), client, "")
			notVerified.check(t, err)
		})
	}
}

func TestTheAuthContextIsCopiedOnItsWayIn(t *testing.T) {
	mine := &authcontext.AuthContext{Subject: "ada", Roles: []string{"reader"}, Claims: map[string]any{"k": "v"}}
	for name, opts := range map[string][]interceptor.Option{"cached": {minute}, "not cached": nil} {
		t.Run(name, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(everything,
				func(context.Context, string) (*authcontext.AuthContext, error) { return mine, nil }, opts...)
			if err != nil {
				t.Fatal(err)
			}
			found, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer t1"}})
			ac := found.AuthContext()
			if err != nil {
				t.Fatal(err)
			}
			mine.Roles[0], mine.Claims["k"] = "admin", "changed"
			if ac.Roles[0] != "reader" || ac.Claims["k"] != "v" || ac.Type != authcontext.TypeSession || mine.Type != "" {
				t.Errorf("the mapper's own AuthContext is shared: %v", ac)
			}
			mine.Roles[0], mine.Claims["k"] = "reader", "v"
		})
	}
}

// TestNobodyKnowsWhoSharesAPlace: which subjects share one in the count of their sessions
// follows from a key of each Authenticator, or somebody could choose a name that takes
// another's room.
func TestNobodyKnowsWhoSharesAPlace(t *testing.T) {
	sharing := func() (all []string) {
		var verified atomic.Int64
		verify := func(_ context.Context, token string, _ http.Header) (string, error) {
			verified.Add(1)
			return token, nil
		}
		a, err := interceptor.NewSessionAuth(verify, subjectOf, interceptor.WithCache(cache.Policy{TTL: time.Hour, MaxEntries: 400, MaxPerSubject: 1}))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			all = nil
			for i := range 300 {
				before := verified.Load()
				if _, err := a.Authenticate(t.Context(), bearerHeader(fmt.Sprint("user", i))); err != nil {
					t.Fatal(err)
				}
				if verified.Load() != before {
					all = append(all, fmt.Sprint("user", i))
				}
			}
		}
		return all
	}
	one, other := sharing(), sharing()
	if len(one) == 0 || len(one) > 100 || slices.Equal(one, other) {
		t.Errorf("%d of 300 subjects share a place, and the same elsewhere: %t", len(one), slices.Equal(one, other))
	}
}
