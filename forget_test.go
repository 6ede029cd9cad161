package sessionauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// signing is an owner of one session, t1, whose tokens carry a signature and come in
// every spelling that a framework takes.
type signing struct{ out atomic.Bool }

func (o *signing) verify(_ context.Context, token string, header http.Header) (*record, error) {
	known := authmd.UnsignedToken(token) == "t1" || strings.Contains(token, "sid=")
	if o.out.Load() || !known && !strings.Contains(header.Get("Cookie"), "t1") {
		return nil, interceptor.ErrInvalidSession
	}
	return &record{User: "ada", ID: "session-1"}, nil
}

// cookiesInFront are cookies that a thief, or an advertiser, puts before the session's.
func cookiesInFront(n int, value string) string {
	var line strings.Builder
	for i := range n {
		fmt.Fprintf(&line, "a%d=%s; ", i, value)
	}
	return line.String()
}

// TestForgetEndsASessionHoweverItsTokenIsSpelled: unary calls and open streams, by
// whichever spelling the application has at hand.
func TestForgetEndsASessionHoweverItsTokenIsSpelled(t *testing.T) {
	signed := interceptor.WithExtractors(authmd.Named(authmd.Bearer(), authmd.UnsignedToken), authmd.Named(authmd.Cookie("sid"), authmd.UnsignedToken))
	plain := interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid"))
	type spelling struct {
		opt   *interceptor.Option
		pairs []string
	}
	spellings := map[string]spelling{
		"a bearer token with its signature": {&signed, []string{"authorization", "Bearer t1.sig"}},
		"a bearer token without":            {&signed, []string{"authorization", "Bearer t1"}},
		"a signed cookie":                   {&signed, []string{"cookie", "sid=t1.sig"}},
		"one in quotes":                     {&signed, []string{"cookie", `sid="t1.sig"`}},
		"one after a space":                 {&signed, []string{"cookie", "sid= t1.sig"}},
		"one with an encoded dot":           {&signed, []string{"cookie", "sid=t1%2Esig"}},
		"one with an encoded signature":     {&signed, []string{"cookie", "sid=t1.si%2Bg%3D"}},
		"one of Express":                    {&signed, []string{"cookie", "sid=s:t1.sig"}},
		"one of Express, encoded":           {&signed, []string{"cookie", "sid=s%3At1.sig"}},
		"one under a prefix":                {&signed, []string{"cookie", "__Host-sid=t1.sig"}},
		"one behind 31 others":              {&signed, []string{"cookie", cookiesInFront(31, "x") + "sid=t1.sig"}},
		"one behind 11 encoded ones":        {&signed, []string{"cookie", cookiesInFront(11, "%2E.%2E.x") + "sid=t1.sig"}},
		"one behind 200 others":             {&signed, []string{"cookie", cookiesInFront(200, "%41.x") + "sid=t1.sig"}},
		"one of two of that name":           {&signed, []string{"cookie", "sid=t1.sig; sid=other.sig"}},
		"one that a bearer token wins over": {&signed, []string{"authorization", "Bearer t1.sig", "cookie", "sid=t2.sig"}},
		"a plain cookie behind 31 others":   {&plain, []string{"cookie", cookiesInFront(31, "x") + "sid=t1"}},
		"a plain one in quotes":             {&plain, []string{"cookie", `sid="t1"`}},
		"a plain one after a space":         {&plain, []string{"cookie", "sid= t1"}},
		"a plain one, encoded":              {&plain, []string{"cookie", "sid=%74%31"}},
	}
	arguments := map[*interceptor.Option][]string{
		&signed: {"t1", "t1.sig", "t1%2Esig", `"t1.sig"`, " t1.sig ", "s:t1.sig", "s%3At1.sig"},
		&plain:  {"t1", `"t1"`, " t1", "%74%31"},
	}
	whole := interceptor.WithExtractors(authmd.Bearer(), authmd.CookieHeader())
	for name, line := range map[string]string{
		"a whole header":                   "sid=t1; theme=dark",
		"a whole header with 31 in front":  cookiesInFront(31, "x") + "sid=t1",
		"a whole header with 200 in front": cookiesInFront(200, "%41.x") + "sid=t1",
		"a whole header, quoted":           `theme=dark; sid="t1"`,
		"a whole header, encoded":          "theme=dark;sid=%74%31",
		"a whole header with a space":      "sid= t1",
	} {
		spellings[name] = spelling{&whole, []string{"cookie", line}}
	}
	arguments[&whole] = []string{"sid=t1", `sid="t1"`, "sid=%741", " sid = t1 "}

	for name, s := range spellings {
		forgets := map[string]func(*interceptor.Authenticator) error{
			"ForgetSession": func(a *interceptor.Authenticator) error { return a.ForgetSession(context.Background(), "session-1") },
		}
		for _, argument := range arguments[s.opt] {
			forgets["Forget "+argument] = func(a *interceptor.Authenticator) error { return a.Forget(context.Background(), argument) }
		}
		for by, forget := range forgets {
			t.Run(name+", "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := &signing{}
					a, err := interceptor.NewSessionAuth(o.verify, mapRecord, hour, *s.opt)
					if err != nil {
						t.Fatal(err)
					}
					client := serve(t, newPatient(), a.ServerOptions()...)
					ctx, cancel := context.WithCancel(grpcmd.AppendToOutgoingContext(context.Background(), s.pairs...))
					defer cancel()
					receive := openStreams["bidi stream"](ctx, client)
					o.out.Store(true)
					if err := forget(a); err != nil {
						t.Fatal(err)
					}
					if after := endOf(t, receive, invalid); after != 0 {
						t.Errorf("the stream ended after %v", after)
					}
					_, err = client.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
					invalid.check(t, err)
				})
			})
		}
	}
}

