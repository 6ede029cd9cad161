package extauthz_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// check asks without a network.
func check(t testing.TB, s *extauthz.Server, in *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	out, err := s.Check(t.Context(), in)
	if err != nil || out == nil {
		t.Fatalf("Envoy may take an error for a yes: %v", err)
	}
	return out
}

func TestWhatTheUpstreamGets(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	cookies := "theme=dark; sid=" + ada + "; x=sid=1; SID=2; csrf=c; theme2=e"
	in := func() *authv3.CheckRequest {
		return ask("GET", "/", "authorization", "Bearer "+ada, "cookie", cookies, "x-session-token", ada, "x-api-key", "k", "x_api_key", "k",
			"x-gateway-secret", "guess", "x-other-secret", "guess", "x-auth-request-user", "eve", "proxy-authorization", "p", "x-other", "1")
	}
	const always = "x-auth-subject x-auth-type x-other"
	for name, row := range map[string]struct {
		opts []extauthz.Option
		want string // the names of the headers, in order
		also map[string]string
	}{
		"no credentials of the client": {nil, always + " x-api-key x-gateway-secret x-other-secret x_api_key", map[string]string{"x-gateway-secret": secret}},
		"those that are passed": {
			[]extauthz.Option{extauthz.WithPassedHeaders("Authorization", "cookie")},
			always + " authorization cookie x-api-key x-gateway-secret x-other-secret x_api_key", map[string]string{"cookie": cookies, "authorization": "Bearer " + ada},
		},
		"cookies that are passed": {
			[]extauthz.Option{extauthz.WithPassedCookies("theme", "csrf")},
			always + " cookie x-api-key x-gateway-secret x-other-secret x_api_key", map[string]string{"cookie": "theme=dark; csrf=c"},
		},
		"cookies that are passed and not there": {[]extauthz.Option{extauthz.WithPassedCookies("b")}, always + " x-api-key x-gateway-secret x-other-secret x_api_key", nil},
		"nothing that is withheld":              {[]extauthz.Option{extauthz.WithWithheldHeaders("X-API-Key")}, always + " x-gateway-secret x-other-secret", nil},
		"the secret in another header": {
			[]extauthz.Option{extauthz.WithSecretHeader("X-Other-Secret")}, always + " x-api-key x-gateway-secret x-other-secret x_api_key",
			map[string]string{"x-other-secret": secret, "x-gateway-secret": "guess"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := check(t, newServer(t, newAuth(t, &o), row.opts...), in())
			header := forwarded(in(), out.GetOkResponse())
			want := strings.Fields(row.want)
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(header)); !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			for name, value := range row.also {
				if got := header[name]; len(got) != 1 || got[0] != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
		})
	}
	t.Run("no alias of the secret's header, and no cookie that ends a line", func(t *testing.T) {
		s := newServer(t, newAuth(t, &o), extauthz.WithPassedCookies("theme"))
		in := askRaw("GET", "/", "authorization", "Bearer "+ada, "x_gateway.secret", "eve", "x-gateway-secret-bin", "eve", "grpcgateway-x-gateway-secret", "eve",
			"cookie", "theme=a\r\nx-auth-subject: eve", "cookie", "theme=\xff; theme=dark")
		header := forwarded(in, check(t, s, in).GetOkResponse())
		if got := slices.Sorted(maps.Keys(header)); !slices.Equal(got, []string{"cookie", "x-auth-subject", "x-auth-type", "x-gateway-secret"}) {
			t.Errorf("%q", got)
		}
		if got := map[string][]string(header)["cookie"]; got[0] != "theme=\uFFFD; theme=dark" {
			t.Errorf("%q", got)
		}
	})
	t.Run("no secret where there is none", func(t *testing.T) {
		s, err := extauthz.New(newAuth(t, &o))
		if err != nil {
			t.Fatal(err)
		}
		if header := map[string][]string(forwarded(in(), check(t, s, in()).GetOkResponse())); header["x-gateway-secret"] != nil {
			t.Errorf("the client's own: %q", header["x-gateway-secret"])
		}
		if unseen := check(t, s, ask("GET", "/", "authorization", "Bearer "+ada)); !slices.Contains(unseen.GetOkResponse().GetHeadersToRemove(), "x-gateway-secret") {
			t.Error("one that Envoy does not show is left")
		}
	})
	t.Run("what Envoy does not show here is removed all the same", func(t *testing.T) {
		removed := check(t, newServer(t, newAuth(t, &o)), ask("GET", "/", "authorization", "Bearer "+ada)).GetOkResponse().GetHeadersToRemove()
		for _, name := range []string{"x-auth-roles", "x-auth-claims", "x-auth-name", "x-auth-scopes", "x-auth-expires-at", "authorization", "cookie", "x-session-token"} {
			if !slices.Contains(removed, name) {
				t.Errorf("%s is left", name)
			}
		}
	})
	t.Run("and so it is where nobody calls", func(t *testing.T) {
		removed := check(t, newServer(t, newAuth(t, &o, interceptor.WithOptionalAuth())), ask("GET", "/")).GetOkResponse().GetHeadersToRemove()
		for _, name := range []string{"x-auth-subject", "x-auth-type", "x-auth-roles"} {
			if !slices.Contains(removed, name) {
				t.Errorf("%s is left", name)
			}
		}
	})
	t.Run("nobody is told as nobody", func(t *testing.T) {
		s := newServer(t, newAuth(t, &o, interceptor.WithOptionalAuth()))
		in := ask("GET", "/", "x-auth-subject", "eve", "x.auth.subject", "eve")
		out := check(t, s, in)
		found, err := upstreamAuth(t, interceptor.WithOptionalAuth()).Authenticate(t.Context(), forwarded(in, out.GetOkResponse()))
		if !allowed(out, nil) || err != nil || found.Identity != nil {
			t.Errorf("%v, %v", found, err)
		}
		if out := check(t, s, ask("GET", "/", "authorization", "Bearer x")); allowed(out, nil) {
			t.Error("a bad credential passes for none")
		}
		for name, in := range map[string]*authv3.CheckRequest{"nothing": {}, "no attributes": request(nil), "no path": ask("GET", ""), "no method": ask("", "/")} {
			if out := check(t, s, in); allowed(out, nil) {
				t.Errorf("%s passes for a request without credentials", name)
			}
		}
	})
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	var o owner
	public, err := authz.New(authz.WithPublicMethods("pkg.Service/Open"), authz.WithDefaultPolicy(authz.Allow))
	if err != nil {
		t.Fatal(err)
	}
	auth := newAuth(t, &o, interceptor.WithSkipMethods("pkg.Service/Open", "open.Service/*"))
	s := newServer(t, auth, extauthz.WithSkipPatterns("/healthz", "GET /assets/", "POST /hooks/{name}"))
	ruled := newServer(t, auth, extauthz.WithAuthorizer(public), extauthz.WithSkipPatterns("/healthz"))
	for target, want := range map[string]bool{
		"GET /healthz": true, "POST /healthz": true, "GET /healthz?a=/../b": true, "GET /assets/": true, "HEAD /assets/a/b.css": true, "POST /hooks/a": true,
		"POST /pkg.Service/Open": true, "GET /pkg.Service/Open?message=a": true, "POST /open.Service/Any": true,

		"GET /": false, "GET /healthz/": false, "GET /healthz/a": false, "GET //healthz": false, "GET /a/../healthz": false, "GET /%68ealthz": false,
		"GET /healthz;a": false, "GET /healthz#a": false, "GET /healthz\\": false, "GET /assets/\u00e9": false, "GET /assets/\u2025/secret": false, "GET /assets/a\x7f": false, "GET /HEALTHZ": false, "GET healthz": false, "GET /healthz\x00": false,
		"POST /assets/a": false, "get /assets/a": false, "GET /assets": false, "GET /assets/../secret": false, "GET /assets/./a": false, "GET /assets//a": false,
		"GET /assets/..%2fsecret": false, "GET /assets/%2e%2e/secret": false, "GET /assets/..;/secret": false, `GET /assets/..\secret`: false,
		"CONNECT /healthz": false, "GET /hooks/a": false, "POST /hooks/a/b": false, "GET http://a/healthz": false, "GET *": false,
		"POST /pkg.Service/Close": false, "POST /pkg.Service/open": false, "POST //pkg.Service/Open": false, "POST /pkg.Service/Open/": false,
		"POST /pkg.Service/Ope%6E": false, "POST /open.Service/..%2fpkg.Service%2fClose": false, "POST /open.Service/../pkg.Service/Close": false,
		"POST /open.Service/..": false, "POST /open.Service/": false, "POST /open.Service/a;b": false, `POST /open.Service/..\..\pkg.Service\Close`: false,
		"POST /open.Service/a#b": false, "POST /open.Service/\xff": false,
	} {
		method, path, _ := strings.Cut(target, " ")
		if got := allowed(check(t, s, ask(method, path)), nil); got != want {
			t.Errorf("%s: skipped %t, want %t", target, got, want)
		}
	}
	many := slices.Repeat([]string{"a", "b"}, 2000)
	for _, form := range []func(method, path string, pairs ...string) *authv3.CheckRequest{ask, askRaw} {
		if allowed(check(t, s, form("GET", "/healthz", "a", strings.Repeat("b", 1<<20))), nil) || allowed(check(t, s, askRaw("GET", "/healthz", many...)), nil) {
			t.Error("more headers than anybody sends are let through")
		}
	}
	for target, want := range map[string]bool{"/pkg.Service/Open": true, "/healthz": true, "/open.Service/Any": false} {
		if got := allowed(check(t, ruled, ask("POST", target)), nil); got != want {
			t.Errorf("with rules, %s: %t, want %t", target, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	var o owner
	user := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"user"}})
	rules, err := authz.New(authz.WithDefaultPolicy(authz.Allow), authz.WithRules(
		authz.Rule{Name: "none", Effect: authz.Deny, Methods: []string{"pkg.Admin/*", "pkg.Service/Delete*"}}))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, newAuth(t, &o), extauthz.WithAuthorizer(rules), extauthz.WithSubjectMetadata())
	const malformed = "(malformed method name)"
	for path, rule := range map[string]string{
		"/pkg.Service/Get": "", "/pkg.Service/Get?message=a": "",
		"/pkg.Admin/Get": "none", "/pkg.Admin/Get?x": "none", "/pkg.Service/DeleteAll": "none",
		"/pkg.Adm%69n/Get": malformed, "//pkg.Admin/Get": malformed, "/x/../pkg.Admin/Get": malformed, "/pkg.Admin/./Get": malformed, "/pkg.Admin/Get/": malformed,
		`/pkg.Admin\Get`: malformed, "/./pkg.Admin/Get": malformed, "/pkg.Admin;/Get": malformed, "/pkg.Admin/Get#": malformed, "/pkg.Admin/Get\x00": malformed,
		"/": malformed, "/healthz": malformed, "/../Get": malformed, "/pkg.Service/..": malformed, "/pkg.Service/Gét": malformed, "/pkg.Service/*": malformed,
	} {
		out := check(t, s, ask("POST", path, "content-type", grpcType, "authorization", "Bearer "+user))
		fields := out.GetDynamicMetadata().AsMap()
		if rule == "" {
			if !allowed(out, nil) || fields["subject"] != "ada" || fields["result"] != "allowed" {
				t.Errorf("%s: %v", path, out)
			}
			continue
		}
		want := "OK|application/grpc|access denied|7|ACCESS_DENIED"
		if got := refusalOf(t, out); got != want || fields["rule"] != rule || fields["reason"] != "ACCESS_DENIED" || fields["result"] != "denied" || fields["subject"] != nil {
			t.Errorf("%q: %s, %v, want %s by %s", path, got, fields, want, rule)
		}
	}
}

