package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

var (
	notForwarded    = refusal{codes.Internal, "identity cannot be forwarded", string(reason.IdentityNotForwarded)}
	noCredential    = refusal{codes.Unauthenticated, "credential unavailable", string(reason.CredentialUnavailable)}
	delayed         = refusal{codes.Unavailable, "credential unavailable", string(reason.CredentialUnavailable)}
	refusedInsecure = refusal{codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection", ""}
)

func newForwarder(t *testing.T, opts ...clientauth.Option) *clientauth.Forwarder {
	t.Helper()
	f, err := clientauth.NewForwarder(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// onBehalfOf is with for a call in the name of ac.
func onBehalfOf(t *testing.T, ac *authcontext.AuthContext, pairs ...string) context.Context {
	t.Helper()
	return authcontext.NewContext(with(t, pairs...), ac)
}

// relay answers with what another service answers, to which it passes on all the
// metadata that it sees.
type relay struct {
	grpc_testing.UnimplementedTestServiceServer

	next grpc_testing.TestServiceClient
	via  func(context.Context, grpc_testing.TestServiceClient, string) (string, error)
}

func (s *relay) ask(ctx context.Context) (*grpc_testing.Payload, error) {
	md, _ := grpcmd.FromIncomingContext(ctx)
	for _, key := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
		delete(md, key)
	}
	subject, err := s.via(grpcmd.NewOutgoingContext(ctx, md), s.next, "ann")
	return &grpc_testing.Payload{Body: []byte(subject)}, err
}

func (s *relay) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	payload, err := s.ask(ctx)
	return &grpc_testing.SimpleResponse{Payload: payload}, err
}

func (s *relay) StreamingOutputCall(
	_ *grpc_testing.StreamingOutputCallRequest, stream grpc_testing.TestService_StreamingOutputCallServer,
) error {
	payload, err := s.ask(stream.Context())
	if err != nil {
		return err
	}
	return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload})
}

func (s *relay) StreamingInputCall(stream grpc_testing.TestService_StreamingInputCallServer) error {
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	payload, err := s.ask(stream.Context())
	if err != nil {
		return err
	}
	return stream.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: int32(len(payload.GetBody()))})
}

func (s *relay) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	payload, err := s.ask(stream.Context())
	if err != nil {
		return err
	}
	return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload})
}

// recorder remembers the identity of the last call.
type recorder struct {
	service
	last atomic.Pointer[authcontext.AuthContext]
}

func (s *recorder) intercept() []grpc.ServerOption {
	keep := func(ctx context.Context) {
		ac, _ := authcontext.FromContext(ctx)
		s.last.Store(ac)
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			keep(ctx)
			return handler(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			keep(stream.Context())
			return handler(srv, stream)
		}),
	}
}

func TestIdentityTravelsFromServiceToService(t *testing.T) {
	eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
		want := &authcontext.AuthContext{
			Subject: "ann", Name: "Ann Ågren", Roles: []string{"a,b", "c d"}, Scopes: []string{"read", "write"}, Type: "session",
			Claims:    map[string]any{"org": "o1", "token": "s3cr3t"},
			ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
		}
		a, err := interceptor.NewSessionAuth(
			func(context.Context, string, http.Header) (string, error) { return "ann", nil },
			func(context.Context, string) (*authcontext.AuthContext, error) { return want, nil })
		if err != nil {
			t.Fatal(err)
		}
		onward := newForwarder(t, clientauth.WithSharedSecret(gatewaySecret), clientauth.WithForwardedClaims("org", "absent"), clientauth.WithInsecureTransport())
		trusting := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).ServerOptions()

		last := &recorder{}
		third := serveTo(t, last, append(trusting, last.intercept()...), onward.DialOptions()...)
		second := serveTo(t, &relay{next: third, via: call}, trusting, onward.DialOptions()...)
		first := serve(t, &relay{next: second, via: call}, a.ServerOptions()...)

		subject, err := call(with(t, "authorization", "Bearer s", "x-auth-subject", "mallory", "x_auth_subject", "mallory",
			"x-gateway-secret", "mine", "x_gateway_secret", "mine"), first, "ann")
		if err != nil || subject != "ann" {
			t.Fatalf("the third service saw %q, %v", subject, err)
		}
		want.Claims = map[string]any{"org": "o1"}
		if got := last.last.Load(); !reflect.DeepEqual(got, want) {
			t.Errorf("the third service saw %v %v,\nwant %v", got, got.Claims, want)
		}
	})
}

