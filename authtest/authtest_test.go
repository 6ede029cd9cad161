package authtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func register(server *grpc.Server) { healthpb.RegisterHealthServer(server, health.NewServer()) }

func serve(t *testing.T, o *authtest.Owner, opts ...interceptor.Option) (*interceptor.Authenticator, healthpb.HealthClient) {
	t.Helper()
	auth, err := interceptor.NewSessionAuth(o.Verify, o.Map, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return auth, healthpb.NewHealthClient(authtest.Start(t, register, auth.ServerOptions()...).Conn)
}

func check(ctx context.Context, client healthpb.HealthClient) error {
	_, err := client.Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func mustEnd(t *testing.T, err error, code codes.Code, message string) {
	t.Helper()
	if st := status.Convert(err); st.Code() != code || st.Message() != message {
		t.Errorf("got %v, want %v %q", err, code, message)
	}
}

func TestTheOwnerBehavesAsOneDoes(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	_, client := serve(t, &o)
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	ctx := authtest.WithBearer(t.Context(), token)
	mustEnd(t, check(ctx, client), codes.OK, "")
	mustEnd(t, check(authtest.WithCookie(authtest.WithCookie(t.Context(), "theme", "dark"), "sid", token), client), codes.OK, "")
	mustEnd(t, check(authtest.WithBearer(t.Context(), "made-up"), client), codes.Unauthenticated, "invalid session")
	mustEnd(t, check(t.Context(), client), codes.Unauthenticated, "missing credentials")
	if o.Calls(token) != 2 || o.Calls("made-up") != 1 || o.Calls("") != 3 {
		t.Errorf("calls: %d, %d, %d", o.Calls(token), o.Calls("made-up"), o.Calls(""))
	}

	o.GoDown(nil)
	mustEnd(t, check(ctx, client), codes.Unavailable, "session verification unavailable")
	o.GoDown(status.Error(codes.FailedPrecondition, "pay first"))
	mustEnd(t, check(ctx, client), codes.FailedPrecondition, "pay first")
	o.GoDown(errors.New("a bug"))
	mustEnd(t, check(ctx, client), codes.Unauthenticated, "session verification failed")
	o.ComeBack()
	mustEnd(t, check(ctx, client), codes.OK, "")

	expire := func(at time.Time) func(*authcontext.AuthContext) {
		return func(ac *authcontext.AuthContext) { ac.ExpiresAt = at }
	}
	o.Update(token, expire(time.Now().Add(time.Hour)))
	mustEnd(t, check(ctx, client), codes.OK, "")
	o.Update(token, expire(time.Now()))
	mustEnd(t, check(ctx, client), codes.Unauthenticated, "invalid session")
	o.Update("made-up", func(*authcontext.AuthContext) { t.Error("a session that is none is changed") })

	other, third := o.SignIn(authcontext.AuthContext{Subject: "ada"}), o.SignIn(authcontext.AuthContext{})
	o.SignOutSubject("ada")
	mustEnd(t, check(authtest.WithBearer(t.Context(), other), client), codes.Unauthenticated, "invalid session")
	mustEnd(t, check(authtest.WithBearer(t.Context(), third), client), codes.OK, "")
	o.SignOut(third)
	mustEnd(t, check(authtest.WithBearer(t.Context(), third), client), codes.Unauthenticated, "invalid session")
}

func TestAStalledOwner(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	_, client := serve(t, &o, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	token := o.SignIn(authcontext.AuthContext{})
	o.Stall()
	o.Stall()
	ctx, cancel := context.WithTimeout(authtest.WithBearer(t.Context(), token), 50*time.Millisecond)
	defer cancel()
	if err := check(ctx, client); status.Code(err) != codes.DeadlineExceeded { // gRPC words it in two ways
		t.Error(err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { mustEnd(t, check(authtest.WithBearer(t.Context(), token), client), codes.OK, "") })
	}
	o.ComeBack()
	wg.Wait()
	if got := o.Calls(token); got != 1 {
		t.Errorf("%d calls", got)
	}
}

func TestAnOutageIsForgiven(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	auth, client := serve(t, &o, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	token := o.SignIn(authcontext.AuthContext{})
	mustEnd(t, check(authtest.WithBearer(t.Context(), token), client), codes.OK, "")
	o.SignOut(token)
	mustEnd(t, check(authtest.WithBearer(t.Context(), token), client), codes.OK, "") // from memory
	_ = auth.Forget(context.Background(), token)
	mustEnd(t, check(authtest.WithBearer(t.Context(), token), client), codes.Unauthenticated, "invalid session")
}

func TestAnIdentityInAContext(t *testing.T) {
	t.Parallel()
	given := authcontext.AuthContext{Roles: []string{"admin"}}
	ctx := authtest.NewContext(t.Context(), given)
	given.Roles[0] = "changed"
	ac, err := authcontext.Require(ctx)
	if err != nil || ac.Subject != authtest.Subject || ac.Type != authcontext.TypeSession || !ac.HasAnyRole("admin") {
		t.Errorf("got %v, %v", ac, err)
	}
	if _, ok := authcontext.SessionFromContext[int](ctx); ok {
		t.Error("there is a session")
	}
	ctx = authtest.NewSessionContext(t.Context(), authcontext.AuthContext{Subject: "ada", Type: "jwt"}, 42)
	ac, _ = authcontext.FromContext(ctx)
	if session, ok := authcontext.SessionFromContext[int](ctx); !ok || session != 42 || ac.Subject != "ada" || ac.Type != "jwt" {
		t.Errorf("got %v, %v", session, ac)
	}
}

func TestCredentialsOfACall(t *testing.T) {
	t.Parallel()
	ctx := authtest.WithBearer(authtest.WithBearer(t.Context(), "one"), "two")
	ctx = authtest.WithCookie(authtest.WithCookie(ctx, "a", "1"), "b", "2 3")
	md, _ := grpcmd.FromOutgoingContext(ctx)
	if got := strings.Join(md["authorization"], "|"); got != "Bearer two" {
		t.Error(got)
	}
	if got := strings.Join(md["cookie"], "|"); got != `a=1|b="2 3"` {
		t.Error(got)
	}
}

func TestASessionMayChange(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"reader"}})
	before, err := o.Verify(t.Context(), token, nil)
	if err != nil {
		t.Fatal(err)
	}
	o.Update(token, func(ac *authcontext.AuthContext) {
		ac.Roles[0], ac.Type = "editor", ""
	})
	after, err := o.Verify(t.Context(), token, nil)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := o.Map(t.Context(), before)
	is, _ := o.Map(t.Context(), after)
	if !was.HasAnyRole("reader") || !is.HasAnyRole("editor") || is.Subject != "ada" || is.Type != authcontext.TypeSession {
		t.Errorf("was %v, is %v", was, is)
	}
}

// recorder is a TB that remembers what failed, and what is to be cleaned up.
type recorder struct {
	*testing.T

	failed   []string
	cleanups []func()
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, fmt.Sprintf(format, args...))
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) end() []string {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.failed
}

func TestAServerEndsWellHoweverTheTestEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		register func(*grpc.Server)
		use      func(*authtest.Server)
	}{
		"without a call": {register, func(*authtest.Server) {}},
		"with the server stopped before it serves": {func(s *grpc.Server) { s.Stop() }, func(*authtest.Server) {}},
		"with the server stopped by the test":      {register, func(s *authtest.Server) { s.Server.Stop() }},
		"with the connection closed by the test":   {register, func(s *authtest.Server) { _ = s.Conn.Close() }},
		"with a stream that is open": {register, func(s *authtest.Server) {
			stream, err := healthpb.NewHealthClient(s.Dial()).Watch(context.Background(), &healthpb.HealthCheckRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if err != nil {
				t.Error(err)
			}
		}},
	} {
		tb := &recorder{T: t}
		test.use(authtest.Start(tb, test.register))
		if failed := tb.end(); len(failed) != 0 {
			t.Errorf("%s: %q", name, failed)
		}
	}
}

func TestAnIdentityThatAGatewayTells(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	auth, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(secret))
	if err != nil {
		t.Fatal(err)
	}
	var seen *authcontext.AuthContext
	client := healthpb.NewHealthClient(authtest.Start(t, register, append(auth.ServerOptions(), grpc.ChainUnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			seen, _ = authcontext.FromContext(ctx)
			return handler(ctx, req)
		}))...).Conn)
	ctx := authtest.WithIdentity(t.Context(), t, secret, authcontext.AuthContext{
		Subject: "ada", Roles: []string{"reader"}, Claims: map[string]any{"tenant": "a", "token": "t"},
	}, "tenant")
	mustEnd(t, check(ctx, client), codes.OK, "")
	if seen.Subject != "ada" || !seen.HasAnyRole("reader") || len(seen.Claims) != 1 || seen.Claims["tenant"] != "a" {
		t.Errorf("got %v with claims %v", seen, seen.Claims)
	}
	mustEnd(t, check(authtest.WithIdentity(ctx, t, "", authcontext.AuthContext{}), client), codes.OK, "")
	if seen.Subject != authtest.Subject || seen.HasAnyRole("reader") || seen.Type != authcontext.TypeGateway {
		t.Errorf("in place of another: %v", seen)
	}
	mustEnd(t, check(authtest.WithIdentity(t.Context(), t, "", authcontext.AuthContext{}), client), codes.Unauthenticated, "untrusted caller")
}

func TestAuditFailsATest(t *testing.T) {
	t.Parallel()
	rules, err := authz.New(authz.WithPublicMethods("grpc.health.v1.Health/Chek"))
	if err != nil {
		t.Fatal(err)
	}
	server := authtest.Start(t, register, grpc.ChainUnaryInterceptor(rules.UnaryServerInterceptor()))
	tb := &recorder{T: t}
	authtest.Audit(tb, server.Server, nil, rules, authz.NoRule)
	want := []string{
		"authtest: grpc.health.v1.Health/Chek: this pattern of WithPublicMethods matches no method of the server",
		"authtest: Authorizer: none of its interceptors is in front of /grpc.health.v1.Health/Watch, one of 1 streams",
	}
	if !slices.Equal(tb.failed, want) {
		t.Errorf("got %q", tb.failed)
	}
	tb.failed = nil
	authtest.Audit(tb, server.Server, nil, rules, authz.NoRule, authz.NoMatch, authz.NoInterceptor)
	if len(tb.failed) != 0 {
		t.Errorf("excepted: %q", tb.failed)
	}
}

func TestNothingPrintsAToken(t *testing.T) {
	t.Parallel()
	o := &authtest.Owner{}
	token := o.SignIn(authcontext.AuthContext{})
	session, err := o.Verify(t.Context(), token, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, unknown := o.Verify(t.Context(), "secret-token", nil)
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format+format+format, o, session, unknown); strings.Contains(text, token) || strings.Contains(text, "secret-token") {
			t.Errorf("%s: %s", format, text)
		}
	}
}
