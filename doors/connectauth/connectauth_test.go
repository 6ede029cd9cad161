package connectauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/doors/connectauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// overEach runs a test over every protocol.
func overEach(t *testing.T, test func(t *testing.T, opts []connect.ClientOption)) {
	for name, opts := range protocols {
		t.Run(name, func(t *testing.T) { test(t, opts) })
	}
}

func TestACallPassesOrIsRefused(t *testing.T) {
	rules, err := authz.New(authz.WithRules(authz.Rule{Name: "staff", Methods: []string{"grpc.testing.TestService/*"}, Roles: []string{"staff"}, Effect: authz.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		header  http.Header
		opts    []interceptor.Option
		rules   bool
		down    error
		code    connect.Code // 0: it passes
		message string
		reason  reason.Reason
		subject string
	}{
		"somebody":                   {subject: "ada"},
		"by cookie":                  {header: http.Header{"Cookie": {"sid=TOKEN"}}, subject: "ada"},
		"nobody":                     {header: http.Header{}, code: connect.CodeUnauthenticated, message: "missing credentials", reason: reason.MissingCredentials},
		"nobody, where that is fine": {header: http.Header{}, opts: []interceptor.Option{interceptor.WithOptionalAuth()}, subject: "nobody"},
		"methods that are skipped":   {header: http.Header{}, opts: []interceptor.Option{interceptor.WithSkipMethods("grpc.testing.TestService/*")}, subject: "nobody"},
		"an unknown session":         {header: bearer("made-up"), code: connect.CodeUnauthenticated, message: "invalid session", reason: reason.InvalidSession},
		"two tokens":                 {header: http.Header{"Authorization": {"Bearer TOKEN", "Bearer b"}}, code: connect.CodeUnauthenticated, message: "ambiguous credentials", reason: reason.AmbiguousCredentials},
		"20 KiB of token":            {header: bearer(strings.Repeat("x", 20<<10)), code: connect.CodeUnauthenticated, message: "invalid session", reason: reason.InvalidSession},
		"a foreign page": {header: http.Header{"Cookie": {"sid=TOKEN"}, "Origin": {"https://evil.test"}}, opts: []interceptor.Option{interceptor.WithAllowedOrigins()},
			code: connect.CodePermissionDenied, message: "origin not allowed", reason: reason.OriginNotAllowed},
		"an owner that is away": {down: interceptor.RetryAfter(time.Minute, nil), code: connect.CodeUnavailable, message: "session verification unavailable", reason: reason.VerificationUnavailable},
		"one that fails":        {down: errors.New("secret"), code: connect.CodeUnauthenticated, message: "session verification failed", reason: reason.VerificationFailed},
		"a status of its own":   {down: status.Error(codes.FailedPrecondition, "pay first"), code: connect.CodeFailedPrecondition, message: "pay first"},
		"what ada may not":      {rules: true, code: connect.CodePermissionDenied, message: "access denied", reason: reason.AccessDenied},
		"what nobody may":       {rules: true, header: http.Header{}, opts: []interceptor.Option{interceptor.WithOptionalAuth()}, code: connect.CodeUnauthenticated, message: "missing credentials", reason: reason.MissingCredentials},
	}
	overEach(t, func(t *testing.T, opts []connect.ClientOption) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				var o authtest.Owner
				token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
				if test.down != nil {
					o.GoDown(test.down)
				}
				header := bearer(token)
				if test.header != nil {
					header = http.Header{}
					for name, values := range test.header {
						for _, value := range values {
							header.Add(name, strings.ReplaceAll(value, "TOKEN", token))
						}
					}
				}
				var own []connectauth.Option
				if test.rules {
					own = append(own, connectauth.WithAuthorizer(rules))
				}
				server := serve(t, newService().handler(sessions(t, newAuth(t, &o, test.opts...), own...)))
				for kind, got := range (client{server, opts, header}).each(t.Context()) {
					if got.subject != test.subject {
						t.Errorf("%s: served as %q, want %q", kind, got.subject, test.subject)
					}
					if test.code == 0 {
						if got.err != nil {
							t.Errorf("%s: %v", kind, got.err)
						}
						continue
					}
					failed, ok := errors.AsType[*connect.Error](got.err)
					if !ok || failed.Code() != test.code || failed.Message() != test.message || reasonOf(got.err) != test.reason {
						t.Errorf("%s: %v, reason %s", kind, got.err, reasonOf(got.err))
						continue
					}
					if delay := retryDelay(failed); test.reason == reason.VerificationUnavailable && delay < time.Minute {
						t.Errorf("%s: to be tried again after %v", kind, delay)
					}
				}
			})
		}
	})
}

func retryDelay(err *connect.Error) time.Duration {
	for _, detail := range err.Details() {
		if value, err := detail.Value(); err == nil {
			if info, ok := value.(*errdetails.RetryInfo); ok {
				return info.GetRetryDelay().AsDuration()
			}
		}
	}
	return 0
}

