package httpauth_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func TestARequestPassesOrIsRefused(t *testing.T) {
	const realm = `Bearer realm="session"`
	tests := map[string]struct {
		header    func(token string) []string
		down      error
		status    int
		reason    string // "": it passes
		challenge string
		retry     int // seconds
	}{
		"a bearer token passes":      {header: bearer, status: http.StatusOK},
		"a cookie passes":            {header: func(token string) []string { return []string{"Cookie", "a=b; sid=" + token} }, status: http.StatusOK},
		"no credential":              {header: none, status: http.StatusUnauthorized, reason: "MISSING_CREDENTIALS", challenge: realm},
		"another scheme is none":     {header: func(string) []string { return []string{"Authorization", "Basic eA=="} }, status: http.StatusUnauthorized, reason: "MISSING_CREDENTIALS", challenge: realm},
		"an unknown token":           {header: func(string) []string { return bearer("made-up") }, status: http.StatusUnauthorized, reason: "INVALID_SESSION", challenge: realm + `, error="invalid_token", error_description="invalid session"`},
		"two tokens":                 {header: func(token string) []string { return append(bearer(token), bearer("b")...) }, status: http.StatusUnauthorized, reason: "AMBIGUOUS_CREDENTIALS", challenge: realm + `, error="invalid_request", error_description="ambiguous credentials"`},
		"two tokens in one line":     {header: func(token string) []string { return bearer(token + ", Bearer b") }, status: http.StatusUnauthorized, reason: "AMBIGUOUS_CREDENTIALS", challenge: realm + `, error="invalid_request", error_description="ambiguous credentials"`},
		"an owner that is away":      {header: bearer, down: interceptor.ErrUnavailable, status: http.StatusServiceUnavailable, reason: "VERIFICATION_UNAVAILABLE", retry: 1},
		"one that says for how long": {header: bearer, down: interceptor.RetryAfter(90*time.Second+1, nil), status: http.StatusServiceUnavailable, reason: "VERIFICATION_UNAVAILABLE", retry: 91},
		"one that fails":             {header: bearer, down: errors.New("secret"), status: http.StatusUnauthorized, reason: "VERIFICATION_FAILED", challenge: realm + `, error="invalid_token", error_description="session verification failed"`},
		"a status of its own":        {header: bearer, down: status.Error(codes.FailedPrecondition, "pay first"), status: http.StatusBadRequest},
		"one that has no challenge":  {header: bearer, down: status.Error(codes.Unauthenticated, "pay \"first\"\r\nX: y"), status: http.StatusUnauthorized, challenge: realm + `, error="invalid_token"`},
	}
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				var o authtest.Owner
				token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
				if test.down != nil {
					o.GoDown(test.down)
				}
				server := serve(protect(t, newAuth(t, &o), who))
				for range 2 { // the second from memory, if there is any
					a := get(t, server, "/", test.header(token)...)
					a.mustBe(t, test.status, test.reason)
					if got := a.Header.Get("WWW-Authenticate"); got != test.challenge {
						t.Errorf("challenge %q, want %q", got, test.challenge)
					}
					// What an owner named is spread, lest all come back at once.
					if got, _ := strconv.Atoi(a.Header.Get("Retry-After")); got < test.retry || got > 2*test.retry {
						t.Errorf("Retry-After %d, want %d", got, test.retry)
					}
					if strings.Contains(a.body, "secret") {
						t.Errorf("it tells the cause: %s", a.body)
					}
					if test.status == http.StatusOK {
						if s := a.seen(t); s.Subject != "ada" || !s.Session {
							t.Errorf("%+v", s)
						}
					}
				}
			})
		}
	})
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }
func none(string) []string         { return nil }

func TestNobodyPassesWhereThatIsAllowed(t *testing.T) {
	var o authtest.Owner
	server := httptest.NewServer(protect(t, newAuth(t, &o, interceptor.WithOptionalAuth()), who))
	defer server.Close()
	if s := get(t, server, "/").seen(t); s.Subject != "nobody" {
		t.Errorf("%+v", s)
	}
	get(t, server, "/", bearer("made-up")...).mustBe(t, http.StatusUnauthorized, "INVALID_SESSION")
	get(t, server, "/", "Authorization", "Bearer").mustBe(t, http.StatusUnauthorized, "MISSING_CREDENTIALS")
}

