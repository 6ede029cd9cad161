package httpauth_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// newAuth returns an Authenticator that asks o, with a cache.
func newAuth(t testing.TB, o *authtest.Owner, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	opts = append(opts, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	auth, err := interceptor.NewSessionAuth(o.Verify, o.Map, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// protect puts authn in front of handler.
func protect(t testing.TB, authn httpauth.Authn, handler http.Handler, opts ...httpauth.Option) http.Handler {
	t.Helper()
	middleware, err := httpauth.Middleware(authn, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return middleware(handler)
}

// protocols are those of the servers that every test is run with.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// overEach runs a test over every protocol.
func overEach(t *testing.T, test func(t *testing.T, serve func(http.Handler) *httptest.Server)) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			test(t, func(handler http.Handler) *httptest.Server {
				server := httptest.NewUnstartedServer(handler)
				server.EnableHTTP2 = protocol == "HTTP/2.0"
				server.StartTLS()
				t.Cleanup(server.Close)
				return server
			})
		})
	}
}

// newRequest returns a request with these header fields, name and value in turn.
func newRequest(t testing.TB, method, url string, body io.Reader, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// answer is a response that was read whole.
type answer struct {
	*http.Response

	body string
}

func do(t testing.TB, server *httptest.Server, r *http.Request) answer {
	t.Helper()
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(body)}
}

func get(t testing.TB, server *httptest.Server, path string, header ...string) answer {
	t.Helper()
	return do(t, server, newRequest(t, http.MethodGet, server.URL+path, nil, header...))
}

// reason returns that of a problem, and checks the rest of it.
func (a answer) reason(t testing.TB) string {
	t.Helper()
	var problem struct {
		Type, Title, Detail, Reason string
		Status                      int
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	if problem.Type != "about:blank" || problem.Status != a.StatusCode || problem.Detail == "" || problem.Title != http.StatusText(a.StatusCode) ||
		a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v, %+v", a.Header, problem)
	}
	return problem.Reason
}

// mustBe checks the status and, of a refusal, the reason.
func (a answer) mustBe(t testing.TB, status int, reason string) {
	t.Helper()
	switch {
	case a.StatusCode != status:
		t.Errorf("status %d, want %d: %s", a.StatusCode, status, a.body)
	case reason != "":
		if got := a.reason(t); got != reason {
			t.Errorf("reason %q, want %q", got, reason)
		}
	}
}

// who is a handler that answers with the subject, the type of the session, and the header that it got.
var who = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	subject := "nobody"
	if ac, ok := authcontext.FromContext(r.Context()); ok {
		subject = ac.Subject
	}
	_, session := authcontext.SessionFromContext[*authtest.Session](r.Context())
	_ = json.NewEncoder(w).Encode(seen{subject, session, r.Header, r.Pattern})
})

type seen struct {
	Subject string
	Session bool
	Header  http.Header
	Pattern string
}

// seen returns what who saw.
func (a answer) seen(t testing.TB) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatalf("%d, %q: %v", a.StatusCode, a.body, err)
	}
	return s
}

// receive returns what comes from a channel.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
