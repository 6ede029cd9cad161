package sessionauth_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

const (
	gatewaySecret = "0123456789abcdef0123456789abcdef"
	newSecret     = "fedcba9876543210fedcba9876543210"
)

var (
	untrusted = refusal{codes.Unauthenticated, "untrusted caller", string(reason.UntrustedCaller)}
	malformed = refusal{codes.Unauthenticated, "malformed identity", string(reason.MalformedIdentity)}
)

func newGateway(t *testing.T, opts ...interceptor.Option) *interceptor.GatewayAuth {
	t.Helper()
	g, err := interceptor.NewGatewayAuth(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGatewayTellsWhoTheCallerIs(t *testing.T) {
	eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
		srv := &service{}
		client := serve(t, srv, newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).ServerOptions()...)
		ctx := with(t, "x-gateway-secret", gatewaySecret, "x-auth-subject", "ann", "x_auth_roles", `["admin"]`,
			"grpcgateway-x-gateway-secret", "copy", "x_gateway.secret", "copy", "x-gateway-secret-bin", "copy", "x-other", "kept")
		subject, err := call(ctx, client, "ann")
		if err != nil || subject != "ann" {
			t.Fatalf("the service saw %q, %v", subject, err)
		}
		for key := range srv.lastSeen() {
			if strings.Contains(key, "auth-") || strings.Contains(key, "auth_") || strings.Contains(key, "secret") {
				t.Errorf("the handler saw %s", key)
			}
		}
		if got := srv.lastSeen().Get("x-other"); !slices.Equal(got, []string{"kept"}) {
			t.Errorf("x-other = %q", got)
		}
	})
}

func TestGatewayTrustsNobodyWithoutTheSecret(t *testing.T) {
	tests := map[string][]string{
		"no secret":              {},
		"another secret":         {"x-gateway-secret", newSecret},
		"an empty secret":        {"x-gateway-secret", ""},
		"the beginning of it":    {"x-gateway-secret", gatewaySecret[:31]},
		"the secret and more":    {"x-gateway-secret", gatewaySecret + "0"},
		"the secret twice":       {"x-gateway-secret", gatewaySecret, "x-gateway-secret", gatewaySecret},
		"one right of two":       {"x-gateway-secret", gatewaySecret, "x-gateway-secret", newSecret},
		"joined by a comma":      {"x-gateway-secret", gatewaySecret + ", " + gatewaySecret},
		"a secret of a megabyte": {"x-gateway-secret", strings.Repeat(gatewaySecret, 1<<15)},
		"under an alias, _":      {"x_gateway_secret", gatewaySecret},
		"under an alias, .":      {"x.gateway.secret", gatewaySecret},
		"in binary":              {"x-gateway-secret-bin", gatewaySecret},
		"as grpc-gateway has it": {"grpcgateway-x-gateway-secret", gatewaySecret},
		"as a bearer token":      {"authorization", "Bearer " + gatewaySecret},
		"addresses that headers tell": {
			"x-forwarded-for", "127.0.0.1", "x-real-ip", "127.0.0.1", "forwarded", "for=127.0.0.1",
			"x-forwarded-client-cert", "URI=spiffe://trust.example/gateway;DNS=gateway.internal",
		},
	}
	client := serve(t, &service{}, newGateway(t, interceptor.WithSharedSecrets(gatewaySecret),
		interceptor.WithTrustedPeers("spiffe://trust.example/gateway", "gateway.internal"), interceptor.WithOptionalAuth()).ServerOptions()...)
	for name, pairs := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := client.UnaryCall(with(t, pairs...), &grpc_testing.SimpleRequest{})
			untrusted.check(t, err)
			_, err = client.UnaryCall(with(t, append(pairs, "x-auth-subject", "ann")...), &grpc_testing.SimpleRequest{})
			untrusted.check(t, err)
		})
	}
}