// TestWhatAHandlerSees: the identity with its session, and no x-auth-* header of the client's, in
// any spelling, nor the secret of a gateway.
func TestWhatAHandlerSees(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	gateway, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(secret))
	if err != nil {
		t.Fatal(err)
	}
	spoofed := http.Header{"X-Auth-Roles": {`["admin"]`}, "X_auth_subject": {"eve"}, "Grpcgateway-X-Auth-Subject": {"eve"}, "X-Other": {"kept"}}
	told := http.Header{"X-Auth-Subject": {"ada"}, "X-Gateway-Secret": {secret}, "X-Other": {"kept"}}
	for name, test := range map[string]struct {
		authn  connectauth.Authn
		header http.Header
	}{
		"of a session":       {newAuth(t, &o), merged(bearer(token), spoofed)},
		"of a skipped call":  {newAuth(t, &o, interceptor.WithSkipMethods("*")), spoofed},
		"of a told identity": {gateway, told},
	} {
		overEach(t, func(t *testing.T, opts []connect.ClientOption) {
			s := newService()
			calls := 0
			s.seen = func(ctx context.Context, header http.Header) {
				calls++
				for got := range header {
					if lower := strings.ToLower(got); strings.Contains(lower, "auth") && got != "Authorization" || strings.Contains(lower, "secret") {
						t.Errorf("%s: a handler sees %s", name, got)
					}
				}
				if _, ok := authcontext.SessionFromContext[*authtest.Session](ctx); header.Get("X-Other") != "kept" || ok != (name == "of a session") {
					t.Errorf("%s: %v, a session: %t", name, header, ok)
				}
			}
			(client{serve(t, s.handler(sessions(t, test.authn))), opts, test.header}).each(t.Context())
			if calls != 3 {
				t.Errorf("%s: %d calls", name, calls)
			}
		})
	}
}

func merged(headers ...http.Header) http.Header {
	all := http.Header{}
	for _, header := range headers {
		maps.Copy(all, header)
	}
	return all
}

func TestWhatACallbackHandsBackReachesItsCaller(t *testing.T) {
	for _, refused := range []bool{false, true} {
		auth, err := interceptor.NewSessionAuth(func(ctx context.Context, _ string, _ http.Header) (*struct{}, error) {
			if err := interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {"sid=1; Path=/", "b=2"}}); err != nil {
				return nil, err
			}
			if refused {
				return nil, interceptor.ErrInvalidSession
			}
			return &struct{}{}, nil
		}, func(context.Context, *struct{}) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: "ada"}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		overEach(t, func(t *testing.T, opts []connect.ClientOption) {
			for kind, got := range (client{serve(t, newService().handler(sessions(t, auth))), opts, bearer("x")}).each(t.Context()) {
				if cookies := fmt.Sprint(got.header["Set-Cookie"]); cookies != "[sid=1; Path=/ b=2]" || (got.err != nil) != refused {
					t.Errorf("%s, refused %t: %s, %v", kind, refused, cookies, got.err)
				}
				if kind == "unary" && strings.HasSuffix(t.Name(), "GET") && !slices.Contains(got.header["Cache-Control"], "private") {
					t.Errorf("a shared cache may store the cookie, refused %t: %v", refused, got.header["Cache-Control"])
				}
			}
		})
		// What its handler answers with 404, which caches store, too.
		missing := connect.NewUnaryHandler(unary, func(context.Context, *connect.Request[grpc_testing.SimpleRequest]) (*connect.Response[grpc_testing.SimpleResponse], error) {
			return nil, connect.NewError(connect.CodeNotFound, nil)
		}, sessions(t, auth), connect.WithIdempotency(connect.IdempotencyNoSideEffects))
		_, header, err := client{serve(t, missing), []connect.ClientOption{connect.WithHTTPGet()}, bearer("x")}.unary(t.Context())
		if len(header["Set-Cookie"]) != 2 || !slices.Contains(header["Cache-Control"], "private") || refused != (connect.CodeOf(err) == connect.CodeUnauthenticated) {
			t.Errorf("refused %t: %v, %v", refused, header, err)
		}
	}
}