// TestForgetLeavesStrangersAlone: what is forgotten is one session, not what others
// happen to have in common with it.
func TestForgetLeavesStrangersAlone(t *testing.T) {
	const users = 10_000
	cookies := func(i int) http.Header {
		return http.Header{"Cookie": {cookiesInFront(10, "dark") + fmt.Sprintf("sid=t%d", i)}}
	}
	requests := map[string]func(i int) http.Header{
		"bearer":     func(i int) http.Header { return bearerHeader(fmt.Sprintf("t%d", i)) },
		"11 cookies": cookies,
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			var verified atomic.Int64
			verify := func(_ context.Context, token string, _ http.Header) (string, error) {
				verified.Add(1)
				return token, nil
			}
			a, err := interceptor.NewSessionAuth(verify, subjectOf, hour)
			if err != nil {
				t.Fatal(err)
			}
			everybody := func() (asked int64) {
				before := verified.Load()
				for i := range users {
					if _, err := a.Authenticate(t.Context(), request(i)); err != nil {
						t.Fatal(err)
					}
				}
				return verified.Load() - before
			}
			if asked := everybody(); asked != users {
				t.Fatalf("asked for %d of %d", asked, users)
			}
			for _, value := range []string{"dark", "", "=", "sid", "sid=", "a0", "t", "user"} {
				_ = a.Forget(t.Context(), value)
				_ = a.ForgetSubject(t.Context(), value)
				_ = a.ForgetSession(t.Context(), value)
			}
			if asked := everybody(); asked != 0 {
				t.Errorf("a value that many have in common: %d asked again", asked)
			}
			for i := range 10_000 {
				_ = a.Forget(t.Context(), fmt.Sprintf("unseen-%d", i))
			}
			if asked := everybody(); asked > users/1000 {
				t.Errorf("10,000 Forgets of unseen tokens: %d of %d asked again", asked, users)
			}
		})
	}
}

// TestStrangersDoNotRepeatAVerification: however many are forgotten while it runs, with a
// cache and without.
func TestStrangersDoNotRepeatAVerification(t *testing.T) {
	for name, opts := range map[string][]interceptor.Option{"cached": {hour}, "not cached": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // where no time passes while it works
				forgotten, verified := make(chan struct{}), 0
				verify := func(context.Context, string, http.Header) (*record, error) {
					verified++
					<-forgotten
					return &record{User: "ada", ID: "id"}, nil
				}
				a, err := interceptor.NewSessionAuth(verify, mapRecord, opts...)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() {
					_, err := a.Authenticate(context.WithoutCancel(t.Context()), bearerHeader("t1"))
					done <- err
				}()
				synctest.Wait()
				for i := range 100_000 {
					_ = a.ForgetSubject(t.Context(), fmt.Sprint("stranger", i))
				}
				close(forgotten)
				if err := <-done; err != nil || verified != 1 {
					t.Errorf("%v after %d verifications", err, verified)
				}
			})
		})
	}
}