// perCall are the credentials of one call.
type perCall struct {
	header map[string]string
	secure bool
	err    error
}

func (c perCall) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return c.header, c.err
}
func (c perCall) RequireTransportSecurity() bool { return c.secure }

func TestForwarderReplacesWhatTheCallCarries(t *testing.T) {
	spoofed := []string{
		"x-auth-subject", "mallory", "x-auth-roles", `["admin"]`, "X-Auth-Scopes", "all", "x_auth_subject", "mallory", "x.auth.subject", "mallory",
		"x-auth-subject-bin", "mallory", "x-auth-unheard-of", "mallory", "grpcgateway-x-auth-subject", "mallory",
		"x-gateway-secret", "stale", "x_gateway_secret", "stale", "x.gateway.secret", "stale", "grpcgateway-x-gateway-secret", "stale",
		"x-kept", "kept", "x-authority", "kept",
	}
	tests := map[string]struct {
		ac   *authcontext.AuthContext
		want map[string]string
	}{
		"with an identity": {
			&authcontext.AuthContext{Subject: "ann", Type: "session"},
			map[string]string{"x-auth-subject": "ann", "x-auth-type": "session", "x-gateway-secret": gatewaySecret},
		},
		"without one": {nil, map[string]string{"x-gateway-secret": gatewaySecret}},
	}
	onward := newForwarder(t, clientauth.WithSharedSecret(gatewaySecret), clientauth.WithInsecureTransport())
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			srv := &service{}
			client := serveTo(t, srv, nil, onward.DialOptions()...)
			_, err := client.UnaryCall(onBehalfOf(t, test.ac, spoofed...), &grpc_testing.SimpleRequest{},
				grpc.PerRPCCredentials(perCall{header: map[string]string{"X-Auth-Name": "mallory", "x_auth_type": "mallory", "x-of-the-call": "kept"}}))
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(test.want)
			want["x-kept"], want["x-authority"], want["x-of-the-call"] = "kept", "kept", "kept"
			got := map[string]string{}
			for key, values := range srv.lastSeen() {
				if strings.HasPrefix(key, "x") || strings.HasPrefix(key, "grpcgateway") {
					got[key] = strings.Join(values, " AND ")
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("sent %v\nwant %v", got, want)
			}
		})
	}
}

func TestForwarderWithoutAnIdentity(t *testing.T) {
	srv := &service{}
	client := serveTo(t, srv, nil, newForwarder(t).DialOptions()...)
	if _, err := client.UnaryCall(with(t, "x-auth-subject", "mallory"), &grpc_testing.SimpleRequest{}); err != nil {
		t.Fatal(err) // on an insecure connection, with nothing to protect
	}
	if got := srv.lastSeen().Get("x-auth-subject"); got != nil {
		t.Errorf("sent x-auth-subject %q", got)
	}
	eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
		srv := &service{}
		client := serveTo(t, srv, nil, newForwarder(t, clientauth.WithRequiredIdentity()).DialOptions()...)
		_, err := call(with(t, "x-auth-subject", "mallory"), client, "")
		missing.check(t, err)
		if srv.lastSeen() != nil {
			t.Error("the call was sent")
		}
	})
}

