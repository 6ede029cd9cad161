package betterauth_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
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

func serve(t *testing.T, answer http.HandlerFunc) *standin.Server {
	t.Helper()
	s := standin.Serve(answer)
	t.Cleanup(s.Close)
	return s
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

var says, invalid, unavailable = standin.Says, standin.Invalid, standin.Unknown

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
	type row struct {
		answer http.HandlerFunc
		want   standin.Outcome
	}
	tests := map[string]row{
		"a good session is let in":              {says(200, good()), standin.Outcome{}},
		"null: signed out, revoked, unknown":    {says(200, `null`), invalid},
		"a session that expired long ago":       {says(200, ago(time.Hour)), invalid},
		"an expiresAt just past, by our clock":  {says(200, expires(-200*time.Millisecond)), invalid},
		"an expiresAt just ahead is still good": {says(200, expires(5*time.Second)), standin.Outcome{}},
		"a banned user":                         {says(200, good(`"banned":false`, `"banned":true`)), invalid},
		"a ban that is not over":                {says(200, good(`"banned":false,"banExpires":null`, `"banned":true,"banExpires":"2999-01-01T00:00:00.000Z"`)), invalid},
		"a ban that is over":                    {says(200, good(`"banned":false,"banExpires":null`, `"banned":true,"banExpires":"2020-01-01T00:00:00.000Z"`)), standin.Outcome{}},
		"a session of another user":             {says(200, good(`"userId":"u1"`, `"userId":"u2"`)), unavailable},
		"no user id":                            {says(200, good(`"u1"`, `""`)), unavailable},
		"no user":                               {says(200, `{"session":{"id":"s1","userId":"u1","expiresAt":"2999-01-01T00:00:00Z"},"user":null}`), unavailable},
		"no expiry":                             {says(200, `{"session":{"id":"s1","userId":"u1"},"user":{"id":"u1"}}`), unavailable},
		"an empty object":                       {says(200, `{}`), unavailable},
		"an empty body":                         {says(200, ``), unavailable},
		"half a JSON":                           {says(200, good()[:100]), unavailable},
		"a JSON and more":                       {says(200, good()+"x"), unavailable},
		"an error in JSON with status 200":      {says(200, `{"error":"no session"}`), unavailable},
		"HTML of a page":                        {says(200, "<!doctype html>", "Content-Type", "text/html"), unavailable},
		"null that is not JSON":                 {says(200, "null", "Content-Type", "text/html"), unavailable},
		"204":                                   {says(204, ""), unavailable},
		"401, which better-auth never says":     {says(401, `null`), unavailable},
		"401 as after a refresh, without one":   {says(401, `{"code":"FAILED_TO_GET_SESSION"}`), unavailable},
		"a role that is a number":               {says(200, good(`"admin, editor"`, `7`)), unavailable},
		"roles that are a list":                 {says(200, good(`"admin, editor"`, `["admin"]`)), standin.Outcome{}},
		"no role":                               {says(200, good(`"admin, editor"`, `null`)), standin.Outcome{}},
		"403":                                   {says(403, `null`), unavailable},
		"a failed database":                     {says(500, ""), unavailable},
		"503 with a delay":                      {says(503, "", "Retry-After", "7"), unavailable.After(7 * time.Second)},
		"429 with better-auth's delay":          {says(429, `{}`, "X-Retry-After", "9"), unavailable.After(9 * time.Second)},
		"429 with a delay of a year":            {says(429, `{}`, "X-Retry-After", "31536000"), unavailable.After(time.Hour)},
		"a redirect to a login page":            {says(302, "", "Location", "/login"), unavailable},
	}
	for name, fault := range standin.Faults(good()) {
		tests[name] = row{fault, unavailable}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.answer)
			v := newVerifier(t, s.URL, betterauth.WithTimeout(500*time.Millisecond))
			for how, header := range map[string]http.Header{
				"cookie": byCookie(cookie, sign(secret, token)), "bearer": byBearer(token),
			} {
				ac, err := standin.Authenticate(t.Context(), newAuth(t, v), header)
				if got := standin.OutcomeOf(err); got != test.want || (ac == nil) != (err != nil) {
					t.Errorf("%s: got %v, %+v, want %+v", how, ac, got, test.want)
				}
			}
			_, err := v.Verify(t.Context(), token, byBearer(token))
			for _, secret := range []string{token, "disableCookieCache", "ada@example.com"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows what was sent or received: %v", err)
				}
			}
			for _, r := range s.Asked() {
				if r.URL.Path != "/api/auth/get-session" {
					t.Errorf("asked for %s", r.URL.Path)
				}
			}
		})
	}
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	_, err := newAuth(t, newVerifier(t, s.URL)).Authenticate(t.Context(), byBearer(token))
	if got := standin.OutcomeOf(err); got != unavailable {
		t.Errorf("got %+v", got)
	}
}

func TestTheCallersOwnEndIsItsOwn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		standin.Hang(w, r)
	})
	_, err := newVerifier(t, s.URL).Verify(ctx, token, byBearer(token))
	if !errors.Is(err, context.Canceled) || !errors.Is(err, interceptor.ErrUnavailable) {
		t.Errorf("Verify: %v", err)
	}
	ctx, cancelSoon := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelSoon()
	_, err = newAuth(t, newVerifier(t, serve(t, standin.Hang).URL)).Authenticate(ctx, byBearer(token))
	if got := standin.OutcomeOf(err); got.Code != codes.DeadlineExceeded {
		t.Errorf("Authenticate: %+v", got)
	}
}