// A name is a name of its kind: a subject that is called like a token, say.
func TestForgetOfOneKindIsNotOfAnother(t *testing.T) {
	o := newOwner("same")
	o.set("same", &record{User: "subject", ID: "id"})
	a := newAuth(t, o, hour)
	ask := func() {
		if _, err := a.Authenticate(t.Context(), bearerHeader("same")); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	for _, name := range []string{"same", "subject", "id"} {
		if name != "same" {
			_ = a.Forget(t.Context(), name)
		}
		if name != "subject" {
			_ = a.ForgetSubject(t.Context(), name)
		}
		if name != "id" {
			_ = a.ForgetSession(t.Context(), name)
		}
	}
	ask()
	if got := o.verified.Load(); got != 1 {
		t.Errorf("%d verifications, want 1", got)
	}
}

// TestForgetsThatNeverEndDoNotKeepACallForEver: each verification is overtaken by the next
// Forget.
func TestForgetsThatNeverEndDoNotKeepACallForEver(t *testing.T) {
	for setup, opts := range map[string][]interceptor.Option{"cached": {hour}, "not cached": nil} {
		for kind, forget := range map[string]func(*interceptor.Authenticator){
			"subject": func(a *interceptor.Authenticator) { _ = a.ForgetSubject(context.Background(), "ada") },
			"token":   func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") },
			"session": func(a *interceptor.Authenticator) { _ = a.ForgetSession(context.Background(), "s1") },
			"all":     func(a *interceptor.Authenticator) { _ = a.ForgetAll(context.Background()) },
		} {
			t.Run(kind+", "+setup, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var started atomic.Int64
					verify := func(context.Context, string, http.Header) (*record, error) {
						started.Add(1)
						time.Sleep(500 * time.Millisecond)
						return &record{User: "ada", ID: "s1"}, nil
					}
					a, err := interceptor.NewSessionAuth(verify, mapRecord, opts...)
					if err != nil {
						t.Fatal(err)
					}
					ctx, stop := context.WithCancel(t.Context())
					var wg sync.WaitGroup
					wg.Go(func() {
						for ctx.Err() == nil {
							time.Sleep(400 * time.Millisecond)
							forget(a)
						}
					})
					start := time.Now()
					_, err = a.Authenticate(t.Context(), bearerHeader("t1"))
					unavailable.check(t, err)
					if took := time.Since(start); took > cache.DefaultVerifyTimeout {
						t.Errorf("took %v", took)
					}
					if got := started.Load(); got < 2 || got > 4 {
						t.Errorf("%d verifications, want two to four", got)
					}
					stop()
					wg.Wait()
					if _, err = a.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
						t.Errorf("afterwards: %v", err)
					}
				})
			})
		}
	}
}

// TestCallsAndForgetsByTurnsAreBounded: each Forget has the next call start a verification
// beside those that are of no use any more.
func TestCallsAndForgetsByTurnsAreBounded(t *testing.T) {
	for setup, test := range map[string]struct {
		opts []interceptor.Option
		most int64
	}{
		"cached": {[]interceptor.Option{hour}, 8}, "not cached": {nil, cache.DefaultMaxVerifies},
	} {
		t.Run(setup, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running, most atomic.Int64
				verify := func(context.Context, string, http.Header) (*record, error) {
					if n := running.Add(1); n > most.Load() {
						most.Store(n)
					}
					defer running.Add(-1)
					time.Sleep(time.Second)
					return &record{User: "ada"}, nil
				}
				a, err := interceptor.NewSessionAuth(verify, mapRecord, test.opts...)
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						if _, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
							unavailable.check(t, err)
						}
					})
					synctest.Wait()
					_ = a.Forget(t.Context(), "t1")
				}
				wg.Wait()
				if got := most.Load(); got > test.most {
					t.Errorf("%d verifications at once, want at most %d", got, test.most)
				}
			})
		})
	}
}

