package httpauth_test

import (
	"context"
	"crypto/tls"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

const gatewaySecret = "0123456789abcdef0123456789abcdef"

func forward(t testing.TB, authn httpauth.Authn, opts ...httpauth.Option) *httptest.Server {
	t.Helper()
	handler, err := httpauth.ForwardAuth(authn, opts...)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// TestTheServiceBehindAProxyBelievesTheAnswer, and nothing that the client said.
func TestTheServiceBehindAProxyBelievesTheAnswer(t *testing.T) {
	var o authtest.Owner
	want := authcontext.AuthContext{
		Subject: "ada", Name: "Ada, Countess", Roles: []string{"admin", "größe"}, Scopes: []string{"a:b", "c"},
		Claims: map[string]any{"tenant": "acme", "token": "secret"}, Type: "session", ExpiresAt: time.Now().Add(time.Hour).UTC(),
	}
	token := o.SignIn(want)
	ask := forward(t, newAuth(t, &o), httpauth.WithClaims("tenant"), httpauth.WithGatewaySecrets(gatewaySecret))
	gateway, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(gatewaySecret))
	if err != nil {
		t.Fatal(err)
	}
	a := get(t, ask, "/any/path", append(bearer(token), "X-Gateway-Secret", gatewaySecret, "X-Auth-Subject", "eve", "X-Auth-Roles", `["root"]`)...)
	a.mustBe(t, http.StatusOK, "")
	if a.body != "" || a.Header.Get("Cache-Control") != "no-store" || strings.Contains(a.Header.Get("X-Auth-Claims"), "secret") {
		t.Errorf("%q, %v", a.body, a.Header)
	}
	found, err := gateway.Authenticate(t.Context(), a.Header)
	if err != nil {
		t.Fatal(err)
	}
	got := found.AuthContext()
	if got.Subject != want.Subject || got.Name != want.Name || len(got.Roles) != 2 || got.Roles[1] != want.Roles[1] || len(got.Scopes) != 2 ||
		got.Claims["tenant"] != "acme" || !got.ExpiresAt.Equal(want.ExpiresAt) {
		t.Errorf("it believes %v", got)
	}
}

func TestAnswersToAProxy(t *testing.T) {
	rules, err := authz.New(authz.WithPublicMethods("web.Open/*"), authz.WithRules(
		authz.Rule{Name: "admins", Methods: []string{"web.Admin/*"}, Roles: []string{"admin"}, Effect: authz.Allow},
		authz.Rule{Name: "all", Methods: []string{"notes.v1.Notes/*"}, Effect: authz.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	methods := httpauth.WithMethods(map[string]string{"GET /notes/{id}": "notes.v1.Notes/Get", "/admin/": "web.Admin/Show", "/about": "web.Open/About"})
	ruled := []httpauth.Option{httpauth.WithForwardedRequest(), httpauth.WithSkipPatterns("GET /healthz"), httpauth.WithAuthorizer(rules), methods}
	about := func(method, uri string) []string {
		return []string{"X-Forwarded-Method", method, "X-Forwarded-Uri", uri}
	}
	secret := httpauth.WithGatewaySecrets(gatewaySecret, strings.Repeat("n", 32))
	for name, test := range map[string]struct {
		opts    []httpauth.Option
		auth    []interceptor.Option
		header  []string
		nobody  bool
		down    bool
		status  int
		reason  string
		subject string
	}{
		"somebody":                     {status: 200, subject: "ada"},
		"nobody":                       {nobody: true, status: 401, reason: "MISSING_CREDENTIALS"},
		"nobody, where that is fine":   {auth: []interceptor.Option{interceptor.WithOptionalAuth()}, nobody: true, status: 200},
		"an owner that is away":        {down: true, status: 503, reason: "VERIFICATION_UNAVAILABLE"},
		"what it is about, not told":   {header: about("GET", "/healthz"), nobody: true, status: 401, reason: "MISSING_CREDENTIALS"},
		"without the secret":           {opts: []httpauth.Option{secret}, status: 401, reason: "UNTRUSTED_CALLER"},
		"with another":                 {opts: []httpauth.Option{secret}, header: []string{"X-Gateway-Secret", strings.Repeat("x", 32)}, status: 401, reason: "UNTRUSTED_CALLER"},
		"with two":                     {opts: []httpauth.Option{secret}, header: []string{"X-Gateway-Secret", gatewaySecret, "X-Gateway-Secret", gatewaySecret}, status: 401, reason: "UNTRUSTED_CALLER"},
		"with the new one":             {opts: []httpauth.Option{secret}, header: []string{"X-Gateway-Secret", strings.Repeat("n", 32)}, status: 200, subject: "ada"},
		"a path that is skipped":       {opts: ruled, header: about("GET", "/healthz?a=b%zz"), nobody: true, status: 200},
		"by another method":            {opts: ruled, header: about("POST", "/healthz"), nobody: true, status: 401, reason: "MISSING_CREDENTIALS"},
		"a public method":              {opts: ruled, auth: []interceptor.Option{interceptor.WithSkipMethods(rules.PublicMethods()...)}, header: about("GET", "/about"), nobody: true, status: 200},
		"a skipped one, not public":    {opts: ruled, auth: []interceptor.Option{interceptor.WithSkipMethods("notes.v1.Notes/*")}, header: about("GET", "/notes/7"), nobody: true, status: 401, reason: "MISSING_CREDENTIALS"},
		"a path for all":               {opts: ruled, header: about("GET", "/notes/7"), status: 200, subject: "ada"},
		"a path for admins":            {opts: ruled, header: about("GET", "/admin/"), status: 403, reason: "ACCESS_DENIED"},
		"a path that has no name":      {opts: ruled, header: about("GET", "/elsewhere"), status: 403, reason: "ACCESS_DENIED"},
		"a path of two readings":       {opts: ruled, header: about("GET", "/notes/..%2fadmin"), status: 403, reason: "ACCESS_DENIED"},
		"no path":                      {opts: ruled, header: []string{"X-Forwarded-Method", "GET"}, status: 403, reason: "ACCESS_DENIED"},
		"no method":                    {opts: ruled, header: []string{"X-Forwarded-Uri", "/notes/7"}, status: 403, reason: "ACCESS_DENIED"},
		"two paths":                    {opts: ruled, header: append(about("GET", "/notes/7"), "X-Forwarded-Uri", "/admin/"), status: 403, reason: "ACCESS_DENIED"},
		"two methods in a line":        {opts: ruled, header: about("GET, POST", "/notes/7"), status: 403, reason: "ACCESS_DENIED"},
		"a whole URL":                  {opts: ruled, header: about("GET", "http://x/notes/7"), status: 403, reason: "ACCESS_DENIED"},
		"a link on a foreign page":     {opts: ruled, auth: []interceptor.Option{interceptor.WithAllowedOrigins()}, header: append(about("GET", "/notes/7"), navigation...), status: 200, subject: "ada"},
		"a form on a foreign page":     {opts: ruled, auth: []interceptor.Option{interceptor.WithAllowedOrigins()}, header: append(about("POST", "/notes/7"), navigation...), status: 403, reason: "ORIGIN_NOT_ALLOWED"},
		"which of the two is not told": {auth: []interceptor.Option{interceptor.WithAllowedOrigins()}, header: navigation, status: 403, reason: "ORIGIN_NOT_ALLOWED"},
	} {
		t.Run(name, func(t *testing.T) {
			var o authtest.Owner
			header := test.header
			if !test.nobody {
				header = append([]string{"Cookie", "sid=" + o.SignIn(authcontext.AuthContext{Subject: "ada"})}, header...)
			}
			if test.down {
				o.GoDown(nil)
			}
			a := get(t, forward(t, newAuth(t, &o, test.auth...), test.opts...), "/", header...)
			a.mustBe(t, test.status, test.reason)
			if got := a.Header.Get("X-Auth-Subject"); got != test.subject {
				t.Errorf("it tells of %q, want %q", got, test.subject)
			}
			for name := range maps.Keys(a.Header) {
				if a.StatusCode != http.StatusOK && strings.HasPrefix(name, "X-Auth-") || test.status != http.StatusOK && name == "X-Gateway-Secret" {
					t.Errorf("a refusal with %s", name)
				}
			}
		})
	}
}

var navigation = []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}

// TestAnIdentityThatCannotBeTold is not told in part.
func TestAnIdentityThatCannotBeTold(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "größe"})
	get(t, forward(t, newAuth(t, &o)), "/", bearer(token)...).mustBe(t, http.StatusInternalServerError, "IDENTITY_NOT_FORWARDED")
}

func TestOptionsOfForwardAuthThatAreNotValid(t *testing.T) {
	var o authtest.Owner
	for want, opt := range map[string]httpauth.Option{
		"WithSkipPatterns and WithMethods need WithForwardedRequest": httpauth.WithSkipPatterns("/a"),
		"WithGatewaySecrets: secret 1 has 5 bytes":                   httpauth.WithGatewaySecrets("short"),
		"WithGatewaySecrets: no secret":                              httpauth.WithGatewaySecrets(),
	} {
		if _, err := httpauth.ForwardAuth(newAuth(t, &o), opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestAProxyDoesNotVouchForItsClients: the certificate that it asks with is not theirs.
func TestAProxyDoesNotVouchForItsClients(t *testing.T) {
	auth, err := interceptor.NewGatewayAuth(interceptor.WithTrustedPeers("example.com"), interceptor.WithSharedSecrets(gatewaySecret))
	if err != nil {
		t.Fatal(err)
	}
	handler, err := httpauth.ForwardAuth(auth)
	if err != nil {
		t.Fatal(err)
	}
	certificate, authority := newCertificate(t)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority}
	server.StartTLS()
	defer server.Close()
	server.Client().Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{certificate}
	get(t, server, "/", "X-Auth-Subject", "eve").mustBe(t, http.StatusUnauthorized, "UNTRUSTED_CALLER")
	told := []string{"X-Auth-Subject", "ada", "X-Gateway-Secret", gatewaySecret}
	a := get(t, server, "/", told...) // of a gateway in front of the proxy
	if a.mustBe(t, http.StatusOK, ""); a.Header.Get("X-Auth-Subject") != "ada" {
		t.Errorf("%v", a.Header)
	}
	// Nor is the secret that it asks with.
	get(t, forward(t, auth, httpauth.WithGatewaySecrets(gatewaySecret)), "/", told...).mustBe(t, http.StatusUnauthorized, "UNTRUSTED_CALLER")
}

// TestTheProxyIsThePeer of a question, as callbacks find it.
func TestTheProxyIsThePeer(t *testing.T) {
	auth, err := interceptor.NewSessionAuth(func(ctx context.Context, _ string, _ http.Header) (string, error) {
		if from, ok := peer.FromContext(ctx); ok && from.AuthInfo == nil {
			return from.Addr.String(), nil
		}
		return "", interceptor.ErrInvalidSession
	}, func(_ context.Context, s string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := get(t, forward(t, auth), "/", bearer("x")...)
	if from := a.Header.Get("X-Auth-Subject"); !strings.HasPrefix(from, "127.0.0.1:") {
		t.Errorf("status %d, from %q", a.StatusCode, from)
	}
}

// TestWhatHasNoNameIsDenied by rules that allow everything, too.
func TestWhatHasNoNameIsDenied(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	rules, err := authz.New(authz.WithRules(authz.Rule{Name: "all", Methods: []string{"*"}, Effect: authz.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	opts := []httpauth.Option{httpauth.WithAuthorizer(rules), httpauth.WithMethods(map[string]string{"/named": "a.B/C"})}
	server := httptest.NewServer(protect(t, newAuth(t, &o), who, opts...))
	defer server.Close()
	proxy := forward(t, newAuth(t, &o), append(opts, httpauth.WithForwardedRequest())...)
	for path, want := range map[string]int{"/named": http.StatusOK, "/other": http.StatusForbidden, "/a/../named": http.StatusForbidden} {
		get(t, server, path, bearer(token)...).mustBe(t, want, "")
		get(t, proxy, "/", append(bearer(token), "X-Forwarded-Method", "GET", "X-Forwarded-Uri", path)...).mustBe(t, want, "")
	}
}