// TestWhatAHandlerDoesNotSee: identities that a client tells, under any name that somebody could read
// as one.
func TestWhatAHandlerDoesNotSee(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	server := httptest.NewServer(protect(t, newAuth(t, &o), who, httpauth.WithSkipPatterns("/open")))
	defer server.Close()
	for _, path := range []string{"/", "/open"} {
		for _, name := range []string{"X-Auth-Subject", "x_auth_subject", "X.Auth.Roles", "Grpcgateway-X-Auth-Subject", "grpcgateway_x-auth_roles", "Grpc-Metadata-X-Auth-Subject", "X-Auth-Anything"} {
			a := get(t, server, path, append(bearer(token), name, "eve", "X-Other", "kept")...)
			s := a.seen(t)
			for got := range s.Header {
				if strings.Contains(strings.ToLower(got), "auth") && got != "Authorization" {
					t.Errorf("%s: the handler sees %s", path, got)
				}
			}
			if s.Header.Get("X-Other") != "kept" || s.Header.Get("Authorization") == "" {
				t.Errorf("%s: what else there was is gone: %v", path, s.Header)
			}
		}
	}
}

// TestATrailerTellsNoIdentity, whether it was announced or not.
func TestATrailerTellsNoIdentity(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	read := map[string]func(*http.Request){
		"/read":         func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"/skipped/read": func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
		"/close":        func(r *http.Request) { _ = r.Body.Close() },
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, len(r.Trailer["X-Auth-Subject"]))
		_, announced := r.Trailer["X-Auth-Subject"]
		read[r.URL.Path](r)
		fmt.Fprint(w, announced, r.Trailer["X-Auth-Subject"], r.Trailer["X_auth_roles"], r.Trailer["X-Sum"])
	})
	door := protect(t, newAuth(t, &o), handler, httpauth.WithSkipPatterns("/skipped/"))
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		server := serve(door)
		for path := range read {
			if path == "/close" && strings.HasSuffix(t.Name(), "2.0") {
				continue // what comes for a stream that is closed is a protocol error
			}
			r := newRequest(t, http.MethodPost, server.URL+path, struct{ io.Reader }{strings.NewReader("x")}, bearer(token)...)
			r.Trailer = http.Header{"X-Auth-Subject": {"eve"}, "X_auth_roles": {"admin"}, "X-Sum": {"1"}}
			if a := do(t, server, r); a.body != "0false [] [] [1]" {
				t.Errorf("%s: %d %q", path, a.StatusCode, a.body)
			}
		}
	})
	plain := httptest.NewServer(door)
	defer plain.Close()
	for path := range read {
		request := "POST " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + token +
			"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Auth-Subject: eve\r\n\r\n"
		conn, err := net.Dial("tcp", plain.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || !strings.Contains(string(got), "0false [] [] []") {
			t.Errorf("%s, not announced: %s, %v", path, got, err)
		}
		_ = conn.Close()
	}
}