func TestSessionPatterns(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	rules, err := authz.New()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, newAuth(t, &o, interceptor.WithOptionalAuth()), extauthz.WithAuthorizer(rules), extauthz.WithSessionPatterns("GET /files/"))
	for _, row := range []struct {
		method, path, token, want string
	}{
		{"GET", "/files/1", ada, ""},
		{"GET", "/files/1", "x", "Unauthorized|invalid session|"},
		{"GET", "/files/1", "", "Unauthorized|missing credentials|"},
		{"PUT", "/files/1", ada, "Forbidden|access denied|"},
		{"GET", "/files/../pkg.Service/Get", ada, "Forbidden|access denied|"},
		{"GET", "/files/%2e%2e/pkg.Service/Get", ada, "Forbidden|access denied|"},
		{"GET", "/pkg.Service/Get", ada, "Forbidden|access denied|"},
	} {
		var pairs []string
		if row.token != "" {
			pairs = []string{"authorization", "Bearer " + row.token}
		}
		out := check(t, s, ask(row.method, row.path, pairs...))
		if row.want == "" {
			if !allowed(out, nil) {
				t.Errorf("%+v: %v", row, out)
			}
		} else if got := refusalOf(t, out); !strings.HasPrefix(got, row.want) {
			t.Errorf("%+v: %s", row, got)
		}
	}
}

