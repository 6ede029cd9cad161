package interceptor_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	mwauth "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// The go blocks of README.md are taken from this file; readme_test.go keeps them
// equal.

var sessions = map[string][]string{ // by token: a user and its roles
	"token-of-ada": {"ada", "admin"},
	"token-of-bob": {"bob", "intern"},
	"token-of-eve": {"eve", "editor"},
}

func verify(_ context.Context, token string, _ http.Header) ([]string, error) {
	return sessions[token], nil
}

func mapSession(_ context.Context, s []string) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s[0], Roles: s[1:]}, nil
}

type session struct{ UserID string }

// A complete server, but for where it listens: all its methods need a session.
func Example() {
	auth, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (*session, error) {
		return map[string]*session{"a-token": {UserID: "ada"}}[token], nil // ask yours; nil: there is none
	}, func(_ context.Context, s *session) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s.UserID}, nil
	}, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(auth.ServerOptions()...)
	healthpb.RegisterHealthServer(server, health.NewServer())

	check, stop := serveForExample(server)
	defer stop()
	fmt.Println(describe(check("authorization", "Bearer a-token")))
	fmt.Println(describe(check("authorization", "Bearer forged")))
	fmt.Println(describe(check()))
	// Output:
	// SERVING
	// Unauthenticated: invalid session
	// Unauthenticated: missing credentials
}

// dialForExample starts server in memory and connects to it.
func dialForExample(server *grpc.Server) (conn *grpc.ClientConn, stop func()) {
	listener := bufconn.Listen(1 << 16)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		log.Fatal(err)
	}
	return conn, func() {
		if err := conn.Close(); err != nil {
			log.Fatal(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			log.Fatal(err)
		}
	}
}

// serveForExample starts server in memory. check calls its health service with
// these pairs of metadata.
func serveForExample(server *grpc.Server) (check func(pairs ...string) (string, error), stop func()) {
	conn, stop := dialForExample(server)
	check = func(pairs ...string) (string, error) {
		ctx := grpcmd.AppendToOutgoingContext(context.Background(), pairs...)
		answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		return answer.GetStatus().String(), err
	}
	return check, stop
}

// describe returns answer, or what err says of its code and message.
func describe(answer string, err error) string {
	if err != nil {
		return fmt.Sprintf("%v: %s", status.Code(err), status.Convert(err).Message())
	}
	return answer
}

// A health service for admins alone. Authentication says who calls; what they may
// do is decided on every call, by the handler.
type adminHealth struct {
	healthpb.UnimplementedHealthServer
}

func (adminHealth) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	if !caller.HasAnyRole("admin") {
		return nil, status.Error(codes.PermissionDenied, "admins only")
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// Cookies by name, and an order in which credentials are looked for.
func Example_cookies() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession,
		interceptor.WithExtractors(authmd.Cookie("better-auth.session_token"), authmd.Bearer()))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(auth.ServerOptions()...)
	healthpb.RegisterHealthServer(server, adminHealth{})

	check, stop := serveForExample(server)
	defer stop()
	fmt.Println(describe(check("cookie", "theme=dark; better-auth.session_token=token-of-ada")))
	fmt.Println(describe(check("cookie", "__Secure-better-auth.session_token=token-of-ada")))
	fmt.Println(describe(check("cookie", "theme=dark")))
	fmt.Println(describe(check("authorization", "Bearer token-of-ada")))
	// Output:
	// SERVING
	// SERVING
	// Unauthenticated: missing credentials
	// SERVING
}

// A cache that remembers refusals, too.
func Example_caching() {
	asked := 0
	counted := func(ctx context.Context, token string, header http.Header) ([]string, error) {
		asked++
		return verify(ctx, token, header)
	}
	auth, err := interceptor.NewSessionAuth(counted, mapSession,
		interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: 10 * time.Second}))
	if err != nil {
		log.Fatal(err)
	}
	for range 100 {
		for _, token := range []string{"token-of-ada", "forged"} {
			_, _ = auth.Authenticate(context.Background(), http.Header{"Authorization": {"Bearer " + token}})
		}
	}
	stats := auth.Stats()
	fmt.Println("asked", asked, "hits", stats.Hits, "refused from memory", stats.NegativeHits)
	// Output:
	// asked 2 hits 99 refused from memory 99
}

// A sign-out that takes effect at once.
func Example_forget() {
	sessions := map[string][]string{"token-of-bob": {"bob"}}
	verify := func(_ context.Context, token string, _ http.Header) ([]string, error) { return sessions[token], nil }
	auth, err := interceptor.NewSessionAuth(verify, mapSession, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		log.Fatal(err)
	}
	signOut := func(ctx context.Context, token string) error {
		delete(sessions, token) // at its owner first
		return auth.Forget(ctx, token)
	}

	header := http.Header{"Authorization": {"Bearer token-of-bob"}}
	for range 2 {
		_, err := auth.Authenticate(context.Background(), header)
		fmt.Println(status.Code(err))
	}
	if err := signOut(context.Background(), "token-of-bob"); err != nil {
		log.Fatal(err)
	}
	_, err = auth.Authenticate(context.Background(), header)
	fmt.Println(describe("", err))
	// Output:
	// OK
	// OK
	// Unauthenticated: invalid session
}