func TestForwarderSendsAWholeIdentityOrNone(t *testing.T) {
	tests := map[string]*authcontext.AuthContext{
		"no subject":                 {Roles: []string{"admin"}},
		"a subject with a comma":     {Subject: "ann,bob"},
		"a subject with a line":      {Subject: "ann\r\nx-auth-roles: []"},
		"a subject of many bytes":    {Subject: strings.Repeat("a", 513)},
		"a subject that is no ASCII": {Subject: "José"},
		"a scope with a space":       {Subject: "ann", Scopes: []string{"read write"}},
		"too many roles":             {Subject: "ann", Roles: slices.Repeat([]string{"a role"}, 2000)},
		"a claim that is no JSON":    {Subject: "ann", Claims: map[string]any{"secret-claim": func() {}}},
		"claims of a megabyte":       {Subject: "ann", Claims: map[string]any{"secret-claim": strings.Repeat("a", 1<<20)}},
	}
	for name, ac := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
				srv := &service{}
				client := serveTo(t, srv, nil, newForwarder(t, clientauth.WithForwardedClaims("secret-claim"), clientauth.WithInsecureTransport()).DialOptions()...)
				spans := tracetest.NewSpanRecorder()
				ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test").Start(onBehalfOf(t, ac), "rpc")
				_, err := call(ctx, client, "")
				span.End()
				notForwarded.check(t, err)
				if srv.lastSeen() != nil {
					t.Error("the call was sent")
				}
				cause := errors.Unwrap(err)
				if cause == nil || fmt.Sprintf("%v %+v %#v", err, err, err) != strings.TrimSpace(strings.Repeat(err.Error()+" ", 3)) {
					t.Errorf("cause %v, printed as %+v", cause, err)
				}
				if events := spans.Ended()[0].Events(); len(events) != 1 || events[0].Attributes[1].Value.AsString() != cause.Error() {
					t.Errorf("events %v", events)
				}
			})
		})
	}
}

func TestNothingIsSentOverAnInsecureConnection(t *testing.T) {
	bearer, err := clientauth.NewBearer(clientauth.StaticToken("t0k3n"))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		opts []grpc.DialOption
		ac   *authcontext.AuthContext
	}{
		"an identity": {newForwarder(t).DialOptions(), &authcontext.AuthContext{Subject: "ann"}},
		"a secret":    {newForwarder(t, clientauth.WithSharedSecret(gatewaySecret)).DialOptions(), nil},
		"a token":     {bearer.DialOptions(), nil},
		"one that may and one that may not": {
			append(newForwarder(t, clientauth.WithInsecureTransport()).DialOptions(), bearer.DialOptions()...), &authcontext.AuthContext{Subject: "ann"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
				srv := &service{}
				_, err := call(onBehalfOf(t, test.ac), serveTo(t, srv, nil, test.opts...), "")
				refusedInsecure.check(t, err)
				if srv.lastSeen() != nil {
					t.Error("the call was sent")
				}
			})
		})
	}
	t.Run("credentials of a call that may not", func(t *testing.T) {
		client := serveTo(t, &service{}, nil, newForwarder(t, clientauth.WithInsecureTransport()).DialOptions()...)
		_, err := client.UnaryCall(with(t), &grpc_testing.SimpleRequest{}, grpc.PerRPCCredentials(perCall{secure: true}))
		refusedInsecure.check(t, err)
	})
	t.Run("as credentials of a connection", func(t *testing.T) {
		conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithPerRPCCredentials(bearer), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if conn != nil || err == nil || !strings.Contains(err.Error(), "require transport level security") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestCredentialsCarryTheToken(t *testing.T) {
	owner := newOwner("t0k3n", "second")
	tokens := []string{"t0k3n", "second"}
	var asked atomic.Int64
	refreshed := clientauth.TokenFunc(func(context.Context) (string, error) { return tokens[(asked.Add(1)-1)%2], nil })
	for name, source := range map[string]clientauth.TokenSource{"static": clientauth.StaticToken("t0k3n"), "refreshed": refreshed} {
		bearer, err := clientauth.NewBearer(source, clientauth.WithInsecureTransport(), nil)
		if err != nil {
			t.Fatal(err)
		}
		cookie, err := clientauth.NewCookie("session", source, clientauth.WithInsecureTransport())
		if err != nil {
			t.Fatal(err)
		}
		for form, carried := range map[string]*clientauth.Credentials{"bearer": bearer, "cookie": cookie} {
			for how, opts := range map[string][]grpc.DialOption{
				"interceptors":           carried.DialOptions(),
				"credentials":            {grpc.WithPerRPCCredentials(carried)},
				"beside an interceptor":  append(newForwarder(t).DialOptions(), carried.DialOptions()...),
				"before an interceptor":  append(carried.DialOptions(), newForwarder(t).DialOptions()...),
				"credentials of a call":  {grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(carried))},
				"call and interceptor":   append(newForwarder(t).DialOptions(), grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(carried))),
				"interceptors, one each": {grpc.WithUnaryInterceptor(carried.UnaryClientInterceptor()), grpc.WithStreamInterceptor(carried.StreamClientInterceptor())},
			} {
				t.Run(strings.Join([]string{name, form, how}, ", "), func(t *testing.T) {
					a := newAuth(t, owner, interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("session")))
					client := serveTo(t, &service{}, a.ServerOptions(), opts...)
					eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
						want := "user-of-t0k3n"
						if source, ok := source.(clientauth.TokenFunc); ok && source != nil {
							want = "user-of-" + tokens[asked.Load()%2]
						}
						if subject, err := call(with(t), client, want); err != nil || subject != want {
							t.Errorf("the service saw %q, %v, want %q", subject, err, want)
						}
					})
				})
			}
		}
	}
}