// raw sends bytes and returns the status of the response.
func raw(t *testing.T, server *httptest.Server, request string) (status int) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = conn.Write([]byte(request)) }() // the server may answer before it has read all
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// TestHeaderGames: what two parties could read in two ways, and what is too much, does not
// pass.
func TestHeaderGames(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	server := httptest.NewServer(protect(t, newAuth(t, &o), who))
	defer server.Close()
	good := "Authorization: Bearer " + token + "\r\n"
	cookie := "Cookie: sid=" + token + "\r\n"
	for name, test := range map[string]struct {
		lines  string
		status int
	}{
		"one credential":                       {good, 200},
		"the same cookie twice":                {cookie + cookie, 200},
		"two Authorizations":                   {good + "Authorization: Bearer other\r\n", 401},
		"two in another case":                  {good + "aUTHORIZATION: Bearer other\r\n", 401},
		"two joined":                           {"Authorization: Bearer " + token + ", Bearer other\r\n", 401},
		"an alias":                             {"Authori_zation: Bearer " + token + "\r\n", 401},
		"the gateway's name, another value":    {good + "Grpcgateway-Authorization: Bearer other\r\n", 401},
		"one that Connection takes away":       {good + "Connection: Authorization\r\n", 401},
		"a bare CR":                            {"Authorization: Bearer " + token + "\rX-Auth-Subject: eve\r\n", 400},
		"a line folded":                        {"Authorization: Bearer\r\n " + token + "x\r\n", 401},
		"a NUL":                                {"Authorization: Bearer " + token + "\x00\r\n", 400},
		"invalid UTF-8":                        {"Authorization: Bearer \xff\xfe\r\n", 401},
		"invalid UTF-8 in a cookie":            {"Cookie: sid=\xff\xfe\r\n", 401},
		"20 KiB of token":                      {"Authorization: Bearer " + strings.Repeat("x", 20<<10) + "\r\n", 401},
		"1 MiB of token":                       {"Authorization: Bearer " + strings.Repeat("x", 1<<20) + "\r\n", 401},
		"2 MiB of token":                       {"Authorization: Bearer " + strings.Repeat("x", 2<<20) + "\r\n", 431},
		"300 cookies":                          {"Cookie: sid=" + token + strings.Repeat("; a=b", 300) + "\r\n", 401},
		"300 lines of Cookie":                  {strings.Repeat(cookie, 300), 401},
		"2 000 names":                          {good + names(2000), 401},
		"a megabyte of names for Connection":   {good + strings.Repeat("Connection: a, b, c, d\r\n", 1000), 401},
		"a name with a space":                  {"Authorization : Bearer " + token + "\r\n", 400},
		"a body whose length is told two ways": {good + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", 200}, // RFC 9112 §6.1: by chunks
		"two lengths":                          {good + "Content-Length: 3\r\nContent-Length: 4\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			if got := raw(t, server, "GET / HTTP/1.1\r\nHost: x\r\n"+test.lines+"\r\n"); got != test.status {
				t.Errorf("status %d, want %d", got, test.status)
			}
		})
	}
	if s := get(t, server, "/", bearer(token)...).seen(t); s.Subject != "ada" {
		t.Errorf("after all that: %+v", s)
	}
}

func names(n int) string {
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "X-%d: y\r\n", i)
	}
	return all.String()
}

func TestWhatACallbackHandsBackReachesItsCaller(t *testing.T) {
	refused := false
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
	door := protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "c=3")
	}))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Set-Cookie", "before=0")
		door.ServeHTTP(w, r)
	}))
	defer server.Close()
	if got := fmt.Sprint(get(t, server, "/", bearer("x")...).Header["Set-Cookie"]); got != "[before=0 sid=1; Path=/ b=2 c=3]" {
		t.Errorf("it passes with %s", got)
	}
	refused = true
	if got := fmt.Sprint(get(t, server, "/", bearer("x")...).Header["Set-Cookie"]); got != "[before=0 sid=1; Path=/ b=2]" {
		t.Errorf("it is refused with %s", got)
	}
}

// TestACookieThatIsHandedBackIsInNoSharedCache, whatever its handler says of what it answers.
func TestACookieThatIsHandedBackIsInNoSharedCache(t *testing.T) {
	auth, err := interceptor.NewSessionAuth(func(ctx context.Context, token string, _ http.Header) (string, error) {
		return token, interceptor.SetResponseHeader(ctx, http.Header{token: {"sid=1"}})
	}, func(_ context.Context, s string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s}, nil
	}, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	for name, answers := range map[string]func(http.ResponseWriter){
		"nothing":            func(http.ResponseWriter) {},
		"a body":             func(w http.ResponseWriter) { fmt.Fprint(w, "x") },
		"a status":           func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"two of them":        func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints); w.WriteHeader(http.StatusOK) },
		"what it flushes":    func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"what is not little": func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 10_000)) },
	} {
		t.Run(name, func(t *testing.T) {
			_ = auth.ForgetAll(t.Context())
			server := httptest.NewServer(protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", "public, max-age=60")
				answers(w)
			})))
			defer server.Close()
			for i, want := range []string{"[public, max-age=60 private]", "[public, max-age=60]"} {
				if got := fmt.Sprint(get(t, server, "/", bearer("Set-Cookie")...).Header["Cache-Control"]); got != want {
					t.Errorf("%d: %s, want %s", i, got, want)
				}
			}
			if got := fmt.Sprint(get(t, server, "/", bearer("X-Else")...).Header["Cache-Control"]); got != "[public, max-age=60]" {
				t.Errorf("without a cookie: %s", got)
			}
		})
	}
}