// A session by every spelling of its token: the cookie is signed, the store holds what is
// before the signature.
func Example_signedCookies() {
	verify := func(_ context.Context, token string, _ http.Header) ([]string, error) {
		return sessions[authmd.UnsignedToken(token)], nil // after a look at the signature
	}
	auth, err := interceptor.NewSessionAuth(verify, mapSession, interceptor.WithCache(cache.Policy{TTL: time.Hour}),
		interceptor.WithExtractors(authmd.Named(authmd.Cookie("connect.sid"), authmd.UnsignedToken)))
	if err != nil {
		log.Fatal(err)
	}
	header := http.Header{"Cookie": {"theme=dark; connect.sid=s%3Atoken-of-ada.c2lnbmF0dXJl"}}
	for range 2 {
		if _, err := auth.Authenticate(context.Background(), header); err != nil {
			log.Fatal(err)
		}
	}
	if err := auth.Forget(context.Background(), "token-of-ada"); err != nil {
		log.Fatal(err)
	}
	_, err = auth.Authenticate(context.Background(), header)
	fmt.Println(err, auth.Stats().Misses, "verifications")
	// Output: <nil> 2 verifications
}

// An owner that asks to be left alone for a while.
func Example_retryAfter() {
	limited := func(context.Context, string, http.Header) ([]string, error) {
		return nil, interceptor.RetryAfter(3*time.Second, errors.New("429 Too Many Requests"))
	}
	auth, err := interceptor.NewSessionAuth(limited, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	_, err = auth.Authenticate(context.Background(), http.Header{"Authorization": {"Bearer token"}})
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			fmt.Println(status.Code(err), "for", info.GetRetryDelay().AsDuration())
		}
	}
	// Output: Unavailable for 3s
}

var errNoRow = errors.New("no such row")

// loadRow stands in for a query.
func loadRow(_ context.Context, token string) ([]string, error) {
	switch session, ok := sessions[token]; {
	case ok:
		return session, nil
	case token == "unlucky":
		return nil, errors.New("too many connections")
	}
	return nil, errNoRow
}

func verifyRow(ctx context.Context, token string, _ http.Header) ([]string, error) {
	row, err := loadRow(ctx, token)
	switch {
	case errors.Is(err, errNoRow):
		return nil, interceptor.ErrInvalidSession
	case err != nil:
		return nil, fmt.Errorf("%w: %w", interceptor.ErrUnavailable, err)
	}
	return row, nil
}

// "There is no such session" and "could not find out" are different answers.
func verifyAndRefresh(ctx context.Context, token string, _ http.Header) ([]string, error) {
	s := sessions[token]
	if s == nil {
		return nil, interceptor.ErrInvalidSession
	}
	cookie := &http.Cookie{Name: "session", Value: token, MaxAge: 3600, Secure: true, HttpOnly: true}
	return s, interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {cookie.String()}})
}

// A refreshed cookie goes to the client of the call that caused the verification.
func Example_responseHeader() {
	auth, err := interceptor.NewSessionAuth(verifyAndRefresh, mapSession,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(auth.ServerOptions()...)
	healthpb.RegisterHealthServer(server, health.NewServer())
	conn, stop := dialForExample(server)
	defer stop()
	for range 2 {
		var header grpcmd.MD
		ctx := grpcmd.AppendToOutgoingContext(context.Background(), "authorization", "Bearer token-of-ada")
		_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header))
		fmt.Println(status.Code(err), header.Get("set-cookie"))
	}
	// Output:
	// OK [session=token-of-ada; Max-Age=3600; HttpOnly; Secure]
	// OK []
}

// Pages of other origins cannot call with the cookies of a user.
func Example_allowedOrigins() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession,
		interceptor.WithExtractors(authmd.Cookie("session"), authmd.Bearer()),
		interceptor.WithAllowedOrigins("https://app.example.com"))
	if err != nil {
		log.Fatal(err)
	}
	for _, origin := range []string{"https://app.example.com", "https://evil.example.com"} {
		_, err := auth.Authenticate(context.Background(), http.Header{
			"Cookie": {"session=token-of-ada"}, "Origin": {origin},
		})
		fmt.Println(origin, status.Code(err))
	}
	// Output:
	// https://app.example.com OK
	// https://evil.example.com PermissionDenied
}

