package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// hour keeps a session for so long that nothing but what a test is about ends it.
var hour = interceptor.WithCache(cache.Policy{TTL: time.Hour, NegativeTTL: time.Hour})

func bearerHeader(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestForgetFindsATokenWhereverItWasCarried(t *testing.T) {
	tests := map[string]struct {
		opts   []interceptor.Option
		header http.Header
		owner  string // the token as the verifier gets it
		forget func(*interceptor.Authenticator)
	}{
		"bearer": {nil, bearerHeader("t1"), "t1", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") }},
		"named cookie": {
			[]interceptor.Option{interceptor.WithExtractors(authmd.Cookie("sid"))},
			http.Header{"Cookie": {"a=b; sid=t1"}}, "t1", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") },
		},
		"one cookie of a whole header": {
			nil, http.Header{"Cookie": {"a=b; sid=t1; c=d"}}, "a=b; sid=t1; c=d", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "sid=t1") },
		},
		"a percent-encoded cookie": {
			nil, http.Header{"Cookie": {"sid=t%2B1"}}, "sid=t%2B1", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "sid=t+1") },
		},
		"a signed cookie": {
			[]interceptor.Option{interceptor.WithExtractors(authmd.Named(authmd.Cookie("sid"), authmd.UnsignedToken))},
			http.Header{"Cookie": {"sid=t1.c2lnbmVk%3D"}}, "t1.c2lnbmVk%3D", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") },
		},
		"custom header": {
			[]interceptor.Option{interceptor.WithExtractors(authmd.HeaderToken("X-Session-Token"))},
			http.Header{"X-Session-Token": {"t1"}}, "t1", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") },
		},
		"custom extractor": {
			[]interceptor.Option{interceptor.WithExtractors(authmd.ExtractorFunc(func(h http.Header) (string, bool) {
				return h.Get("X-Legacy"), true
			}))},
			http.Header{"X-Legacy": {"t1"}}, "t1", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") },
		},
		"a credential that was not the chosen one": {
			nil, http.Header{"Authorization": {"Bearer t1"}, "Cookie": {"sid=t2"}}, "t1", func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "sid=t2") },
		},
		"by session": {nil, bearerHeader("t1"), "t1", func(a *interceptor.Authenticator) { _ = a.ForgetSession(context.Background(), "session-of-t1") }},
		"by subject": {nil, bearerHeader("t1"), "t1", func(a *interceptor.Authenticator) { _ = a.ForgetSubject(context.Background(), "user-of-t1") }},
		"everything": {nil, bearerHeader("t1"), "t1", func(a *interceptor.Authenticator) { _ = a.ForgetAll(context.Background()) }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOwner(test.owner, "other")
			a := newAuth(t, o, append(test.opts, hour)...)
			authenticate := func(header http.Header) error {
				_, err := a.Authenticate(t.Context(), header)
				return err
			}
			for range 2 {
				if err := authenticate(test.header); err != nil {
					t.Fatal(err)
				}
			}
			_ = a.Forget(context.Background(), "never seen")
			_ = a.ForgetSubject(context.Background(), "never seen")
			if err := authenticate(test.header); err != nil || o.verified.Load() != 1 {
				t.Fatalf("before: %v after %d verifications", err, o.verified.Load())
			}
			test.forget(a)
			if err := authenticate(test.header); err != nil || o.verified.Load() != 2 {
				t.Errorf("a session that is still good: %v after %d verifications", err, o.verified.Load())
			}
			o.set(test.owner, nil)
			test.forget(a)
			for range 2 {
				invalid.check(t, authenticate(test.header))
			}
			if got := o.verified.Load(); got != 3 {
				t.Errorf("%d verifications, want 3: the refusal is remembered", got)
			}
			o.set(test.owner, &record{User: "again"})
			if name != "by subject" && name != "by session" { // a refusal has none
				test.forget(a)
				if err := authenticate(test.header); err != nil {
					t.Errorf("a refusal was not forgotten: %v", err)
				}
			}
		})
	}
}