func TestHostileChecks(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	foreign := o.SignIn(authcontext.AuthContext{Subject: "josé"})
	s := newServer(t, newAuth(t, &o))
	bearer := "Bearer " + ada
	both := ask("GET", "/", "authorization", bearer)
	both.GetAttributes().GetRequest().GetHttp().HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "a", RawValue: []byte("b")}}}
	twice := askRaw("GET", "/", "authorization", bearer)
	twice.GetAttributes().GetRequest().GetHttp().GetHeaderMap().GetHeaders()[0].Value = "Bearer x"
	for name, row := range map[string]struct {
		in   *authv3.CheckRequest
		want string // a part of the refusal; "": it is ada's
	}{
		"headers in both forms":              {both, "AMBIGUOUS_CREDENTIALS"},
		"a value in both forms":              {twice, "AMBIGUOUS_CREDENTIALS"},
		"another path in a pseudo-header":    {askRaw("GET", "/", "authorization", bearer, ":path", "/b"), "AMBIGUOUS_CREDENTIALS"},
		"another method in a pseudo-header":  {askRaw("GET", "/", "authorization", bearer, ":method", "PUT"), "AMBIGUOUS_CREDENTIALS"},
		"another host in a pseudo-header":    {askRaw("GET", "/", "authorization", bearer, ":authority", "evil"), "AMBIGUOUS_CREDENTIALS"},
		"the same path in a pseudo-header":   {askRaw("GET", "/", "authorization", bearer, ":path", "/", "host", "evil"), ""},
		"a header that is nil":               {request(&authv3.AttributeContext_HttpRequest{Method: "GET", Path: "/", HeaderMap: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{nil}}}), "MISSING_CREDENTIALS"},
		"an identity that cannot be removed": {askRaw("GET", "/", "authorization", bearer, "x-auth-\xff", "a"), "MALFORMED_IDENTITY"},
		"one with a space":                   {askRaw("GET", "/", "authorization", bearer, "X-Auth-Subject ", "a"), "MALFORMED_IDENTITY"},
		"2000 headers":                       {askRaw("GET", "/", append(slices.Repeat([]string{"a", "b"}, 2000), "authorization", bearer)...), "INVALID_SESSION"},
		"more than 1 MiB of headers":         {askRaw("GET", "/", "authorization", bearer, "a", strings.Repeat("b", 1<<20)), "INVALID_SESSION"},
		"1 MiB of a credential":              {askRaw("GET", "/", "authorization", "Bearer "+strings.Repeat("a", 1<<19)), "INVALID_SESSION"},
		"300 cookies":                        {askRaw("GET", "/", "cookie", strings.Repeat("a=b; ", 300)+"sid="+ada), "INVALID_SESSION"},
		"CR in a credential":                 {askRaw("GET", "/", "authorization", "Bearer a\rb"), "MISSING_CREDENTIALS"},
		"LF behind a credential":             {askRaw("GET", "/", "authorization", bearer+"\n"), "MISSING_CREDENTIALS"},
		"a credential that is no UTF-8":      {askRaw("GET", "/", "authorization", bearer+"\xff"), "MISSING_CREDENTIALS"},
		"a credential for one hop":           {askRaw("GET", "/", "authorization", bearer, "connection", "authorization"), "MISSING_CREDENTIALS"},
		"an empty credential":                {askRaw("GET", "/", "authorization", ""), "MISSING_CREDENTIALS"},
		"an identity that no header holds":   {askRaw("GET", "/", "authorization", "Bearer "+foreign), "identity cannot be forwarded"},
	} {
		t.Run(name, func(t *testing.T) {
			out := check(t, s, row.in)
			if row.want == "" {
				if who, _, err := caller(t, row.in, out); err != nil || who.Subject != "ada" {
					t.Errorf("%v, %v", out, err)
				}
				return
			}
			if got := refusalOf(t, out); !strings.Contains(got, row.want) {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
	t.Run("nil", func(t *testing.T) { refusalOf(t, check(t, s, nil)) })
	t.Run("a refusal is in the protocol of the client, however early", func(t *testing.T) {
		long := strings.Repeat("b", 1<<20)
		both := askRaw("POST", unaryCall, "content-type", grpcType)
		both.GetAttributes().GetRequest().GetHttp().Headers = map[string]string{"a": "b"}
		for range 20 { // a map has no order
			for _, in := range []*authv3.CheckRequest{
				ask("POST", unaryCall, "content-type", grpcType, ":authority", "evil"), askRaw("POST", unaryCall, ":path", "/b", "Content-Type", grpcType),
				ask("POST", unaryCall, "content-type", grpcType, "a", long), askRaw("POST", unaryCall, "a", long, "content-type", grpcType),
				askRaw("POST", unaryCall, append(slices.Repeat([]string{"a", "b"}, 1000), "content-type", grpcType, "authorization", "x,y")...), both,
			} {
				if got := refusalOf(t, check(t, s, in)); !strings.HasPrefix(got, "OK|application/grpc|") {
					t.Fatal(got)
				}
			}
		}
	})
}

func TestPagesOfOthers(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	s := newServer(t, newAuth(t, &o, interceptor.WithAllowedOrigins("https://app.example")))
	for origin, want := range map[string]bool{"https://app.example": true, "https://evil.example": false, "null": false} {
		for _, form := range []func(method, path string, pairs ...string) *authv3.CheckRequest{ask, askRaw} {
			out := check(t, s, form("POST", unaryCall, "content-type", "application/grpc-web", "cookie", "sid="+ada, "origin", origin))
			if allowed(out, nil) != want || !want && !strings.Contains(refusalOf(t, out), "|origin not allowed|7|ORIGIN_NOT_ALLOWED") {
				t.Errorf("%s: %v", origin, out)
			}
		}
	}
}

func TestTheVerifierSeesTheHeaderOfTheClient(t *testing.T) {
	t.Parallel()
	for _, form := range []func(method, path string, pairs ...string) *authv3.CheckRequest{ask, askRaw} {
		var got http.Header
		auth, err := interceptor.NewSessionAuth(func(_ context.Context, _ string, header http.Header) (*struct{}, error) {
			got = header
			return nil, nil
		}, func(context.Context, *struct{}) (*authcontext.AuthContext, error) { return nil, nil }, interceptor.WithKeyHeaders("Host", "X-Tenant"))
		if err != nil {
			t.Fatal(err)
		}
		check(t, newServer(t, auth), form("GET", "/", "authorization", "Bearer a", "host", "evil", "x-tenant", "red", "x-other", "b"))
		want := http.Header{"Authorization": {"Bearer a"}, "Host": {"api.example"}, "X-Tenant": {"red"}}
		if !maps.EqualFunc(got, want, slices.Equal[[]string]) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestWhatFaultsComeTo(t *testing.T) {
	t.Parallel()
	t.Run("a panic", func(t *testing.T) {
		for _, contentType := range []string{grpcType, "text/plain"} {
			out := check(t, newServer(t, &interceptor.Authenticator{}), ask("POST", unaryCall, "content-type", contentType))
			if got := refusalOf(t, out); !strings.Contains(got, "session verification failed") {
				t.Errorf("%s: %s", contentType, got)
			}
		}
	})
	long, err := status.New(codes.FailedPrecondition, "a").WithDetails(&errdetails.ErrorInfo{Reason: strings.Repeat("A", 5<<10)})
	if err != nil {
		t.Fatal(err)
	}
	var o owner
	s := newServer(t, newAuth(t, &o))
	for name, row := range map[string]struct {
		err        error
		grpc, http string
	}{
		"a message that is no UTF-8": {status.Error(codes.NotFound, "a\xff\n"), "OK|application/grpc|a%EF%BF%BD%0A|5|", "NotFound|a\uFFFD\n|||"},
		"details beyond a header":    {long.Err(), "OK|application/grpc|a|9|", "BadRequest|a|||"},
		"a message with a percent":   {status.Error(codes.Aborted, "100%"), "OK|application/grpc|100%25|10|", "Conflict|100%|||"},
		"no error that is known":     {errors.New("a secret"), "OK|application/grpc|session verification failed|16|VERIFICATION_FAILED", ""},
	} {
		o.GoDown(row.err)
		out := check(t, s, ask("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer a"))
		if got := refusalOf(t, out); got != row.grpc {
			t.Errorf("%s: got %q, want %q", name, got, row.grpc)
		}
		for _, h := range out.GetDeniedResponse().GetHeaders() {
			if len(h.GetHeader().GetValue()) > 4<<10 {
				t.Errorf("%s: %s has %d bytes", name, h.GetHeader().GetKey(), len(h.GetHeader().GetValue()))
			}
		}
		web := check(t, s, ask("POST", unaryCall, "authorization", "Bearer a"))
		if got := refusalOf(t, web); row.http != "" && got != row.http {
			t.Errorf("%s: got %q, want %q", name, got, row.http)
		}
		for _, out := range []*authv3.CheckResponse{out, web} {
			if _, err := proto.Marshal(out); err != nil {
				t.Errorf("%s cannot be sent: %v", name, err)
			}
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	out, err := s.Check(gone, ask("GET", "/", "authorization", "Bearer a"))
	if err != nil || out.GetDeniedResponse().GetStatus().GetCode() != typev3.StatusCode_ServiceUnavailable {
		t.Errorf("%v, %v", out, err)
	}
}

// bytesCodec sends what is not a message.
type bytesCodec struct{ encoding.Codec }

func (bytesCodec) Name() string                  { return "proto" }
func (bytesCodec) Marshal(v any) ([]byte, error) { return v.([]byte), nil }
func (bytesCodec) Unmarshal([]byte, any) error   { return nil }

func TestWhatIsNoCheck(t *testing.T) {
	t.Parallel()
	var o owner
	path := socket(t)
	serveUntil(t, newServer(t, newAuth(t, &o, interceptor.WithOptionalAuth())), path)
	conn := dial(t, "unix:"+path)
	for _, body := range []string{"\x0a\x02\x22\xff", "\xff\xff\xff", "\x0a\x08\x22\x06\x12\x04\x12\x02\xff\xfe"} {
		err := conn.Invoke(t.Context(), authv3.Authorization_Check_FullMethodName, []byte(body), nil, grpc.ForceCodec(bytesCodec{}))
		if code := status.Code(err); code != codes.Internal && code != codes.InvalidArgument {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestResponseHeaderIsTheClientsAndNotEnvoys(t *testing.T) {
	t.Parallel()
	var o owner
	o.cookies = []string{"a=1", "b=2"}
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	client := dialCheck(t, newServer(t, newAuth(t, &o)))
	for _, token := range []string{ada, "x"} {
		var header grpcmd.MD
		out, err := client.Check(t.Context(), ask("GET", "/", "authorization", "Bearer "+token), grpc.Header(&header))
		if err != nil || len(header["set-cookie"]) > 0 {
			t.Errorf("%v, %v", header, err)
		}
		options := out.GetOkResponse().GetResponseHeadersToAdd()
		if token == "x" {
			options = out.GetDeniedResponse().GetHeaders()
		}
		var got []string
		for _, h := range options {
			if h.GetHeader().GetKey() == "set-cookie" && h.GetAppendAction() == corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD {
				got = append(got, h.GetHeader().GetValue())
			}
		}
		if !slices.Equal(got, o.cookies) {
			t.Errorf("%q", got)
		}
	}
}

func TestARefusalIsNotKeptByAnybody(t *testing.T) {
	t.Parallel()
	auth, err := interceptor.NewSessionAuth(func(ctx context.Context, _ string, _ http.Header) (*struct{}, error) {
		_ = grpc.SetHeader(ctx, grpcmd.Pairs("x-of-envoy", "a")) // there is no call of the client's to set it on
		return nil, interceptor.SetResponseHeader(ctx, http.Header{"Cache-Control": {"public"}, "X-Content-Type-Options": {"other"}})
	}, func(context.Context, *struct{}) (*authcontext.AuthContext, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	var header grpcmd.MD
	out, err := dialCheck(t, newServer(t, auth)).Check(t.Context(), ask("GET", "/", "authorization", "Bearer a"), grpc.Header(&header))
	if err != nil || len(header["x-of-envoy"]) > 0 {
		t.Errorf("Envoy gets %v, %v", header, err)
	}
	got := map[string][]string{}
	for _, h := range out.GetDeniedResponse().GetHeaders() {
		got[h.GetHeader().GetKey()] = append(got[h.GetHeader().GetKey()], h.GetHeader().GetValue())
	}
	for name, want := range map[string]string{"cache-control": "no-store", "x-content-type-options": "nosniff"} {
		if !slices.Equal(got[name], []string{want}) {
			t.Errorf("%s: %q", name, got[name])
		}
	}
}

func TestServeWaitsForNobodyForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o owner
		listener := bufconn.Listen(1 << 16)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- newServer(t, newAuth(t, &o)).Serve(ctx, listener) }()
		conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		cancel()
		if err := <-served; err != nil || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestASlowVerifier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var o owner
		ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
		s := newServer(t, newAuth(t, &o))
		o.Stall()
		defer o.ComeBack()
		in := ask("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada)
		start := time.Now()
		if got := refusalOf(t, check(t, s, in)); got != "OK|application/grpc|session verification unavailable|14|VERIFICATION_UNAVAILABLE" {
			t.Error(got)
		}
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("after %v", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // Envoy's patience
		defer cancel()
		out, err := s.Check(ctx, in)
		if err != nil || refusalOf(t, out) != "OK|application/grpc|context deadline exceeded|4|VERIFICATION_UNAVAILABLE" {
			t.Errorf("%v, %v", out, err)
		}
	})
}

func TestServe(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	path := socket(t)
	stop := serveUntil(t, newServer(t, newAuth(t, &o)), path)
	conn := dial(t, "unix:"+path)
	watching, unwatch := context.WithCancel(t.Context())
	defer unwatch()
	watch, err := healthpb.NewHealthClient(conn).Watch(watching, &healthpb.HealthCheckRequest{Service: "envoy.service.auth.v3.Authorization"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := watch.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", r, err)
	}
	o.Stall()
	answered := make(chan bool, 1)
	go func() {
		answered <- allowed(authv3.NewAuthorizationClient(conn).Check(t.Context(), ask("GET", "/", "authorization", "Bearer "+ada)))
	}()
	for o.Calls(ada) == 0 {
		if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	if r, err := watch.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("%v, %v", r, err)
	}
	unwatch()
	o.ComeBack()
	if !<-answered {
		t.Error("the Check under way is not answered")
	}
	<-stopped
}

func TestServeWhoseContextHasEndedReturns(t *testing.T) {
	t.Parallel()
	var o owner
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	listener := listen(t, socket(t))
	if err := newServer(t, newAuth(t, &o)).Serve(ctx, listener); err != nil {
		t.Error(err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is not closed: %v", err)
	}
}

func TestServeEndsWithItsListener(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	path := socket(t)
	listener := listen(t, path)
	served := make(chan error, 1)
	go func() { served <- newServer(t, newAuth(t, &o)).Serve(context.Background(), listener) }()
	client := authv3.NewAuthorizationClient(dial(t, "unix:"+path))
	in := ask("GET", "/", "authorization", "Bearer "+ada)
	if out, err := client.Check(t.Context(), in); !allowed(out, err) {
		t.Fatal(out, err)
	}
	_ = listener.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if _, err := client.Check(t.Context(), in); status.Code(err) != codes.Unavailable {
		t.Errorf("it goes on all the same: %v", err)
	}
}

func TestBadOptionsFailInTheConstructor(t *testing.T) {
	t.Parallel()
	var o owner
	auth := newAuth(t, &o)
	for want, opts := range map[string][]extauthz.Option{
		"extauthz: WithSharedSecret: secret 1 has 5 bytes, want 32 to 1024":                   {extauthz.WithSharedSecret("short")},
		`extauthz: WithSecretHeader: "x-auth-secret" cannot hold a secret`:                    {extauthz.WithSecretHeader("x-auth-secret")},
		"extauthz: WithForwardedClaims: the name of a claim is empty":                         {extauthz.WithForwardedClaims("a", "")},
		`extauthz: WithPassedHeaders: "x-other" is not withheld`:                              {extauthz.WithPassedHeaders("x-other")},
		`extauthz: WithWithheldHeaders: "a b" is no header that can be withheld`:              {extauthz.WithWithheldHeaders("a b")},
		`extauthz: WithWithheldHeaders: "Host" is no header that can be withheld`:             {extauthz.WithWithheldHeaders("Host")},
		`extauthz: WithWithheldHeaders: "Cookie" is in WithPassedHeaders, too`:                {extauthz.WithWithheldHeaders("Cookie"), extauthz.WithPassedHeaders("cookie")},
		"extauthz: WithPassedCookies: the cookie header is passed whole by WithPassedHeaders": {extauthz.WithPassedCookies("a"), extauthz.WithPassedHeaders("Cookie")},
		`extauthz: WithPassedCookies: "a=" is no name of a cookie`:                            {extauthz.WithPassedCookies("a=")},
		`extauthz: WithSkipPatterns: "example.com/": want a path that begins with a slash`:    {extauthz.WithSkipPatterns("example.com/")},
		"extauthz: WithSkipPatterns: CONNECT has no path":                                     {extauthz.WithSkipPatterns("CONNECT /")},
		`extauthz: WithSkipPatterns: "": want a path`:                                         {extauthz.WithSkipPatterns("")},
		"extauthz: WithSkipPatterns: parsing":                                                 {extauthz.WithSkipPatterns("/{")},
		"extauthz: WithSkipPatterns: pattern \"/a\"":                                          {extauthz.WithSkipPatterns("/a", "/a")},
	} {
		if _, err := extauthz.New(auth, append(opts, nil)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := extauthz.New(auth, extauthz.WithSessionPatterns("/a")); err == nil || err.Error() != "extauthz: WithSessionPatterns: there are no rules without WithAuthorizer" {
		t.Error(err)
	}
	if _, err := extauthz.New(nil); err == nil || err.Error() != "extauthz: New needs an Authenticator" {
		t.Error(err)
	}
}