func TestCredentialsReplaceThoseOfTheCall(t *testing.T) {
	bearer, err := clientauth.NewBearer(clientauth.StaticToken("t0k3n"), clientauth.WithInsecureTransport())
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := clientauth.NewCookie("session", clientauth.StaticToken("t0k3n"), clientauth.WithInsecureTransport())
	if err != nil {
		t.Fatal(err)
	}
	stale := []string{
		"authorization", "Bearer stale", "grpcgateway-authorization", "Bearer stale",
		"cookie", "session=stale", "cookie", "other=stale", "grpcgateway-cookie", "session=stale", "x-kept", "kept",
	}
	for name, test := range map[string]struct {
		carried *clientauth.Credentials
		key     string
		want    string
	}{
		"bearer": {bearer, "authorization", "Bearer t0k3n"},
		"cookie": {cookie, "cookie", "session=t0k3n"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := &service{}
			client := serveTo(t, srv, nil, test.carried.DialOptions()...)
			if _, err := client.UnaryCall(with(t, stale...), &grpc_testing.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			seen := srv.lastSeen()
			if !slices.Equal(seen.Get(test.key), []string{test.want}) || seen.Get("grpcgateway-"+test.key) != nil || seen.Get("x-kept") == nil {
				t.Errorf("sent %v", seen)
			}
		})
	}
}