func TestForgetWhileAVerificationIsInFlight(t *testing.T) {
	forgets := map[string]func(*interceptor.Authenticator){
		"token":      func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") },
		"subject":    func(a *interceptor.Authenticator) { _ = a.ForgetSubject(context.Background(), "ada") },
		"everything": func(a *interceptor.Authenticator) { _ = a.ForgetAll(context.Background()) },
	}
	setups := map[string]struct {
		opts     []interceptor.Option
		verified int64
	}{
		"cached":     {[]interceptor.Option{hour}, 2},
		"not cached": {nil, 10 + 10 + 1}, // each call by itself
	}
	for name, forget := range forgets {
		for setup, with := range setups {
			t.Run(name+", "+setup, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var started, signedOut atomic.Int64
					verify := func(context.Context, string, http.Header) (string, error) {
						started.Add(1)
						out := signedOut.Load() // the owner looks now, and answers later
						time.Sleep(time.Second)
						if out != 0 {
							return "", interceptor.ErrInvalidSession
						}
						return "ada", nil
					}
					a, err := interceptor.NewSessionAuth(verify, subjectOf, with.opts...)
					if err != nil {
						t.Fatal(err)
					}
					var wg sync.WaitGroup
					for range 10 {
						wg.Go(func() {
							_, err := a.Authenticate(t.Context(), bearerHeader("t1"))
							invalid.check(t, err)
						})
					}
					time.Sleep(time.Second / 2)
					signedOut.Store(1)
					forget(a)
					_, err = a.Authenticate(t.Context(), bearerHeader("t1")) // begins after the Forget
					invalid.check(t, err)
					wg.Wait()
					if got := started.Load(); got != with.verified {
						t.Errorf("%d verifications, want %d", got, with.verified)
					}
					if s := a.Stats(); setup == "cached" && (s.Entries != 0 || s.NegativeEntries != 1) {
						t.Errorf("the cache holds %+v", s)
					}
				})
			})
		}
	}
}

// TestForgetsCostBoundedMemory: a million are remembered one by one, and the second
// million takes their place.
func TestForgetsCostBoundedMemory(t *testing.T) {
	o := newOwner("t1")
	a := newAuth(t, o, hour)
	before := heap()
	var grown [2]int64
	for round := range grown {
		for i := range 1_000_000 {
			_ = a.Forget(context.Background(), fmt.Sprintf("junk-%d-%d", round, i))
		}
		grown[round] = heap() - before
	}
	// What earlier tests left behind may be collected meanwhile: only growth counts.
	if grown[1] > 128<<20 || grown[1]-grown[0] > 48<<20 {
		t.Errorf("the heap grew by %d KiB, then %d KiB", grown[0]>>10, grown[1]>>10)
	}
	if _, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
		t.Error(err)
	}
	for range 2 {
		_, _ = a.Authenticate(t.Context(), bearerHeader("t1"))
	}
	if got := o.verified.Load(); got != 1 {
		t.Errorf("%d verifications after the Forgets, want 1", got)
	}
}

const busSecret = "0123456789abcdef0123456789abcdef"

// bus is a Bus in one process that shows what goes over the wire. It is heard when a test
// says so, and at first.
type bus struct {
	mu      sync.Mutex
	members []fleet.Follower
	at      fleet.Position
	wire    [][]byte
	fail    error // what Publish returns, after all
	held    bool  // what is published is not delivered
}

func (b *bus) Follow(f fleet.Follower) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members = append(b.members, f)
	b.at.Epoch = 1
	f.Lost(b.at)
	f.Heard(b.at, time.Now())
	return nil
}

// hear has all followers hear that they missed nothing.
func (b *bus) hear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.members {
		f.Heard(b.at, time.Now())
	}
}

func (b *bus) Publish(_ context.Context, f fleet.Forgotten) error {
	data, err := f.MarshalBinary()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wire = append(b.wire, data)
	b.at.Number++
	for _, f := range b.members {
		var received fleet.Forgotten
		if err := received.UnmarshalBinary(data); err != nil {
			return err
		}
		if !b.held {
			f.Apply(received, b.at)
		}
	}
	return b.fail
}