func TestGatewaySecretsRotate(t *testing.T) {
	tests := map[string]struct {
		trusted []string
		refused []string
	}{
		"before":  {[]string{gatewaySecret}, []string{newSecret}},
		"between": {[]string{gatewaySecret, newSecret}, nil},
		"after":   {[]string{newSecret}, []string{gatewaySecret}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := serve(t, &service{}, newGateway(t, interceptor.WithSecretHeader("X-Mesh-Secret"),
				interceptor.WithSharedSecrets(test.trusted...)).ServerOptions()...)
			for _, s := range test.trusted {
				r, err := client.UnaryCall(with(t, "x-mesh-secret", s, "x-auth-subject", "ann"), &grpc_testing.SimpleRequest{})
				if err != nil || string(r.GetPayload().GetBody()) != "ann" {
					t.Errorf("%q, %v", r.GetPayload().GetBody(), err)
				}
				_, err = client.UnaryCall(with(t, "x-gateway-secret", s, "x-auth-subject", "ann"), &grpc_testing.SimpleRequest{})
				untrusted.check(t, err) // it is in another header now
			}
			for _, s := range test.refused {
				_, err := client.UnaryCall(with(t, "x-mesh-secret", s, "x-auth-subject", "ann"), &grpc_testing.SimpleRequest{})
				untrusted.check(t, err)
			}
		})
	}
}

func TestGatewayRefusesHalfAnIdentity(t *testing.T) {
	past := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	tests := map[string]struct {
		pairs []string
		want  refusal
	}{
		"no identity":                     {nil, missing},
		"under an alias, _":               {[]string{"x_auth_subject", "ann"}, missing},
		"under an alias, .":               {[]string{"x.auth.subject", "ann"}, missing},
		"as grpc-gateway has it":          {[]string{"grpcgateway-x-auth-subject", "ann"}, missing},
		"no subject":                      {[]string{"x-auth-roles", `["admin"]`}, malformed},
		"an empty subject":                {[]string{"x-auth-subject", ""}, malformed},
		"a subject twice":                 {[]string{"x-auth-subject", "ann", "x-auth-subject", "bob"}, malformed},
		"the same subject twice":          {[]string{"x-auth-subject", "ann", "x-auth-subject", "ann"}, malformed},
		"two subjects joined":             {[]string{"x-auth-subject", "ann, bob"}, malformed},
		"roles twice":                     {[]string{"x-auth-subject", "ann", "x-auth-roles", `["a"]`, "x-auth-roles", `["b"]`}, malformed},
		"roles joined":                    {[]string{"x-auth-subject", "ann", "x-auth-roles", `["a"],["b"]`}, malformed},
		"roles that are no JSON":          {[]string{"x-auth-subject", "ann", "x-auth-roles", "admin,editor"}, malformed},
		"a role that is an object":        {[]string{"x-auth-subject", "ann", "x-auth-roles", `[{}]`}, malformed},
		"a role with a line break":        {[]string{"x-auth-subject", "ann", "x-auth-roles", `["a\r\nb"]`}, malformed},
		"scopes joined":                   {[]string{"x-auth-subject", "ann", "x-auth-scopes", "read, write"}, malformed},
		"claims of a megabyte":            {[]string{"x-auth-subject", "ann", "x-auth-claims", `{"a":"` + strings.Repeat("a", 1<<20) + `"}`}, malformed},
		"a claim twice":                   {[]string{"x-auth-subject", "ann", "x-auth-claims", `{"a":1,"a":2}`}, malformed},
		"claims that are an array":        {[]string{"x-auth-subject", "ann", "x-auth-claims", `[]`}, malformed},
		"an identity of the past":         {[]string{"x-auth-subject", "ann", "x-auth-expires-at", past}, expired},
		"an expiry that is no time":       {[]string{"x-auth-subject", "ann", "x-auth-expires-at", "tomorrow"}, malformed},
		"two expiries":                    {[]string{"x-auth-subject", "ann", "x-auth-expires-at", past, "x-auth-expires-at", past}, malformed},
		"a name of RFC 8187 that is none": {[]string{"x-auth-subject", "ann", "x-auth-name", "UTF-8''%ff"}, malformed},
	}
	srv := &service{}
	g := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret))
	client := serve(t, srv, g.ServerOptions()...)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := client.UnaryCall(with(t, append(test.pairs, "x-gateway-secret", gatewaySecret)...), &grpc_testing.SimpleRequest{})
			test.want.check(t, err)
		})
	}
	for name, value := range map[string]string{"CR and LF": "ann\r\nx-auth-roles: [\"admin\"]", "NUL": "a\x00", "a C1 control": "J\x85", "UTF-8": "José", "a tab": "a\tb"} {
		t.Run("a subject with "+name, func(t *testing.T) { // which no client of grpc-go sends
			_, err := g.Authenticate(t.Context(), http.Header{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {value}})
			malformed.check(t, err)
		})
	}
	if srv.lastSeen() != nil {
		t.Error("a handler ran")
	}
}