func TestCredentialsFailTheCall(t *testing.T) {
	cause := errors.New("cause with t0k3n")
	tests := map[string]struct {
		token string
		err   error
		want  refusal
	}{
		"an error":                {"", cause, noCredential},
		"an error and a token":    {"t0k3n", cause, noCredential},
		"no token":                {"", nil, noCredential},
		"a token with a line":     {"t0k3n\r\nx-auth-subject: mallory", nil, noCredential},
		"a token with a space":    {"t0k3n admin", nil, noCredential},
		"a token with a comma":    {"t0k3n,t0k3n", nil, noCredential},
		"a token above 0x7f":      {"t0k3n\xe9", nil, noCredential},
		"a token of many bytes":   {strings.Repeat("t0k3n", 4<<10), nil, noCredential},
		"an outage":               {"", fmt.Errorf("%w: %w", interceptor.ErrUnavailable, cause), delayed},
		"an error of the network": {"", &net.OpError{Op: "dial", Err: cause}, delayed},
		"too slow":                {"", fmt.Errorf("%w: %w", context.DeadlineExceeded, cause), delayed},
		"a status":                {"", fmt.Errorf("%w: %w", cause, status.Error(codes.PermissionDenied, "banned")), refusal{codes.PermissionDenied, "banned", ""}},
		"a status that says OK":   {"", okayStatus{cause}, noCredential},
		"a status that grpc bars": {"", status.Error(codes.NotFound, "no user"), refusal{codes.Internal, "transport: received per-RPC creds error with illegal status: rpc error: code = NotFound desc = no user", ""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source := clientauth.TokenFunc(func(context.Context) (string, error) { return test.token, test.err })
			bearer, err := clientauth.NewBearer(source, clientauth.WithInsecureTransport())
			if err != nil {
				t.Fatal(err)
			}
			cookie, err := clientauth.NewCookie("session", source, clientauth.WithInsecureTransport())
			if err != nil {
				t.Fatal(err)
			}
			for _, opts := range [][]grpc.DialOption{
				bearer.DialOptions(), cookie.DialOptions(), {grpc.WithPerRPCCredentials(bearer)}, {grpc.WithPerRPCCredentials(cookie)},
			} {
				eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
					srv := &service{}
					_, err := call(with(t), serveTo(t, srv, nil, opts...), "")
					test.want.check(t, err)
					if srv.lastSeen() != nil {
						t.Error("the call was sent")
					}
					if printed := fmt.Sprintf("%v %+v %#v %s %q", err, err, err, err, err); strings.Contains(printed, "t0k3n") {
						t.Errorf("printed %s", printed)
					}
				})
			}
		})
	}
}

// okayStatus is an error that says OK.
type okayStatus struct{ error }

func (okayStatus) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

func TestATokenThatTakesTooLong(t *testing.T) {
	source := clientauth.TokenFunc(func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", errors.New("gave up")
	})
	carried, err := clientauth.NewBearer(source, clientauth.WithInsecureTransport())
	if err != nil {
		t.Fatal(err)
	}
	client := serveTo(t, &service{}, nil, carried.DialOptions()...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err = client.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	if code := status.Code(err); code != codes.DeadlineExceeded {
		t.Errorf("err = %v", err)
	}
}