func TestAuthenticatorsJoinedByABusForgetTogether(t *testing.T) {
	o := newOwner("t1")
	b := &bus{}
	one, other := newAuth(t, o, hour, interceptor.WithBus(b, busSecret)), newAuth(t, o, hour, interceptor.WithBus(b, busSecret))
	for name, forget := range map[string]func() error{
		"token":      func() error { return one.Forget(t.Context(), "t1") },
		"subject":    func() error { return one.ForgetSubject(t.Context(), "user-of-t1") },
		"session":    func() error { return one.ForgetSession(t.Context(), "session-of-t1") },
		"everything": func() error { return one.ForgetAll(t.Context()) },
	} {
		_, _ = other.Authenticate(t.Context(), bearerHeader("t1"))
		before := o.verified.Load()
		_, _ = other.Authenticate(t.Context(), bearerHeader("t1"))
		if o.verified.Load() != before {
			t.Fatalf("%s: not cached", name)
		}
		if err := forget(); err != nil {
			t.Error(err)
		}
		_, _ = other.Authenticate(t.Context(), bearerHeader("t1"))
		if o.verified.Load() != before+1 {
			t.Errorf("%s: the other did not forget", name)
		}
	}
	for _, data := range b.wire {
		if s := string(data); len(data) > 17+32 || contains(s, "t1") {
			t.Errorf("on the wire: %q", s)
		}
	}
	var f fleet.Forgotten
	if _, err := f.MarshalBinary(); err == nil {
		t.Error("an empty Forgotten was marshalled")
	}
	for _, junk := range [][]byte{nil, {}, {0}, {1}, {3}, {4}, make([]byte, 17), make([]byte, 33), append([]byte{3}, make([]byte, 16)...), append([]byte{3}, make([]byte, 16+15)...), append([]byte{4}, make([]byte, 16+16)...), append([]byte{1}, make([]byte, 16+16)...), append([]byte{3}, make([]byte, 16+16*31)...)} {
		if err := f.UnmarshalBinary(junk); err == nil {
			t.Errorf("%v was unmarshalled", junk)
		}
	}
}

// patient is a service whose handlers wait for the client, or for their context.
type patient struct {
	grpc_testing.UnimplementedTestServiceServer
	ended chan error // what each handler got, and its context's cause
}

func newPatient() *patient { return &patient{ended: make(chan error, 4096)} }

func (p *patient) report(ctx context.Context, err error) error {
	select {
	case p.ended <- errors.Join(err, context.Cause(ctx)):
	default: // nobody looks at so many
	}
	return err
}

func (p *patient) StreamingOutputCall(
	_ *grpc_testing.StreamingOutputCallRequest, stream grpc_testing.TestService_StreamingOutputCallServer,
) error {
	<-stream.Context().Done()
	return p.report(stream.Context(), stream.Context().Err())
}

func (p *patient) StreamingInputCall(stream grpc_testing.TestService_StreamingInputCallServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			return p.report(stream.Context(), err)
		}
	}
}

func (p *patient) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return p.report(stream.Context(), err)
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
			return p.report(stream.Context(), err)
		}
	}
}

// openStreams open a stream of each kind and return what the client receives at its
// end.
var openStreams = map[string]func(context.Context, grpc_testing.TestServiceClient) func() error{
	"server stream": func(ctx context.Context, c grpc_testing.TestServiceClient) func() error {
		stream, err := c.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
		if err != nil {
			return func() error { return err }
		}
		return func() error { _, err := stream.Recv(); return err }
	},
	"client stream": func(ctx context.Context, c grpc_testing.TestServiceClient) func() error {
		stream, err := c.StreamingInputCall(ctx)
		if err != nil {
			return func() error { return err }
		}
		_ = stream.Send(&grpc_testing.StreamingInputCallRequest{})
		return func() error { return stream.RecvMsg(&grpc_testing.StreamingInputCallResponse{}) }
	},
	"bidi stream": func(ctx context.Context, c grpc_testing.TestServiceClient) func() error {
		stream, err := c.FullDuplexCall(ctx)
		if err != nil {
			return func() error { return err }
		}
		_ = stream.Send(&grpc_testing.StreamingOutputCallRequest{})
		if _, err := stream.Recv(); err != nil {
			return func() error { return err }
		}
		return func() error { _, err := stream.Recv(); return err }
	},
	"a client that never sends": func(ctx context.Context, c grpc_testing.TestServiceClient) func() error {
		stream, err := c.FullDuplexCall(ctx)
		if err != nil {
			return func() error { return err }
		}
		return func() error { _, err := stream.Recv(); return err }
	},
}

// endOf waits for the client's end of a stream and returns when it came.
func endOf(t *testing.T, receive func() error, want refusal) time.Duration {
	t.Helper()
	start := time.Now()
	want.check(t, receive())
	return time.Since(start)
}

func eachStream(t *testing.T, f func(t *testing.T, open func(context.Context, grpc_testing.TestServiceClient) func() error)) {
	t.Helper()
	for name, open := range openStreams {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, open) }) })
	}
}

