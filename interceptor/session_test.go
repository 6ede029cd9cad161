package interceptor_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// slowNames names sessions by their tokens, and waits at "slow" while it is held.
type slowNames struct {
	mu            sync.Mutex
	held          chan struct{} // nil: it does not wait
	entered, told chan string
}

func (n *slowNames) name(token string) string {
	n.mu.Lock()
	held := n.held
	n.mu.Unlock()
	if held == nil {
		return token
	}
	if token == "slow" {
		n.entered <- token
		<-held
	}
	n.told <- token
	return token
}

func (n *slowNames) hold() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held = make(chan struct{})
}

// fromMemory returns the Session of a request whose identity was in the cache: another call has
// what belongs to the request once that is closed.
func fromMemory(t *testing.T, names *slowNames, cookies string) (*interceptor.Authenticator, *interceptor.Session) {
	t.Helper()
	a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (string, error) { return token, nil },
		func(_ context.Context, s string) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: s}, nil
		},
		interceptor.WithExtractors(authmd.Named(authmd.Cookie("sid"), names.name)), interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), http.Header{"Cookie": {cookies}}); err != nil {
		t.Fatal(err)
	}
	found, err := a.Authenticate(t.Context(), http.Header{"Cookie": {cookies}})
	if err != nil || a.Stats().Hits != 1 {
		t.Fatal(err, a.Stats())
	}
	return a, found.Session
}

// TestASessionThatIsClosedWhileItBeginsToBeWatched is not watched for ever.
func TestASessionThatIsClosedWhileItBeginsToBeWatched(t *testing.T) {
	names := &slowNames{entered: make(chan string, 1), told: make(chan string, 8)}
	_, s := fromMemory(t, names, "sid=slow")
	names.hold()
	watched := make(chan context.Context)
	go func() {
		ctx, _ := s.Watch(context.WithoutCancel(t.Context()))
		watched <- ctx
	}()
	<-names.entered
	var closing sync.WaitGroup
	for range 2 {
		closing.Go(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 1000 {
		runtime.Gosched()
	}
	close(names.held)
	ctx := <-watched
	closing.Wait()
	if ctx != nil && ctx.Err() == nil {
		t.Error("it is watched still")
	}
	if _, err := s.Watch(t.Context()); err == nil {
		t.Error("it is watched after it was closed")
	}
}

// TestARequestThatSomebodyStillReads is no other call's, though its own is over.
func TestARequestThatSomebodyStillReads(t *testing.T) {
	names := &slowNames{entered: make(chan string, 1), told: make(chan string, 1000)}
	a, s := fromMemory(t, names, "sid=slow; sid=mine")
	names.hold()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-names.entered
		cancel()
	}()
	if _, err := s.Watch(ctx); err == nil {
		t.Fatal("it is watched without its names")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if _, err := a.Authenticate(t.Context(), http.Header{"Cookie": {"sid=other; sid=theirs"}}); err != nil {
			t.Fatal(err)
		}
	}
	for len(names.told) > 0 {
		<-names.told // the others'
	}
	close(names.held)
	for _, want := range []string{"slow", "mine"} {
		select {
		case got := <-names.told:
			if got != want {
				t.Errorf("%q is named, want %q", got, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%q is not named", want)
		}
	}
}

// TestSessionsFromManyGoroutines: nobody gets another's request, however often and when it is closed.
func TestSessionsFromManyGoroutines(t *testing.T) {
	a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (string, error) { return token, nil },
		func(_ context.Context, s string) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: s}, nil
		},
		interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, token := range []string{"t1", "t2", "t3", "t4"} {
		wg.Go(func() {
			for range 300 {
				found, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
				if err != nil || found.AuthContext().Subject != token {
					t.Errorf("%s is %v, %v", token, found, err)
					return
				}
				var users sync.WaitGroup
				for range 2 {
					users.Go(func() {
						if ctx, err := found.Session.Watch(t.Context()); err == nil {
							if ac, _ := authcontext.FromContext(ctx); ac.Subject != token {
								t.Errorf("%s is %v", token, ac)
							}
						}
						_ = found.Session.Check()
						_ = found.Session.Close()
					})
				}
				users.Wait()
			}
		})
	}
	wg.Wait()
}

// messages is a stream of a door's own, whose client is silent.
type messages struct {
	grpc.ServerStream

	ctx context.Context
}

func (m messages) Context() context.Context { return m.ctx }

func (m messages) RecvMsg(any) error { return io.EOF }

// TestAStreamOfADoorEndsWithItsSession, and with its handler otherwise.
func TestAStreamOfADoorEndsWithItsSession(t *testing.T) {
	var ended atomic.Bool
	a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (string, error) {
		if ended.Load() {
			return "", interceptor.ErrInvalidSession
		}
		return token, nil
	}, func(_ context.Context, s string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s}, nil
	}, interceptor.WithOptionalAuth())
	if err != nil {
		t.Fatal(err)
	}
	errHandler := errors.New("of the handler")
	for name, test := range map[string]struct {
		header  http.Header
		ends    bool
		subject string
		want    error
	}{
		"it ends with its session": {http.Header{"Authorization": {"Bearer alice"}}, true, "alice", interceptor.ErrInvalidSession},
		"with its handler":         {http.Header{"Authorization": {"Bearer alice"}}, false, "alice", errHandler},
		"nobody's with nothing":    {nil, true, "", errHandler},
	} {
		ended.Store(false)
		found, err := a.Authenticate(t.Context(), test.header)
		if err != nil {
			t.Fatal(name, err)
		}
		stream := messages{ctx: t.Context()}
		err = found.Session.ServeStream(t.Context(), nil, stream, &grpc.StreamServerInfo{}, func(_ any, stream grpc.ServerStream) error {
			ctx := stream.Context()
			auth, _ := authcontext.FromContext(ctx)
			if (auth != nil) != (test.subject != "") || auth != nil && auth.Subject != test.subject {
				t.Errorf("%s: the handler sees %v", name, auth)
			}
			if test.ends {
				ended.Store(true)
				if err := a.ForgetSubject(ctx, "alice"); err != nil {
					t.Error(name, err)
				}
				if test.subject != "" {
					<-ctx.Done()
				}
			}
			if err := stream.RecvMsg(nil); test.subject != "" && test.ends == errors.Is(err, io.EOF) {
				t.Errorf("%s: RecvMsg: %v", name, err)
			}
			return errHandler
		})
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if err := found.Session.Check(); test.subject != "" && err == nil {
			t.Errorf("%s: it is not closed", name)
		}
	}
}