func TestClientsRefuseBadOptions(t *testing.T) {
	const badToken = "clientauth: NewBearer: the token is empty, too long, or holds a byte that is not visible ASCII, or a comma"
	const badValue = "clientauth: NewCookie: the token is empty, too long, or not the value of a cookie"
	bearer := func(token string) func() (any, error) {
		return func() (any, error) { return clientauth.NewBearer(clientauth.StaticToken(token)) }
	}
	cookie := func(name, token string) func() (any, error) {
		return func() (any, error) { return clientauth.NewCookie(name, clientauth.StaticToken(token)) }
	}
	forwarder := func(opts ...clientauth.Option) func() (any, error) {
		return func() (any, error) { return clientauth.NewForwarder(opts...) }
	}
	tests := map[string]struct {
		make func() (any, error)
		want string
	}{
		"no source":                 {func() (any, error) { return clientauth.NewBearer(nil) }, "clientauth: NewBearer needs a TokenSource"},
		"a nil func":                {func() (any, error) { return clientauth.NewCookie("a", clientauth.TokenFunc(nil)) }, "clientauth: NewCookie needs a TokenSource"},
		"no token":                  {bearer(""), badToken},
		"a token with CR and LF":    {bearer("t0k3n\r\n"), badToken},
		"a token with NUL":          {bearer("t0k3n\x00"), badToken},
		"a token with DEL":          {bearer("t0k3n\x7f"), badToken},
		"a token above 0x7f":        {bearer("t0k3né"), badToken},
		"no value":                  {cookie("session", ""), badValue},
		"a value with a semicolon":  {cookie("session", "t0k3n;admin=1"), badValue},
		"a value with a space":      {cookie("session", "t0k3n admin=1"), badValue},
		"a value with a line":       {cookie("session", "t0k3n\n"), badValue},
		"a value with a comma":      {cookie("session", "t0k3n,"), badValue},
		"a value in quotes":         {cookie("session", `"t0k3n"`), badValue},
		"a value with a backslash":  {cookie("session", `t0k3n\`), badValue},
		"no name":                   {cookie("", "t0k3n"), `clientauth: NewCookie: "" is no name of a cookie`},
		"a name with an equal sign": {cookie("a=b", "t0k3n"), `clientauth: NewCookie: "a=b" is no name of a cookie`},
		"a name with a semicolon":   {cookie("a;b", "t0k3n"), `clientauth: NewCookie: "a;b" is no name of a cookie`},
		"a name with a space":       {cookie("a b", "t0k3n"), `clientauth: NewCookie: "a b" is no name of a cookie`},
		"a name with a line":        {cookie("a\r\nb", "t0k3n"), `clientauth: NewCookie: "a\r\nb" is no name of a cookie`},
		"a short secret":            {forwarder(nil, clientauth.WithSharedSecret("t0k3n")), "clientauth: WithSharedSecret: secret 1 has 5 bytes, want 32 to 1024"},
		"a claim without a name":    {forwarder(clientauth.WithForwardedClaims("org", "")), "clientauth: WithForwardedClaims: an empty name"},
		"a bad header":              {forwarder(clientauth.WithSecretHeader("a b")), `clientauth: WithSecretHeader: "a b" cannot hold a secret`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			made, err := test.make()
			if !reflect.ValueOf(made).IsNil() || err == nil || err.Error() != test.want {
				t.Errorf("err = %v, want %v", err, test.want)
			}
		})
	}
}

func TestClientsAreNotPrinted(t *testing.T) {
	const token = "t0k3n"
	source := clientauth.StaticToken(token)
	bearer, err := clientauth.NewBearer(source)
	if err != nil {
		t.Fatal(err)
	}
	cookie, err := clientauth.NewCookie("session", source)
	if err != nil {
		t.Fatal(err)
	}
	onward := newForwarder(t, clientauth.WithSharedSecret(gatewaySecret))
	options := map[string]any{}
	record := func(name string) grpc.UnaryInvoker {
		return func(_ context.Context, _ string, _, _ any, _ *grpc.ClientConn, opts ...grpc.CallOption) error {
			options[name] = opts
			return nil
		}
	}
	ctx := onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"})
	for name, intercept := range map[string]grpc.UnaryClientInterceptor{"bearer": bearer.UnaryClientInterceptor(), "onward": onward.UnaryClientInterceptor()} {
		if err := intercept(ctx, "/a/B", nil, nil, nil, record(name)); err != nil {
			t.Fatal(err)
		}
	}
	for want, v := range map[string]any{
		"StaticToken": source, "Credentials": bearer, "Forwarder": onward,
		"[{Credentials}]": options["onward"], "&{[{Credentials}] 1}": &struct{ A, B any }{options["bearer"], 1},
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("printed %s, want %s", got, want)
		}
	}
	type holder struct {
		Exported any
		hidden   any
	}
	for _, v := range []any{source, bearer, cookie, onward, options["bearer"], options["onward"]} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, printed := range []any{v, holder{v, v}, &holder{v, v}, []any{v}} {
				got := fmt.Sprintf(verb, printed)
				for _, secret := range []string{token, gatewaySecret, fmt.Sprintf("%x", token), fmt.Sprintf("%x", gatewaySecret)} {
					if strings.Contains(got, secret) {
						t.Errorf("%s: %s", verb, got)
					}
				}
			}
		}
	}
}

var _ credentials.PerRPCCredentials = (*clientauth.Credentials)(nil)