// asking is a Bus that looks whether what it is to tell others has happened here.
type asking struct {
	bus
	ask func()
}

func (b *asking) Publish(ctx context.Context, f fleet.Forgotten) error {
	b.ask()
	return b.bus.Publish(ctx, f)
}

func TestForgetReturnsTheErrorOfTheBusAndForgets(t *testing.T) {
	down := errors.New("the bus is down")
	o := newOwner("t1")
	verify := func(ctx context.Context, token string, header http.Header) (*record, error) {
		return o.verify(ctx, token, header)
	}
	b := &asking{bus: bus{fail: down}}
	a, err := interceptor.NewSessionAuth(verify, mapRecord, hour, interceptor.WithBus(b, busSecret))
	if err != nil {
		t.Fatal(err)
	}
	authenticate := func() { _, _ = a.Authenticate(t.Context(), bearerHeader("t1")) }
	for name, forget := range map[string]func(context.Context) error{
		"token":      func(ctx context.Context) error { return a.Forget(ctx, "t1") },
		"subject":    func(ctx context.Context) error { return a.ForgetSubject(ctx, "user-of-t1") },
		"session":    func(ctx context.Context) error { return a.ForgetSession(ctx, "session-of-t1") },
		"everything": a.ForgetAll,
	} {
		authenticate()
		before, within := o.verified.Load(), int64(0)
		b.ask = func() {
			authenticate()
			within = o.verified.Load()
		}
		if err := forget(t.Context()); !errors.Is(err, down) {
			t.Errorf("%s: err = %v", name, err)
		}
		if within != before+1 {
			t.Errorf("%s: it was published before it was forgotten here", name)
		}
	}
}

// TestAuthenticatorsWithOtherSecretsHearNothingOfEachOther: what goes over the bus means
// nothing to who does not know the secret, but that everything was forgotten.
func TestAuthenticatorsWithOtherSecretsHearNothingOfEachOther(t *testing.T) {
	o := newOwner("t1")
	b := &bus{}
	one := newAuth(t, o, hour, interceptor.WithBus(b, busSecret))
	other := newAuth(t, o, hour, interceptor.WithBus(b, busSecret+"!"))
	ask := func() { _, _ = other.Authenticate(t.Context(), bearerHeader("t1")) }
	ask()
	_ = one.Forget(t.Context(), "t1")
	_ = one.ForgetSubject(t.Context(), "user-of-t1")
	_ = one.ForgetSession(t.Context(), "session-of-t1")
	ask()
	if got := o.verified.Load(); got != 1 {
		t.Errorf("%d verifications, want 1", got)
	}
	_ = one.ForgetAll(t.Context())
	ask()
	if got := o.verified.Load(); got != 2 {
		t.Errorf("%d verifications after ForgetAll, want 2", got)
	}
	_ = other.Forget(t.Context(), "t1")
	if mine, its := b.wire[0], b.wire[len(b.wire)-1]; bytes.Equal(mine, its) {
		t.Error("the same name looks the same under two secrets")
	}
}