func Example_errors() {
	auth, err := interceptor.NewSessionAuth(verifyRow, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(auth.ServerOptions()...)
	healthpb.RegisterHealthServer(server, health.NewServer())

	check, stop := serveForExample(server)
	defer stop()
	for _, token := range []string{"forged", "unlucky"} {
		_, err := check("authorization", "Bearer "+token)
		fmt.Println(status.Code(err), reason.Of(err))
	}
	// Output:
	// Unauthenticated INVALID_SESSION
	// Unavailable VERIFICATION_UNAVAILABLE
}

// As the AuthFunc of go-grpc-middleware.
func Example_authFunc() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(mwauth.UnaryServerInterceptor(auth.AuthFunc)),
		grpc.ChainStreamInterceptor(mwauth.StreamServerInterceptor(auth.AuthFunc)),
	)
	healthpb.RegisterHealthServer(server, adminHealth{})

	check, stop := serveForExample(server)
	defer stop()
	fmt.Println(describe(check("authorization", "Bearer token-of-ada")))
	fmt.Println(describe(check()))
	// Output:
	// SERVING
	// Unauthenticated: missing credentials
}

type publicHealth struct {
	healthpb.HealthServer
	auth *interceptor.Authenticator
}

// AuthFuncOverride takes the place of the AuthFunc for this service.
func (s *publicHealth) AuthFuncOverride(ctx context.Context, fullMethod string) (context.Context, error) {
	if fullMethod == healthpb.Health_Check_FullMethodName {
		return ctx, nil // anybody may ask
	}
	return s.auth.AuthFunc(ctx)
}

// A service that decides for itself which of its methods need a session.
func Example_authFuncOverride() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(mwauth.UnaryServerInterceptor(auth.AuthFunc)),
		grpc.ChainStreamInterceptor(mwauth.StreamServerInterceptor(auth.AuthFunc)),
	)
	healthpb.RegisterHealthServer(server, &publicHealth{health.NewServer(), auth})

	check, stop := serveForExample(server)
	defer stop()
	fmt.Println(describe(check()))
	// Output: SERVING
}

// Behind go-grpc-middleware's selector.
func Example_selector() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	protected := selector.MatchFunc(func(_ context.Context, call interceptors.CallMeta) bool {
		return call.Service != healthpb.Health_ServiceDesc.ServiceName
	})
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(selector.UnaryServerInterceptor(auth.UnaryServerInterceptor(), protected)),
		grpc.ChainStreamInterceptor(selector.StreamServerInterceptor(auth.StreamServerInterceptor(), protected)),
	)
	healthpb.RegisterHealthServer(server, health.NewServer())

	check, stop := serveForExample(server)
	defer stop()
	fmt.Println(describe(check()))
	// Output: SERVING
}

// byTenant holds the sessions of two tenants. Both know the same token.
var byTenant = map[string]map[string][]string{
	"red":  {"token": {"ada of red"}},
	"blue": {"token": {"bob of blue"}},
}

func verifyTenant(_ context.Context, token string, header http.Header) ([]string, error) {
	return byTenant[header.Get("X-Tenant")][token], nil
}

// The verifier looks at a header besides the credential: it has to be named.
func Example_tenants() {
	auth, err := interceptor.NewSessionAuth(verifyTenant, mapSession,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}),
		interceptor.WithKeyHeaders("X-Tenant"))
	if err != nil {
		log.Fatal(err)
	}
	for _, tenant := range []string{"red", "blue", "red"} {
		found, err := auth.Authenticate(context.Background(),
			http.Header{"Authorization": {"Bearer token"}, "X-Tenant": {tenant}})
		caller := found.AuthContext()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(caller.Subject)
	}
	// Output:
	// ada of red
	// bob of blue
	// ada of red
}

type tenantInContext struct{}

// The verifier looks at a value that an outer interceptor put into the context.
func Example_tenantInContext() {
	verifyTenant := func(ctx context.Context, token string, _ http.Header) ([]string, error) {
		tenant, _ := ctx.Value(tenantInContext{}).(string)
		return byTenant[tenant][token], nil
	}
	auth, err := interceptor.NewSessionAuth(verifyTenant, mapSession,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}),
		interceptor.WithKeyHeaders(), // verify reads no other header
		interceptor.WithKeyContext(func(from, to context.Context) (context.Context, string) {
			tenant, _ := from.Value(tenantInContext{}).(string)
			return context.WithValue(to, tenantInContext{}, tenant), tenant
		}))
	if err != nil {
		log.Fatal(err)
	}
	for _, tenant := range []string{"red", "blue"} {
		ctx := context.WithValue(context.Background(), tenantInContext{}, tenant)
		found, err := auth.Authenticate(ctx, http.Header{"Authorization": {"Bearer token"}})
		caller := found.AuthContext()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(caller.Subject)
	}
	// Output:
	// ada of red
	// bob of blue
}