func TestPagesOfOthers(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	server := httptest.NewServer(protect(t, newAuth(t, &o, interceptor.WithAllowedOrigins("https://app.test")), who))
	defer server.Close()
	navigate := []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}
	for name, test := range map[string]struct {
		method string
		header []string
		ok     bool
	}{
		"no browser":                       {"POST", nil, true},
		"a page of ours":                   {"POST", []string{"Origin", "https://app.test", "Sec-Fetch-Site", "same-origin"}, true},
		"a page of others":                 {"POST", []string{"Origin", "https://evil.test"}, false},
		"a sandboxed page":                 {"POST", []string{"Origin", "null"}, false},
		"a picture on a page of others":    {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"}, false},
		"a link on a page of others":       {"GET", navigate, true},
		"a form on a page of others":       {"POST", navigate, false},
		"a frame on a page of others":      {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false},
		"a script that says document":      {"GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "document"}, false},
		"a link that tells another origin": {"GET", append(navigate, "Origin", "https://evil.test"), false},
	} {
		t.Run(name, func(t *testing.T) {
			a := do(t, server, newRequest(t, test.method, server.URL, nil, append(test.header, "Cookie", "sid="+token)...))
			if test.ok {
				a.mustBe(t, http.StatusOK, "")
			} else {
				a.mustBe(t, http.StatusForbidden, "ORIGIN_NOT_ALLOWED")
			}
		})
	}
}

func TestSkippedAndNamedRequests(t *testing.T) {
	var o authtest.Owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"admin"}})
	bob := o.SignIn(authcontext.AuthContext{Subject: "bob"})
	rules, err := authz.New(authz.WithPublicMethods("web.Open/*"), authz.WithRules(
		authz.Rule{Name: "admins", Methods: []string{"web.Admin/*"}, Roles: []string{"admin"}, Effect: authz.Allow},
		authz.Rule{Name: "all", Methods: []string{"notes.v1.Notes/*"}, Effect: authz.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(protect(t, newAuth(t, &o, interceptor.WithSkipMethods(append(rules.PublicMethods(), "web.Closed/*")...)), who,
		httpauth.WithSkipPatterns("GET /healthz", "/static/"), httpauth.WithAuthorizer(rules), httpauth.WithMethods(map[string]string{
			"GET /notes/{id}": "notes.v1.Notes/Get", "/notes/{id}/admin": "web.Admin/Note", "/admin/": "web.Admin/Show", "/about": "/web.Open/About", "/closed": "web.Closed/Show",
		})))
	defer server.Close()
	for request, want := range map[string][3]string{ // for nobody, bob, ada
		"GET /healthz":                  {"nobody", "nobody", "nobody"},
		"HEAD /healthz":                 {"200", "200", "200"},
		"POST /healthz":                 {"401", "403", "403"},
		"GET /static/a.js":              {"nobody", "nobody", "nobody"},
		"GET /about":                    {"nobody", "nobody", "nobody"},
		"GET /static/../admin/":         {"401", "403", "403"},
		"GET /static/%2e%2e/admin/":     {"401", "403", "403"},
		"GET /static/..%2fadmin/":       {"401", "403", "403"},
		"GET /static/..%5cadmin/":       {"401", "403", "403"},
		"GET /static//admin/":           {"401", "403", "403"},
		"GET /static/..;/admin/":        {"401", "403", "403"}, // ".." to servlets
		"GET /static/.%2e;a=b/x":        {"401", "403", "403"},
		"GET /static/.;/a.js":           {"401", "403", "403"},
		"GET /static/a;b=c/...;/.x;":    {"nobody", "nobody", "nobody"},
		"GET /admin/../static/a.js":     {"401", "403", "403"},
		"GET //static/a.js":             {"401", "403", "403"},
		"GET /static/a%2fb":             {"nobody", "nobody", "nobody"},
		"GET /static/%252e%252e/admin/": {"401", "403", "403"}, // decoded once more, ".."
		"GET /static/%252e/a.js":        {"401", "403", "403"},
		"GET /static/a%255cb":           {"401", "403", "403"},
		"GET /notes/7%252fadmin":        {"401", "403", "403"},
		"GET /static/a%2520b":           {"nobody", "nobody", "nobody"},
		"GET /static/%25zz/%252e%252e/": {"401", "403", "403"}, // to those who leave alone what they cannot decode
		"GET /static/%25/..%252f/x":     {"401", "403", "403"},
		"GET /notes/7%25%252fadmin":     {"401", "403", "403"},
		"GET /static/100%25":            {"nobody", "nobody", "nobody"},
		"GET /notes/100%25":             {"401", "bob", "ada"},
		"GET /notes/7":                  {"401", "bob", "ada"},
		"DELETE /notes/7":               {"401", "403", "403"},
		"GET /notes/a%20b":              {"401", "bob", "ada"},
		"GET /notes/7%2Fadmin":          {"401", "403", "403"},
		"GET /notes/7/admin":            {"401", "403", "ada"},
		"GET /admin/x":                  {"401", "403", "ada"},
		"GET /elsewhere":                {"401", "403", "403"},
		"GET http://healthz/healthz":    {"nobody", "nobody", "nobody"},
		"CONNECT /healthz":              {"401", "403", "403"},
		"CONNECT /static/a.js":          {"401", "403", "403"},
		"GET /closed":                   {"401", "401", "401"}, // skipped, but not public
	} {
		for i, token := range []string{"", bob, ada} {
			lines := "Host: x\r\nConnection: close\r\n"
			if token != "" {
				lines += "Authorization: Bearer " + token + "\r\n"
			}
			if got := outcome(t, server, request+" HTTP/1.1\r\n"+lines+"\r\n"); got != want[i] {
				t.Errorf("%s by %q: %s, want %s", request, []string{"nobody", "bob", "ada"}[i], got, want[i])
			}
		}
	}
}

// outcome is who is served, or else the status.
func outcome(t *testing.T, server *httptest.Server, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body := make([]byte, 4096)
	n, _ := response.Body.Read(body)
	if response.StatusCode == http.StatusOK && n > 0 {
		return answer{response, string(body[:n])}.seen(t).Subject
	}
	return fmt.Sprint(response.StatusCode)
}

// TestAHandlerMayDoAsItLikesWithTheRequest: what it finds there is what a ServeMux in front of it
// has put there, and the header is its own.
func TestAHandlerMayDoAsItLikesWithTheRequest(t *testing.T) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	mux := http.NewServeMux()
	mux.Handle("GET /notes/{id}", protect(t, newAuth(t, &o), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, ok := peer.FromContext(r.Context())
		if _, isTLS := p.AuthInfo.(credentials.TLSInfo); !ok || isTLS || p.Addr.String() != r.RemoteAddr || p.Addr.Network() != "tcp" {
			t.Errorf("the peer is %v", p)
		}
		fmt.Fprint(w, r.PathValue("id"), " ", r.Pattern, " ", r.Context())
	})))
	server := httptest.NewServer(mux)
	defer server.Close()
	if a := get(t, server, "/notes/7", bearer(token)...); a.body != "7 GET /notes/{id} httpauth.Context" {
		t.Errorf("%q", a.body)
	}
}