// TestATokenWhoseFormNamesNothingIsForgottenByItself: a session must have a name.
func TestATokenWhoseFormNamesNothingIsForgottenByItself(t *testing.T) {
	nameless := interceptor.WithExtractors(authmd.Named(authmd.Bearer(), func(string) string { return "" }))
	o := newOwner("t1", "t2")
	a := newAuth(t, o, hour, nameless)
	for range 2 {
		for _, token := range []string{"t1", "t2"} {
			if _, err := a.Authenticate(t.Context(), bearerHeader(token)); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Forget(t.Context(), "t1"); err != nil {
			t.Error(err)
		}
	}
	if got := o.verified.Load(); got != 3 {
		t.Errorf("%d verifications, want 3: t2's is good", got)
	}
}

// TestForgetOfNoNameTellsNobody: an empty token is nobody's.
func TestForgetOfNoNameTellsNobody(t *testing.T) {
	b := &bus{}
	a := newAuth(t, newOwner(), hour, interceptor.WithBus(b, busSecret))
	if err := a.Forget(t.Context(), ""); err != nil || len(b.wire) != 0 {
		t.Errorf("%v, %d messages", err, len(b.wire))
	}
}

// TestForgetOfAWholeCookieHeaderForgetsNoStranger: some cookies of it are others', too.
func TestForgetOfAWholeCookieHeaderForgetsNoStranger(t *testing.T) {
	const mine, others = "theme=dark; sid=t1", "theme=dark; sid=t2"
	o := newOwner(mine, others)
	a := newAuth(t, o, hour)
	ask := func(line string) {
		if _, err := a.Authenticate(t.Context(), http.Header{"Cookie": {line}}); err != nil {
			t.Fatal(err)
		}
	}
	ask(mine)
	ask(others)
	if err := a.Forget(t.Context(), mine); err != nil {
		t.Error(err)
	}
	ask(others)
	if got := o.verified.Load(); got != 2 {
		t.Errorf("%d verifications, want 2: a stranger was forgotten", got)
	}
	ask(mine)
	if got := o.verified.Load(); got != 3 {
		t.Errorf("%d verifications, want 3: the session was not forgotten", got)
	}
}

// TestForgetOfANameThatLooksSigned: the owner's name of the session has a dot in it, and
// its form would cut there once more.
func TestForgetOfANameThatLooksSigned(t *testing.T) {
	o := newOwner("a.b.c2ln", "a%2525")
	a := newAuth(t, o, hour, interceptor.WithExtractors(authmd.Named(authmd.Cookie("sid"), authmd.UnsignedToken), authmd.Cookie("id")))
	for name, cookie := range map[string]string{"a.b": "sid=a.b.c2ln", "a%25": "id=a%2525"} {
		before := o.verified.Load()
		for range 2 {
			if _, err := a.Authenticate(t.Context(), http.Header{"Cookie": {cookie}}); err != nil {
				t.Fatal(err)
			}
			if err := a.Forget(t.Context(), name); err != nil {
				t.Error(err)
			}
		}
		if got := o.verified.Load() - before; got != 2 {
			t.Errorf("Forget(%q) misses %q: %d verifications, want 2", name, cookie, got)
		}
	}
}

// TestANameThatCannotBeHadRefusesTheCall: the code that names sessions is the user's.
func TestANameThatCannotBeHadRefusesTheCall(t *testing.T) {
	for name, form := range map[string]func(string) string{
		"panics":       func(string) string { panic("t1") },
		"calls Goexit": func(string) string { goexit(); return "" },
	} {
		for setup, opts := range map[string][]interceptor.Option{"cached": {hour}, "not cached": nil} {
			t.Run(name+", "+setup, func(t *testing.T) {
				o := newOwner("t1")
				opts := append(slices.Clip(opts), interceptor.WithExtractors(authmd.Named(authmd.Bearer(), form)))
				client := serve(t, &service{}, newAuth(t, o, opts...).ServerOptions()...)
				eachKind(t, func(t *testing.T, call caller) {
					_, err := call(bearer(t, "t1"), client, "")
					notVerified.check(t, err)
				})
				if o.verified.Load() != 0 {
					t.Error("the owner was asked about a session that could not be forgotten")
				}
			})
		}
	}
}

// TestANameThatFailsLaterEndsTheStream: a form that names a token once and not again is
// no reason to leave a stream unwatched, or to bring the server down.
func TestANameThatFailsLaterEndsTheStream(t *testing.T) {
	var calls atomic.Int64
	form := func(token string) string {
		if calls.Add(1) > 1 {
			panic("t1")
		}
		return token
	}
	o := newOwner("t1")
	client := serve(t, &service{}, newAuth(t, o, hour, interceptor.WithExtractors(authmd.Named(authmd.Bearer(), form))).ServerOptions()...)
	if _, err := kinds["unary"](bearer(t, "t1"), client, ""); err != nil {
		t.Fatal(err)
	}
	_, err := kinds["bidi stream"](bearer(t, "t1"), client, "")
	notVerified.check(t, err)
}
