package betterauth_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secret = "better-auth-secret-0123456789abcdef"
	token  = "TsdVbIWVyJtLqZ0123456789abcdefgh"
	cookie = "better-auth.session_token"
)

// sign returns a token as better-auth signs it, in a cookie.
func sign(secret, token string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(token))
	return url.QueryEscape(token + "." + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func good(change ...string) string {
	body := fmt.Sprintf(`{"session":{"id":"s1","token":%q,"userId":"u1","createdAt":"2026-01-01T00:00:00.000Z","expiresAt":%q,
		"ipAddress":"","userAgent":"","impersonatedBy":null,"activeOrganizationId":"org1"},
		"user":{"id":"u1","name":"Ada","email":"ada@example.com","emailVerified":true,"image":null,
		"role":"admin, editor","banned":false,"banExpires":null,"plan":"pro"}}`,
		token, time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05.000Z"))
	return strings.NewReplacer(change...).Replace(body)
}

// server stands in for better-auth: it records what it is asked and gives one answer.
type server struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
}

func (s *server) asked() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func says(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

func newVerifier(t *testing.T, url string, opts ...betterauth.Option) *betterauth.Verifier {
	t.Helper()
	v, err := betterauth.New(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newAuth(t *testing.T, v *betterauth.Verifier, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	a, err := interceptor.NewSessionAuth(v.Verify, v.Map, append([]interceptor.Option{interceptor.WithExtractors(v.Extractors()...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// refusal is how a call ends.
type refusal struct {
	code    codes.Code
	message string
	reason  string
	delay   time.Duration
}

var (
	invalid     = refusal{codes.Unauthenticated, "invalid session", interceptor.ReasonInvalidSession, 0}
	unavailable = refusal{codes.Unavailable, "session verification unavailable", interceptor.ReasonVerificationUnavailable, 0}
)

func refused(err error) refusal {
	st := status.Convert(err)
	r := refusal{code: st.Code(), message: st.Message()}
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			r.reason = detail.GetReason()
		case *errdetails.RetryInfo:
			r.delay = detail.GetRetryDelay().AsDuration()
		}
	}
	return r
}

func byCookie(name, value string) http.Header { return http.Header{"Cookie": {name + "=" + value}} }

func byBearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// Each answer of better-auth, of a proxy before it, or of a network that fails ends in
// the status of the error table.
func TestEveryAnswerEndsInItsStatus(t *testing.T) {
	ago := func(d time.Duration) string {
		return good(time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04"), time.Now().Add(-d).UTC().Format("2006-01-02T15:04"))
	}
	expires := func(d time.Duration) string {
		at := time.Now().Add(d).UTC().Format("2006-01-02T15:04:05.000Z")
		return fmt.Sprintf(`{"session":{"id":"s1","userId":"u1","expiresAt":%q},"user":{"id":"u1"}}`, at)
	}
	tests := map[string]struct {
		answer http.HandlerFunc
		want   refusal
	}{
		"a good session is let in":                          {says(200, good()), refusal{}},
		"null: signed out, revoked, unknown":                {says(200, `null`), invalid},
		"a session that expired long ago":                   {says(200, ago(time.Hour)), invalid},
		"an expiresAt just past, by our clock":              {says(200, expires(-200*time.Millisecond)), invalid},
		"an expiresAt just ahead is still good":             {says(200, expires(5*time.Second)), refusal{}},
		"a banned user":                                     {says(200, good(`"banned":false`, `"banned":true`)), invalid},
		"a ban that is not over":                            {says(200, good(`"banned":false,"banExpires":null`, `"banned":true,"banExpires":"2999-01-01T00:00:00.000Z"`)), invalid},
		"a ban that is over":                                {says(200, good(`"banned":false,"banExpires":null`, `"banned":true,"banExpires":"2020-01-01T00:00:00.000Z"`)), refusal{}},
		"a session of another user":                         {says(200, good(`"userId":"u1"`, `"userId":"u2"`)), unavailable},
		"no user id":                                        {says(200, good(`"u1"`, `""`)), unavailable},
		"no user":                                           {says(200, `{"session":{"id":"s1","userId":"u1","expiresAt":"2999-01-01T00:00:00Z"},"user":null}`), unavailable},
		"no expiry":                                         {says(200, `{"session":{"id":"s1","userId":"u1"},"user":{"id":"u1"}}`), unavailable},
		"an empty object":                                   {says(200, `{}`), unavailable},
		"an empty body":                                     {says(200, ``), unavailable},
		"half a JSON":                                       {says(200, good()[:100]), unavailable},
		"a JSON and more":                                   {says(200, good()+"x"), unavailable},
		"an error in JSON with status 200":                  {says(200, `{"error":"no session"}`), unavailable},
		"HTML of a page":                                    {says(200, "<!doctype html>", "Content-Type", "text/html"), unavailable},
		"null that is not JSON":                             {says(200, "null", "Content-Type", "text/html"), unavailable},
		"204":                                               {says(204, ""), unavailable},
		"401, which better-auth never says":                 {says(401, `null`), unavailable},
		"403":                                               {says(403, `null`), unavailable},
		"the wrong path":                                    {says(404, ""), unavailable},
		"a failed database":                                 {says(500, ""), unavailable},
		"503 with a delay":                                  {says(503, "", "Retry-After", "7"), unavailable.after(7 * time.Second)},
		"429 with better-auth's delay":                      {says(429, `{}`, "X-Retry-After", "9"), unavailable.after(9 * time.Second)},
		"429 with a delay of a year":                        {says(429, `{}`, "X-Retry-After", "31536000"), unavailable.after(time.Hour)},
		"429 with junk for a delay":                         {says(429, `{}`, "X-Retry-After", "-1"), unavailable},
		"429 without a delay":                               {says(429, `{}`), unavailable},
		"a redirect to a login page":                        {says(302, "", "Location", "/login"), unavailable},
		"a body of 100 MiB":                                 {endless, unavailable},
		"a server that hangs after the headers":             {hang, unavailable},
		"a connection that is reset in mid-body":            {reset, unavailable},
		"a connection that is closed in mid-body":           {closeEarly, unavailable},
		"a connection that is closed instead of an answer":  {hangUp, unavailable},
		"something that is not HTTP, and quotes the cookie": {notHTTP, unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, test.answer)
			v := newVerifier(t, s.URL, betterauth.WithTimeout(500*time.Millisecond))
			for how, header := range map[string]http.Header{
				"cookie": byCookie(cookie, sign(secret, token)), "bearer": byBearer(token),
			} {
				ac, err := newAuth(t, v).Authenticate(t.Context(), header)
				if got := refused(err); got != test.want || (ac == nil) != (err != nil) {
					t.Errorf("%s: got %v, %+v, want %+v", how, ac, got, test.want)
				}
			}
			_, err := v.Verify(t.Context(), token, byBearer(token))
			if err != nil && strings.Contains(err.Error(), token) || err != nil && strings.Contains(err.Error(), "disableCookieCache") {
				t.Errorf("the error shows what was sent: %v", err)
			}
			for _, r := range s.asked() {
				if r.URL.Path != "/api/auth/get-session" {
					t.Errorf("asked for %s", r.URL.Path)
				}
			}
		})
	}
}

func (r refusal) after(delay time.Duration) refusal {
	r.delay = delay
	return r
}

func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range 100 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	io.WriteString(w, good())
}

func hang(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(200)
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func reset(w http.ResponseWriter, _ *http.Request) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(buffered, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(good()), good()[:50])
	buffered.Flush()
	conn.(interface{ SetLinger(sec int) error }).SetLinger(0)
	conn.Close()
}

func closeEarly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "9")
	io.WriteString(w, "null")
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func notHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(conn, r.Header.Get("Authorization")+r.Header.Get("Cookie")+"\r\n\r\n")
	conn.Close()
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := newAuth(t, newVerifier(t, s.URL)).Authenticate(t.Context(), byBearer(token))
	if got := refused(err); got != unavailable {
		t.Errorf("got %+v", got)
	}
}

func TestTheCallersOwnEndIsItsOwn(t *testing.T) {
	s := serve(t, hang)
	v := newVerifier(t, s.URL)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(s.asked()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := v.Verify(ctx, token, byBearer(token))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, interceptor.ErrUnavailable) {
		t.Errorf("Verify: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = newAuth(t, v).Authenticate(ctx, byBearer(token))
	if got := refused(err); got.code != codes.DeadlineExceeded {
		t.Errorf("Authenticate: %+v", got)
	}
}