// A client that is none of grpc-go's may send bytes that metadata must not hold: letters
// of ISO 8859-1, as Node does, are an identity, and nothing else is.
func TestGatewayRefusesBytesThatOtherClientsSend(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).ServerOptions()...)
	grpc_testing.RegisterTestServiceServer(server, &service{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	for subject, want := range map[string]string{"ann": "0", "Jos\xe9": "0", "José": "16", "a\tb": "16", "a\x85": "16"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			"http://"+listener.Addr().String()+"/grpc.testing.TestService/UnaryCall", bytes.NewReader(make([]byte, 5)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {subject}}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		got := response.Trailer.Get("Grpc-Status") + response.Header.Get("Grpc-Status")
		if got != want {
			t.Errorf("%q: grpc-status %q, want %q", subject, got, want)
		}
	}
}

func TestGatewayIdentityIsWhole(t *testing.T) {
	want := authcontext.AuthContext{
		Subject: "ann", Name: "Ann Ågren", Type: "session", Roles: []string{"a,b", `c"d`, "e f", "[]", "ü"}, Scopes: []string{"read", "write:all"},
		Claims: map[string]any{"org": "o1"}, ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
	}
	encoded, err := authcontext.EncodeHeader(&want, "org")
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"X-Gateway-Secret": {gatewaySecret}}
	for name, value := range encoded {
		header.Set(name, value)
	}
	before := fmt.Sprint(header)
	found, err := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).Authenticate(t.Context(), header)
	got := found.AuthContext()
	if err != nil || fmt.Sprint(*got) != fmt.Sprint(want) || got.Claims["org"] != "o1" {
		t.Errorf("got %v %v, %v", got, got.Claims, err)
	}
	if fmt.Sprint(header) != before {
		t.Error("the header was modified")
	}
}

func TestGatewayNamesTheType(t *testing.T) {
	g := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret))
	found, err := g.Authenticate(t.Context(), http.Header{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}})
	ac := found.AuthContext()
	if err != nil || ac.Type != authcontext.TypeGateway {
		t.Errorf("%v, %v", ac, err)
	}
}

// A context that another interceptor made may hold keys in any case.
func TestGatewayReadsKeysInAnyCase(t *testing.T) {
	intercept := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).UnaryServerInterceptor()
	for name, test := range map[string]struct {
		md   grpcmd.MD
		want refusal
	}{
		"canonical":             {grpcmd.MD{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}, "other": {"kept"}}, refusal{}},
		"a subject in two":      {grpcmd.MD{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}, "x-auth-subject": {"ann"}}, malformed},
		"a secret in two cases": {grpcmd.MD{"X-Gateway-Secret": {gatewaySecret}, "x-gateway-secret": {gatewaySecret}, "x-auth-subject": {"ann"}}, untrusted},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := grpcmd.NewIncomingContext(t.Context(), test.md)
			_, err := intercept(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}, func(ctx context.Context, _ any) (any, error) {
				ac, err := authcontext.Require(ctx)
				if md, _ := grpcmd.FromIncomingContext(ctx); err != nil || ac.Subject != "ann" || len(md) != 1 {
					t.Errorf("the handler saw %v, %v", ac, md)
				}
				return nil, nil
			})
			if test.want == (refusal{}) {
				if err != nil {
					t.Error(err)
				}
				return
			}
			test.want.check(t, err)
		})
	}
}