// newCertificate returns one for example.com, and who has signed it: itself.
func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"example.com"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, pool
}

// TestAPeerIsTrustedByItsCertificate: the door tells a GatewayAuth who has connected.
func TestAPeerIsTrustedByItsCertificate(t *testing.T) {
	auth, err := interceptor.NewGatewayAuth(interceptor.WithTrustedPeers("example.com"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(protect(t, auth, who))
	server.StartTLS()
	defer server.Close()
	get(t, server, "/", "X-Auth-Subject", "ada").mustBe(t, http.StatusUnauthorized, "UNTRUSTED_CALLER")

	certificate, authority := newCertificate(t)
	mutual := httptest.NewUnstartedServer(protect(t, auth, who))
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority}
	mutual.StartTLS()
	defer mutual.Close()
	mutual.Client().Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{certificate}
	if s := get(t, mutual, "/", "X-Auth-Subject", "ada").seen(t); s.Subject != "ada" || s.Header["X-Auth-Subject"] != nil {
		t.Errorf("%+v", s)
	}
	get(t, mutual, "/").mustBe(t, http.StatusUnauthorized, "MISSING_CREDENTIALS")
}

// TestTheHostCanBePartOfTheKey: net/http keeps it out of the header.
func TestTheHostCanBePartOfTheKey(t *testing.T) {
	auth, err := interceptor.NewSessionAuth(func(_ context.Context, token string, header http.Header) (string, error) {
		return token + "@" + header.Get("Host"), nil
	}, func(_ context.Context, s string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s}, nil
	}, interceptor.WithKeyHeaders("Host"), interceptor.WithExtractors(authmd.Bearer()))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(protect(t, auth, who))
	defer server.Close()
	r := newRequest(t, http.MethodGet, server.URL, nil, bearer("ada")...)
	r.Host = "tenant.test"
	if s := do(t, server, r).seen(t); s.Subject != "ada@tenant.test" || s.Header["Host"] != nil {
		t.Errorf("%+v", s)
	}
	asked := forward(t, auth, httpauth.WithForwardedRequest())
	about := append(bearer("ada"), "X-Forwarded-Method", "GET", "X-Forwarded-Uri", "/")
	if got := get(t, asked, "/", append(about, "X-Forwarded-Host", "tenant.test")...).Header.Get("X-Auth-Subject"); got != "ada@tenant.test" {
		t.Errorf("a proxy is told of %q", got)
	}
	get(t, asked, "/", about...).mustBe(t, http.StatusForbidden, "ACCESS_DENIED")
}