// TestAnOpenStreamWaitsToBeVerified for 10 s, or twice the time of a verification; then it ends.
// One that never returns has the only slot.
func TestAnOpenStreamWaitsToBeVerified(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{time.Second: 10 * time.Second, 20 * time.Second: 40 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var hangs atomic.Bool
			a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (string, error) {
				if hangs.Load() {
					time.Sleep(time.Hour)
				}
				return token, nil
			}, func(_ context.Context, s string) (*authcontext.AuthContext, error) {
				return &authcontext.AuthContext{Subject: s}, nil
			}, interceptor.WithCache(cache.Policy{TTL: time.Hour, VerifyTimeout: timeout, MaxVerifies: 1}))
			if err != nil {
				t.Fatal(err)
			}
			watched := map[string]context.Context{}
			for _, token := range []string{"first", "second"} {
				found, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
				if err != nil {
					t.Fatal(err)
				}
				if watched[token], err = found.Session.Watch(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer found.Session.Close()
			}
			hangs.Store(true)
			for _, token := range []string{"first", "second"} {
				if err := a.Forget(t.Context(), token); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			began, ctx := time.Now(), watched["second"]
			<-ctx.Done()
			if took := time.Since(began); took != want || !errors.Is(context.Cause(ctx), interceptor.ErrUnavailable) {
				t.Errorf("with a timeout of %v it ended after %v, want %v: %v", timeout, took, want, context.Cause(ctx))
			}
			time.Sleep(2 * time.Hour)
		})
	}
}

// TestASessionThatIsClosedTwice gives back what is another's by then no second time, and is not watched.
func TestASessionThatIsClosedTwice(t *testing.T) {
	names := &slowNames{told: make(chan string, 1000)}
	a, s := fromMemory(t, names, "sid=mine")
	sessions := map[string]*interceptor.Session{}
	for _, token := range []string{"theirs", "others"} {
		for range 2 { // known from memory, the second time
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			found, err := a.Authenticate(t.Context(), http.Header{"Cookie": {"sid=" + token}})
			if err != nil {
				t.Fatal(err)
			}
			sessions[token] = found.Session
		}
	}
	if _, err := s.Watch(t.Context()); err == nil {
		t.Error("it is watched after it was closed")
	}
	names.hold()
	for token, session := range sessions {
		if _, err := session.Watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-names.told; got != token {
			t.Errorf("%q is named, want %q", got, token)
		}
		_ = session.Close()
	}
}

// asked is a context that tells when something is looked for in it.
type asked struct {
	context.Context

	tell func()
}

func (a asked) Value(key any) any {
	a.tell()
	return a.Context.Value(key)
}

// TestAForgetBetweenAnAnswerAndItsSession is not missed by what is watched from then on.
func TestAForgetBetweenAnAnswerAndItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out atomic.Bool
		a, err := interceptor.NewSessionAuth(func(context.Context, string, http.Header) (string, error) {
			if out.Load() {
				return "", interceptor.ErrInvalidSession
			}
			return "ada", nil
		}, func(_ context.Context, s string) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: s}, nil
		}, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Authorization": {"Bearer x"}}
		if _, err := a.Authenticate(t.Context(), header); err != nil {
			t.Fatal(err)
		}
		found, err := a.Authenticate(asked{t.Context(), func() {
			if a.Stats().Hits == 1 && out.CompareAndSwap(false, true) {
				_ = a.Forget(context.Background(), "x")
			}
		}}, header)
		if err != nil || !out.Load() {
			t.Fatal(err, out.Load())
		}
		ctx, err := found.Session.Watch(context.WithoutCancel(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		defer found.Session.Close()
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
			t.Error("it goes on")
		}
	})
}

// TestASessionIsOneRequests: memory for one that has been used already is left to whoever has it.
func TestASessionIsOneRequests(t *testing.T) {
	a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (string, error) { return token, nil },
		func(_ context.Context, s string) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: s}, nil
		}, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	var memory interceptor.Session
	for i, subject := range []string{"ada", "eve"} {
		found, err := a.AuthenticateInto(t.Context(), http.Header{"Authorization": {"Bearer " + subject}}, &memory)
		if err != nil || (found.Session == &memory) != (i == 0) {
			t.Fatalf("%s: %v, used: %t", subject, err, found.Session == &memory)
		}
		if ac, _ := authcontext.FromContext(found.Session.NewContext(t.Context())); ac.Subject != subject {
			t.Errorf("%s is %v", subject, ac)
		}
		if ac, _ := authcontext.FromContext(memory.NewContext(t.Context())); ac.Subject != "ada" {
			t.Errorf("ada has become %v", ac)
		}
	}
}