// long is the context of a call without a deadline.
func long(t *testing.T, token string) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(bearerCtx(token))
	t.Cleanup(cancel)
	return ctx
}

func TestAStreamEndsWhenItsSessionExpires(t *testing.T) {
	eachStream(t, func(t *testing.T, open func(context.Context, grpc_testing.TestServiceClient) func() error) {
		o := newOwner()
		o.set("t1", &record{User: "ada", Expires: time.Now().Add(time.Minute)})
		p := newPatient()
		client := serve(t, p, newAuth(t, o, hour).ServerOptions()...)
		if after := endOf(t, open(long(t, "t1"), client), expired); after != time.Minute {
			t.Errorf("ended after %v", after)
		}
		expired.check(t, causeOf(<-p.ended))
	})
}

// causeOf finds the status in what a handler got.
func causeOf(err error) error {
	var st interface{ GRPCStatus() *status.Status }
	if errors.As(err, &st) {
		return st.GRPCStatus().Err()
	}
	return err
}

func TestAStreamEndsAfterAForgetThatItsOwnerConfirms(t *testing.T) {
	for name, opts := range map[string][]interceptor.Option{"cached": {hour}, "not cached": nil} {
		t.Run(name, func(t *testing.T) {
			eachStream(t, func(t *testing.T, open func(context.Context, grpc_testing.TestServiceClient) func() error) {
				o := newOwner("t1", "t2")
				a := newAuth(t, o, opts...)
				client := serve(t, newPatient(), a.ServerOptions()...)
				receive := open(long(t, "t1"), client)
				ended := make(chan error, 1)
				go func() { ended <- receive() }()
				synctest.Wait()
				for _, forget := range []func(){
					func() { _ = a.Forget(context.Background(), "t1") }, func() { _ = a.ForgetSubject(context.Background(), "user-of-t1") }, func() { _ = a.ForgetAll(context.Background()) }, func() { _ = a.Forget(context.Background(), "t2") },
				} {
					forget()
					time.Sleep(2 * time.Second)
					select {
					case err := <-ended:
						t.Fatalf("a stream whose session is still good ended: %v", err)
					default:
					}
				}
				if got := o.verified.Load(); got != 4 {
					t.Errorf("%d verifications, want 4: of the start and of three Forgets", got)
				}
				o.set("t1", nil)
				_ = a.Forget(context.Background(), "t1")
				start := time.Now()
				invalid.check(t, <-ended)
				if after := time.Since(start); after != 0 {
					t.Errorf("ended %v after the Forget", after)
				}
			})
		})
	}
}

func TestWithStreamRecheck(t *testing.T) {
	eachStream(t, func(t *testing.T, open func(context.Context, grpc_testing.TestServiceClient) func() error) {
		o := newOwner("t1")
		a := newAuth(t, o, interceptor.WithCache(cache.Policy{TTL: 10 * time.Second}), interceptor.WithStreamRecheck(20*time.Second))
		client := serve(t, newPatient(), a.ServerOptions()...)
		const streams = 100
		var wg sync.WaitGroup
		start := time.Now()
		for range streams {
			wg.Go(func() {
				invalid.check(t, open(long(t, "t1"), client)())
				// By a recheck that is not answered from memory any more.
				if after := time.Since(start); after < 48*time.Second || after > 75*time.Second {
					t.Errorf("ended after %v", after)
				}
			})
		}
		time.Sleep(45 * time.Second)
		if got := o.verified.Load(); got != 3 { // at 0, from 16 s and from 32 s
			t.Errorf("%d verifications for %d streams, want 3", got, streams)
		}
		o.set("t1", nil)
		wg.Wait()
	})
}

func TestARecheckFollowsASessionThatItsOwnerExtends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner()
		o.set("t1", &record{User: "ada", Expires: time.Now().Add(time.Minute)})
		a := newAuth(t, o, interceptor.WithCache(cache.Policy{TTL: time.Second}), interceptor.WithStreamRecheck(50*time.Second))
		client := serve(t, newPatient(), a.ServerOptions()...)
		receive := openStreams["bidi stream"](long(t, "t1"), client)
		o.set("t1", &record{User: "ada", Expires: time.Now().Add(90 * time.Second)})
		if after := endOf(t, receive, expired); after != 90*time.Second {
			t.Errorf("ended after %v", after)
		}
	})
}

func TestAnOutageDuringARecheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("t1")
		a := newAuth(t, o, interceptor.WithStreamRecheck(10*time.Second),
			interceptor.WithCache(cache.Policy{TTL: 10 * time.Second, StaleIfError: time.Minute}))
		client := serve(t, newPatient(), a.ServerOptions()...)
		receive := openStreams["bidi stream"](long(t, "t1"), client)
		o.setFail(interceptor.ErrUnavailable)
		// TTL and StaleIfError, and an interval at most.
		if after := endOf(t, receive, unavailable); after < 70*time.Second || after > 80*time.Second {
			t.Errorf("ended after %v", after)
		}
	})
}

func TestWithUnboundedStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner()
		o.set("t1", &record{User: "ada", Expires: time.Now().Add(time.Minute)})
		a := newAuth(t, o, hour, interceptor.WithUnboundedStreams())
		who := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if _, err := authcontext.Require(stream.Context()); err != nil {
				return err
			}
			return handler(srv, stream)
		}
		client := serve(t, newPatient(), append(a.ServerOptions(), grpc.ChainStreamInterceptor(who))...)
		ctx, cancel := context.WithTimeout(bearerCtx("t1"), time.Hour)
		defer cancel()
		stream, err := client.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			_ = a.ForgetAll(context.Background())
			time.Sleep(time.Minute)
		}
	})
}

func TestAHandlerThatEndsByItselfIsUnaffected(t *testing.T) {
	boom := status.Error(codes.DataLoss, "the handler's own")
	own := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := handler(srv, stream); err != nil {
			return err
		}
		return boom
	}
	synctest.Test(t, func(t *testing.T) {
		o := newOwner()
		o.set("t1", &record{User: "ada", Expires: time.Now().Add(time.Minute)})
		a := newAuth(t, o, hour)
		client := serve(t, &service{}, append(a.ServerOptions(), grpc.ChainStreamInterceptor(own))...)
		_, err := kinds["bidi stream"](long(t, "t1"), client, "")
		if status.Code(err) == codes.OK && err == nil {
			t.Error("the handler's status was lost")
		}
		time.Sleep(2 * time.Minute) // nothing fires later
	})
}

// TestAForgetThatFindsNoStreamYet: between the verification of a stream and its being
// open there is a moment at which a Forget could miss it.
func TestAForgetThatFindsNoStreamYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("t1")
		var a *interceptor.Authenticator
		a, err := interceptor.NewSessionAuth(o.verify, func(ctx context.Context, r *record) (*authcontext.AuthContext, error) {
			o.set("t1", nil) // signed out just after it was verified
			_ = a.Forget(context.Background(), "t1")
			return mapRecord(ctx, r)
		})
		if err != nil {
			t.Fatal(err)
		}
		client := serve(t, newPatient(), a.ServerOptions()...)
		if after := endOf(t, openStreams["server stream"](long(t, "t1"), client), invalid); after != 0 {
			t.Errorf("ended after %v", after)
		}
	})
}

// panicking is a service whose stream handlers panic.
type panicking struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (panicking) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	_, _ = stream.Recv()
	panic("boom")
}

func TestAHandlerThatPanicsLeavesNothingBehind(t *testing.T) {
	recovering := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
		defer func() {
			if recover() != nil {
				err = status.Error(codes.Internal, "recovered")
			}
		}()
		return handler(srv, stream)
	}
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("t1")
		a := newAuth(t, o)
		client := serve(t, panicking{}, append([]grpc.ServerOption{grpc.ChainStreamInterceptor(recovering)}, a.ServerOptions()...)...)
		stream, err := client.FullDuplexCall(long(t, "t1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); status.Code(err) != codes.Internal {
			t.Errorf("%v", err)
		}
		_ = a.ForgetAll(context.Background())
		time.Sleep(time.Minute)
		if got := o.verified.Load(); got != 1 {
			t.Errorf("%d verifications: the stream is still watched", got)
		}
	})
}

// reusing is a service that receives into one message again and again, and uses it
// after RecvMsg has failed: the message is its own by then.
type reusing struct {
	grpc_testing.UnimplementedTestServiceServer
	done chan struct{}
}

func (r *reusing) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	message := &grpc_testing.StreamingOutputCallRequest{}
	for {
		err := stream.RecvMsg(message)
		for range 1000 {
			message.Payload = &grpc_testing.Payload{Body: append(message.GetPayload().GetBody(), 'x')}
		}
		if err != nil {
			<-r.done // the client has sent another message meanwhile
			message.Payload = nil
			return err
		}
	}
}