func TestGatewayOptionalIdentity(t *testing.T) {
	client := serve(t, &service{}, newGateway(t, interceptor.WithSharedSecrets(gatewaySecret), interceptor.WithOptionalAuth()).ServerOptions()...)
	r, err := client.UnaryCall(with(t, "x-gateway-secret", gatewaySecret), &grpc_testing.SimpleRequest{})
	if err != nil || string(r.GetPayload().GetBody()) != "anonymous" {
		t.Errorf("%q, %v", r.GetPayload().GetBody(), err)
	}
	_, err = client.UnaryCall(with(t, "x-gateway-secret", gatewaySecret, "x-auth-name", "Ann"), &grpc_testing.SimpleRequest{})
	malformed.check(t, err)
}

func TestGatewaySkippedMethodsSeeNothing(t *testing.T) {
	srv := &service{}
	g := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret), interceptor.WithSkipMethods("grpc.testing.TestService/UnaryCall", "no.Such/Method"))
	client := serve(t, srv, g.ServerOptions()...)
	r, err := client.UnaryCall(with(t, "x-gateway-secret", gatewaySecret, "x-auth-subject", "ann"), &grpc_testing.SimpleRequest{})
	if err != nil || string(r.GetPayload().GetBody()) != "anonymous" {
		t.Errorf("%q, %v", r.GetPayload().GetBody(), err)
	}
	if seen := srv.lastSeen(); len(seen.Get("x-auth-subject"))+len(seen.Get("x-gateway-secret")) > 0 {
		t.Errorf("the handler saw %v", seen)
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, srv)
	if err := authz.Audit(server, g, nil).Without(authz.NoInterceptor).Err(); err == nil || err.Error() != `authz: no.Such/Method: this pattern of WithSkipMethods matches no method of the server` {
		t.Errorf("the audit says %v", err)
	}
}

func TestGatewayStreamEndsWithTheIdentity(t *testing.T) {
	for name, unbounded := range map[string]bool{"bounded": false, "unbounded": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := []interceptor.Option{interceptor.WithSharedSecrets(gatewaySecret)}
				if unbounded {
					opts = append(opts, interceptor.WithUnboundedStreams())
				}
				intercept := newGateway(t, opts...).StreamServerInterceptor()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				ctx = grpcmd.NewIncomingContext(ctx, grpcmd.Pairs("x-gateway-secret", gatewaySecret, "x-auth-subject", "ann",
					"x-auth-expires-at", time.Now().Add(10*time.Second).UTC().Format(time.RFC3339Nano)))
				start := time.Now()
				err := intercept(nil, silentStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: "/a.B/C", IsClientStream: true},
					func(_ any, stream grpc.ServerStream) error { return stream.RecvMsg(&grpc_testing.SimpleRequest{}) })
				took := time.Since(start)
				if unbounded {
					if took != time.Minute {
						t.Errorf("ended after %v: %v", took, err)
					}
					return
				}
				expired.check(t, err)
				if took != 10*time.Second {
					t.Errorf("ended after %v", took)
				}
				cancel() // as grpc does when the handler has returned
				synctest.Wait()
			})
		})
	}
}

// silentStream is a stream whose client never sends a message.
type silentStream struct {
	grpc.ServerStream

	ctx context.Context
}

func (s silentStream) Context() context.Context { return s.ctx }

func (s silentStream) RecvMsg(any) error {
	<-s.ctx.Done()
	return s.ctx.Err()
}