func TestOptionsThatAreNotValid(t *testing.T) {
	var o authtest.Owner
	auth := newAuth(t, &o)
	rules, err := authz.New()
	if err != nil {
		t.Fatal(err)
	}
	for want, opts := range map[string][]httpauth.Option{
		`WithSkipPatterns: "example.com/x": want`:       {httpauth.WithSkipPatterns("example.com/x")},
		`WithSkipPatterns: "GET  example.com/": want`:   {httpauth.WithSkipPatterns("GET  example.com/")},
		`WithSkipPatterns: "": want`:                    {httpauth.WithSkipPatterns("")},
		`WithSkipPatterns: "GET": want`:                 {httpauth.WithSkipPatterns("GET")},
		`WithSkipPatterns: "/{" is no pattern`:          {httpauth.WithSkipPatterns("/{")},
		` is no pattern of http.ServeMux, or conflicts`: {httpauth.WithMethods(map[string]string{"/a/{x}": "a.B/C", "/{x}/b": "a.B/D"})},
		`WithMethods: "a": want "pkg.Service/Method"`:   {httpauth.WithMethods(map[string]string{"/a": "a"})},
		`WithMethods: "a.B/*": want`:                    {httpauth.WithMethods(map[string]string{"/a": "a.B/*"})},
		`WithMethods: "/a" is given twice`:              {httpauth.WithMethods(map[string]string{"/a": "a.B/C"}), httpauth.WithMethods(map[string]string{"/a": "a.B/C"})},
		`WithAuthorizer needs WithMethods`:              {httpauth.WithAuthorizer(rules)},
		`WithAuthorizer: no Authorizer`:                 {httpauth.WithAuthorizer(nil)},
		`WithRealm: want`:                               {httpauth.WithRealm("a\"b")},
		`Middleware: WithClaims is for ForwardAuth`:     {httpauth.WithClaims("a")},
		`Middleware: WithForwardedRequest is for`:       {httpauth.WithForwardedRequest()},
		`Middleware: WithGatewaySecrets is for`:         {httpauth.WithGatewaySecrets(strings.Repeat("s", 32))},
	} {
		if _, err := httpauth.Middleware(auth, opts...); err == nil || !strings.Contains(err.Error(), "httpauth: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, authn := range []httpauth.Authn{nil, (*interceptor.Authenticator)(nil), (*interceptor.GatewayAuth)(nil)} {
		if _, err := httpauth.Middleware(authn); err == nil || err.Error() != "httpauth: no Authenticator" {
			t.Errorf("%v", err)
		}
	}
	if _, err := httpauth.Middleware(auth, nil, httpauth.WithRealm("notes")); err != nil {
		t.Error(err)
	}
}
