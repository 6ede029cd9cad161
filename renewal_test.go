package sessionauth_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

func TestARenewedIdentityReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner()
		o.set("t1", &record{User: "ada", Roles: []string{"reader"}})
		a := newAuth(t, o, interceptor.WithStreamRecheck(time.Minute))
		seen := make(chan []string, 1)
		handler := func(stream grpc.ServerStream) error {
			for {
				time.Sleep(50 * time.Second)
				ac, ok := authcontext.FromContext(stream.Context())
				session, is := authcontext.SessionFromContext[*record](stream.Context())
				if !ok || !is || !slices.Equal(session.Roles, ac.Roles) {
					t.Errorf("the identity is %v, the session %v", ac, session)
				}
				select {
				case <-stream.Context().Done():
					return nil
				default:
					seen <- ac.Roles
				}
			}
		}
		stream := openDuplex(long(t, "t1"), t, serve(t, duplex{handler: handler}, a.ServerOptions()...))
		if got := <-seen; !slices.Equal(got, []string{"reader"}) {
			t.Errorf("at first the handler sees %q", got)
		}
		// Its end, too, is that of the newest verification.
		o.set("t1", &record{User: "ada", Roles: []string{"owner"}, Expires: time.Now().Add(10 * time.Minute)})
		start := time.Now()
		for got := range seen {
			if slices.Equal(got, []string{"owner"}) {
				break
			}
		}
		if after := time.Since(start); after > 2*time.Minute {
			t.Errorf("the handler sees it after %v", after)
		}
		go func() {
			for range seen {
			}
		}()
		_, err := stream.Recv()
		expired.check(t, err)
		if after := time.Since(start); after < 10*time.Minute || after > 11*time.Minute {
			t.Errorf("ended after %v", after)
		}
		close(seen)
	})
}

// opener is one of openStreams.
type opener = func(context.Context, grpc_testing.TestServiceClient) func() error

func TestRulesAreAskedAgainWithEachRenewal(t *testing.T) {
	noLonger := status.Error(codes.PermissionDenied, "no longer a reader")
	rules := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		decide := func(ac *authcontext.AuthContext) error {
			if !ac.HasAnyRole("reader") {
				return noLonger
			}
			return nil
		}
		stop, ok := authcontext.OnRenewal(stream.Context(), decide)
		defer stop()
		ac, found := authcontext.FromContext(stream.Context())
		if !ok || !found {
			return status.Error(codes.Internal, "no stream of ours")
		}
		if err := decide(ac); err != nil {
			return err
		}
		return handler(srv, stream)
	}
	forget := func(a *interceptor.Authenticator) { _ = a.Forget(context.Background(), "t1") }
	for name, test := range map[string]struct {
		opts   []interceptor.Option
		forget func(*interceptor.Authenticator)
		within time.Duration
	}{
		"after a Forget": {[]interceptor.Option{hour}, forget, 0},
		"by a recheck":   {[]interceptor.Option{interceptor.WithStreamRecheck(time.Minute)}, func(*interceptor.Authenticator) {}, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			eachStream(t, func(t *testing.T, open opener) {
				o := newOwner("t1")
				a := newAuth(t, o, test.opts...)
				p := newPatient()
				client := serve(t, p, append(a.ServerOptions(), grpc.ChainStreamInterceptor(rules))...)
				receive := open(long(t, "t1"), client)
				synctest.Wait()
				forget(a) // still a reader
				time.Sleep(time.Second)
				o.set("t1", &record{User: "user-of-t1", Roles: []string{"guest"}})
				test.forget(a)
				want := refusal{codes.PermissionDenied, "no longer a reader", ""}
				if after := endOf(t, receive, want); after > test.within {
					t.Errorf("ended after %v", after)
				}
				want.check(t, causeOf(<-p.ended))
			})
		})
	}
}

func TestARecheckOfAnotherSubjectsSession(t *testing.T) {
	eachStream(t, func(t *testing.T, open opener) {
		o := newOwner("t1")
		a := newAuth(t, o, hour)
		receive := open(long(t, "t1"), serve(t, newPatient(), a.ServerOptions()...))
		synctest.Wait()
		o.set("t1", &record{User: "eve"})
		_ = a.Forget(context.Background(), "t1")
		endOf(t, receive, invalid)
	})
}

func TestUnaryCallsAndSkippedMethodsHaveNoRenewals(t *testing.T) {
	o := newOwner("t1")
	a := newAuth(t, o)
	ctx, err := a.AuthFunc(grpcmd.NewIncomingContext(t.Context(), grpcmd.Pairs("authorization", "Bearer t1")))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := authcontext.OnRenewal(ctx, func(*authcontext.AuthContext) error { return nil }); ok {
		t.Error("a unary call has renewals")
	}
	handler := func(stream grpc.ServerStream) error {
		if _, ok := authcontext.OnRenewal(stream.Context(), func(*authcontext.AuthContext) error { return nil }); ok {
			return status.Error(codes.Internal, "a skipped method has renewals")
		}
		return status.Error(codes.OutOfRange, "fine")
	}
	client := serve(t, duplex{handler: handler}, newAuth(t, o, interceptor.WithSkipMethods("*")).ServerOptions()...)
	_, err = openDuplex(bearer(t, "t1"), t, client).Recv()
	refusal{codes.OutOfRange, "fine", ""}.check(t, err)
}