func TestNewGatewayAuthRefusesBadOptions(t *testing.T) {
	trusting := interceptor.WithSharedSecrets(gatewaySecret)
	tests := map[string]struct {
		opts []interceptor.Option
		want string
	}{
		"trust in nobody":       {nil, "interceptor: NewGatewayAuth needs WithSharedSecrets or WithTrustedPeers"},
		"no secrets":            {[]interceptor.Option{nil, interceptor.WithSharedSecrets()}, "interceptor: NewGatewayAuth needs WithSharedSecrets or WithTrustedPeers"},
		"an empty secret":       {[]interceptor.Option{trusting, interceptor.WithSharedSecrets("")}, "interceptor: WithSharedSecrets: secret 2 has 0 bytes, want 32 to 1024"},
		"a short secret":        {[]interceptor.Option{interceptor.WithSharedSecrets(gatewaySecret[:31])}, "interceptor: WithSharedSecrets: secret 1 has 31 bytes, want 32 to 1024"},
		"a long secret":         {[]interceptor.Option{interceptor.WithSharedSecrets(strings.Repeat("a", 1025))}, "interceptor: WithSharedSecrets: secret 1 has 1025 bytes, want 32 to 1024"},
		"a secret with a comma": {[]interceptor.Option{interceptor.WithSharedSecrets(gatewaySecret + ",")}, "interceptor: WithSharedSecrets: secret 1 holds a byte that is not visible ASCII, or a comma"},
		"a secret with a line":  {[]interceptor.Option{interceptor.WithSharedSecrets(gatewaySecret + "\n")}, "interceptor: WithSharedSecrets: secret 1 holds a byte that is not visible ASCII, or a comma"},
		"no header":             {[]interceptor.Option{trusting, interceptor.WithSecretHeader("")}, `interceptor: WithSecretHeader: "" cannot hold a secret`},
		"a header of grpc":      {[]interceptor.Option{trusting, interceptor.WithSecretHeader("grpc-secret")}, `interceptor: WithSecretHeader: "grpc-secret" cannot hold a secret`},
		"a binary header":       {[]interceptor.Option{trusting, interceptor.WithSecretHeader("Secret-Bin")}, `interceptor: WithSecretHeader: "Secret-Bin" cannot hold a secret`},
		"an identity header":    {[]interceptor.Option{trusting, interceptor.WithSecretHeader("X-Auth-Secret")}, `interceptor: WithSecretHeader: "X-Auth-Secret" cannot hold a secret`},
		"a bad pattern":         {[]interceptor.Option{trusting, interceptor.WithSkipMethods("a")}, `interceptor: method pattern "a": want "pkg.Service/Method", "pkg.Service/*" or "*"`},
	}
	for _, peer := range []string{
		"", "*", "*.internal", "gateway.internal.", "10.0.0.1", "::1", "gateway internal", "https://gateway.internal", "spiffe://", "spiffe:///a",
		"spiffe://trust.example", "spiffe://trust.example/", "spiffe://trust.example*", "spiffe://*/a", "spiffe://Trust.example/a",
		"spiffe://trust.example:1/a", "spiffe://u@trust.example/a", "spiffe://trust.example/a?b", "spiffe://trust.example/a#b",
		"spiffe://trust.example/a/../b", "spiffe://trust.example/a/../*", "spiffe://trust.example//*", "spiffe://trust.example/%61/*", "spiffe://trust.example/%61", "spiffe://trust.example//a", "spiffe://trust.example/a/", "spiffe://trust.example/a*", "spiffe://trust.example/\u212a",
	} {
		tests["peer "+peer] = struct {
			opts []interceptor.Option
			want string
		}{
			[]interceptor.Option{interceptor.WithTrustedPeers(peer)},
			fmt.Sprintf(`interceptor: WithTrustedPeers: %q: want "spiffe://trust.domain/path", the same with "/*" at its end, or a DNS name`, peer),
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := interceptor.NewGatewayAuth(test.opts...)
			if g != nil || err == nil || err.Error() != test.want {
				t.Errorf("err = %v, want %v", err, test.want)
			}
		})
	}
}

func TestGatewayIsNotPrinted(t *testing.T) {
	g := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		if got := fmt.Sprintf(verb, g); got != "GatewayAuth" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}