func TestAReleasedRecvMsgLeavesTheHandlersMessageAlone(t *testing.T) {
	o := newOwner("t1")
	a := newAuth(t, o)
	srv := &reusing{done: make(chan struct{})}
	client := serve(t, srv, a.ServerOptions()...)
	stream, err := client.FullDuplexCall(long(t, "t1"))
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: []byte("a")}}); err != nil {
			t.Fatal(err)
		}
	}
	o.set("t1", nil)
	_ = a.Forget(context.Background(), "t1")
	for range 10 {
		_ = stream.Send(&grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: []byte("b")}})
	}
	close(srv.done)
	_, err = stream.Recv()
	invalid.check(t, err)
}

func TestRetryInfoReachesTheClient(t *testing.T) {
	named, err := status.New(codes.ResourceExhausted, "slow down").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		fail error
		want time.Duration
	}{
		"RetryAfter":               {interceptor.RetryAfter(2*time.Second, errors.New("429")), 2 * time.Second},
		"RetryAfter, wrapped":      {fmt.Errorf("owner: %w", interceptor.RetryAfter(2*time.Second, nil)), 2 * time.Second},
		"a status with RetryInfo":  {fmt.Errorf("owner: %w", named.Err()), 3 * time.Second},
		"no delay":                 {interceptor.ErrUnavailable, 0},
		"a delay that is negative": {interceptor.RetryAfter(-time.Second, nil), 0},
		"a delay without sense":    {interceptor.RetryAfter(1<<62, nil), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwner()
			o.setFail(test.fail)
			client := serve(t, &service{}, newAuth(t, o, hour).ServerOptions()...)
			_, err := kinds["unary"](bearer(t, "t1"), client, "")
			unavailable.check(t, err)
			var got time.Duration
			for _, detail := range status.Convert(err).Details() {
				if info, ok := detail.(*errdetails.RetryInfo); ok {
					got = info.GetRetryDelay().AsDuration()
				}
			}
			if got != test.want {
				t.Errorf("the client is told to wait %v, want %v", got, test.want)
			}
		})
	}
}

func TestTheAuditNamesPatternsThatMatchNothing(t *testing.T) {
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, &service{})
	o := newOwner()
	a := newAuth(t, o, interceptor.WithSkipMethods("grpc.testing.TestService/UnaryCall", "/grpc.testing.TestService/*", "*"))
	if err := authz.Audit(server, a, nil).Without(authz.NoInterceptor).Err(); err != nil {
		t.Error(err)
	}
	a = newAuth(t, o, interceptor.WithSkipMethods("grpc.testing.TestService/UnaryCal", "grpc.testing.TestService/EmptyCall", "other.Service/*"))
	want := `authz: grpc.testing.TestService/UnaryCal: this pattern of WithSkipMethods matches no method of the server
authz: other.Service/*: this pattern of WithSkipMethods matches no method of the server`
	if err := authz.Audit(server, a, nil).Without(authz.NoInterceptor).Err(); err == nil || err.Error() != want {
		t.Errorf("the audit says %v, want\n%s", err, want)
	}
}

func TestContradictoryStreamOptionsFailInTheConstructor(t *testing.T) {
	o := newOwner()
	for name, opts := range map[string][]interceptor.Option{
		"an interval of zero":     {interceptor.WithStreamRecheck(0)},
		"a negative interval":     {interceptor.WithStreamRecheck(-time.Second)},
		"recheck and unbounded":   {interceptor.WithStreamRecheck(time.Second), interceptor.WithUnboundedStreams()},
		"RefreshAfter beyond TTL": {interceptor.WithCache(cache.Policy{TTL: time.Second, RefreshAfter: time.Second})},
		"negative RefreshAfter":   {interceptor.WithCache(cache.Policy{TTL: time.Second, RefreshAfter: -1})},
		"negative StaleIfError":   {interceptor.WithCache(cache.Policy{TTL: time.Second, StaleIfError: -1})},
		"negative MaxVerifies":    {interceptor.WithCache(cache.Policy{TTL: time.Second, MaxVerifies: -1})},
	} {
		if a, err := interceptor.NewSessionAuth(o.verify, mapRecord, opts...); a != nil || err == nil {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}