// TestAStreamEndsWithItsSession, whatever its handler waits for, and the client learns why.
func TestAStreamEndsWithItsSession(t *testing.T) {
	rules, err := authz.New(authz.WithRules(authz.Rule{Name: "r", Methods: []string{"*"}, Roles: []string{"reader"}, Effect: authz.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]struct {
		end    func(o *authtest.Owner, auth *interceptor.Authenticator, token string)
		code   connect.Code
		reason reason.Reason
	}{
		"signed out and forgotten": {func(o *authtest.Owner, auth *interceptor.Authenticator, token string) {
			o.SignOut(token)
			_ = auth.Forget(context.Background(), token)
		}, connect.CodeUnauthenticated, reason.InvalidSession},
		"expired": {func(o *authtest.Owner, auth *interceptor.Authenticator, token string) {
			o.Update(token, func(ac *authcontext.AuthContext) { ac.ExpiresAt = time.Now().Add(200 * time.Millisecond) })
			_ = auth.Forget(context.Background(), token)
		}, connect.CodeUnauthenticated, reason.SessionExpired},
		"not allowed any more": {func(o *authtest.Owner, auth *interceptor.Authenticator, token string) {
			o.Update(token, func(ac *authcontext.AuthContext) { ac.Roles = nil })
			_ = auth.ForgetSubject(context.Background(), "ada")
		}, connect.CodePermissionDenied, reason.AccessDenied},
	}
	waits := map[string]func(ctx context.Context, c client, begun func()) error{
		"it waits for its context": func(ctx context.Context, c client, begun func()) error {
			stream, err := c.output(ctx, true)
			if err != nil {
				return err
			}
			defer stream.Close()
			for stream.Receive() {
				begun()
			}
			return stream.Err()
		},
		"it waits for a client that is silent": func(ctx context.Context, c client, begun func()) error {
			stream := c.duplex(ctx)
			defer stream.CloseResponse()
			defer stream.CloseRequest()
			_ = stream.Send(&grpc_testing.StreamingOutputCallRequest{})
			for {
				if _, err := stream.Receive(); err != nil {
					return err
				}
				begun()
			}
		},
		"it waits for more of a client's stream": func(ctx context.Context, c client, begun func()) error {
			stream := c.input(ctx)
			if err := stream.Send(&grpc_testing.StreamingInputCallRequest{}); err != nil {
				return err
			}
			begun()
			conn, err := stream.Conn()
			if err != nil {
				return err
			}
			return conn.Receive(&grpc_testing.StreamingInputCallResponse{})
		},
	}
	overEach(t, func(t *testing.T, opts []connect.ClientOption) {
		for endName, end := range ends {
			for waitName, wait := range waits {
				t.Run(endName+", "+waitName, func(t *testing.T) {
					t.Parallel()
					var o authtest.Owner
					auth := newAuth(t, &o)
					token := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"reader"}})
					s := newService()
					started := make(chan struct{}, 1)
					s.seen = func(context.Context, http.Header) { started <- struct{}{} }
					server := serve(t, s.handler(sessions(t, auth, connectauth.WithAuthorizer(rules))))
					err := wait(t.Context(), client{server, opts, bearer(token)}, func() {
						receive(t, started)
						end.end(&o, auth, token)
					})
					if connect.CodeOf(err) != end.code || reasonOf(err) != end.reason {
						t.Errorf("the client got %v, reason %s", err, reasonOf(err))
					}
					if got := receive(t, s.ended); reason.Of(got.cause) != end.reason || got.err == nil {
						t.Errorf("the handler found %v, %v", got.cause, got.err)
					}
				})
			}
		}
	})
}

// TestAnErrorOfTheHandlersOwnIsLeftAsItIs, and what is unbounded goes on.
func TestAnErrorOfTheHandlersOwnIsLeftAsItIs(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	for name, own := range map[string]error{
		"Connect's": connect.NewError(connect.CodeAborted, errors.New("own")), "a status": status.Error(codes.NotFound, "own"), "any other": errors.New("own"),
	} {
		for _, opts := range [][]interceptor.Option{nil, {interceptor.WithUnboundedStreams()}} {
			code := connect.CodeUnknown
			if name == "Connect's" {
				code = connect.CodeAborted
			}
			handler := connect.NewServerStreamHandler(output, func(
				context.Context, *connect.Request[grpc_testing.StreamingOutputCallRequest], *connect.ServerStream[grpc_testing.StreamingOutputCallResponse],
			) error {
				return own
			}, sessions(t, newAuth(t, &o, opts...)))
			stream, err := (client{serve(t, handler), nil, bearer(token)}).output(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			for stream.Receive() {
				t.Error("a message")
			}
			if connect.CodeOf(stream.Err()) != code {
				t.Errorf("%s: %v", name, stream.Err())
			}
			_ = stream.Close()
		}
	}
}

func TestInAClientItDoesNothing(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	auth := newAuth(t, &o)
	i, err := connectauth.NewInterceptor(auth)
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, newService().handler(connect.WithInterceptors(i)))
	for kind, got := range (client{server, []connect.ClientOption{connect.WithInterceptors(i)}, bearer(token)}).each(t.Context()) {
		if got.subject != "ada" || got.err != nil {
			t.Errorf("%s: %q, %v", kind, got.subject, got.err)
		}
	}
}

func TestOptionsThatAreNotValid(t *testing.T) {
	var o authtest.Owner
	if _, err := connectauth.NewInterceptor(newAuth(t, &o), nil, connectauth.WithAuthorizer(nil)); err == nil || !strings.Contains(err.Error(), "connectauth: WithAuthorizer: no Authorizer") {
		t.Error(err)
	}
	for _, authn := range []connectauth.Authn{nil, (*interceptor.Authenticator)(nil), (*interceptor.GatewayAuth)(nil)} {
		if _, err := connectauth.NewInterceptor(authn); err == nil || err.Error() != "connectauth: no Authenticator" {
			t.Error(err)
		}
	}
}
