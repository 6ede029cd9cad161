package kratos_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
	"github.com/grpc-sessionauth/sessionauth/verify/kratos"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token  = "MP2YWEMeM8MxjkGKpH4dqOQ4Q4DlSPaj"
	cookie = "ory_kratos_session"
	value  = "MTcwMDAwMDAwMHxEdi1CQkFF_cnlwdGVk-bGVk=="
)

var says, invalid, unavailable = standin.Says, standin.Invalid, standin.Unknown

func good(change ...string) string {
	body := fmt.Sprintf(`{"id":"s1","active":true,"expires_at":%q,"authenticated_at":"2026-01-01T00:00:00Z",
		"authenticator_assurance_level":"aal1","authentication_methods":[{"method":"password","aal":"aal1"}],
		"identity":{"id":"i1","schema_id":"default","state":"active","traits":{"email":"ada@example.com","roles":["root"]},
		"metadata_public":{"roles":["admin","editor"],"acl":{"roles":"owner"},"plan":"pro","odd":[1,"a",null,""]}},"devices":[]}`,
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano))
	return strings.NewReplacer(change...).Replace(body)
}

func expiring(in time.Duration) string {
	return fmt.Sprintf(`{"id":"s1","active":true,"expires_at":%q,"identity":{"id":"i1","state":"active"}}`,
		time.Now().Add(in).UTC().Format(time.RFC3339Nano))
}

// refuses answers with an error as Kratos writes it.
func refuses(code int, id string) http.HandlerFunc {
	return says(code, fmt.Sprintf(`{"error":{"id":%q,"code":%d,"status":"x","reason":"No valid session credentials found in the request."}}`, id, code))
}

func serve(t *testing.T, answer http.HandlerFunc) *standin.Server {
	t.Helper()
	s := standin.Serve(answer)
	t.Cleanup(s.Close)
	return s
}

func newVerifier(t *testing.T, url string, opts ...kratos.Option) *kratos.Verifier {
	t.Helper()
	v, err := kratos.New(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newAuth(t *testing.T, v *kratos.Verifier, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	a, err := interceptor.NewSessionAuth(v.Verify, v.Map, append([]interceptor.Option{interceptor.WithExtractors(v.Extractors()...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func byCookie(value string) http.Header { return http.Header{"Cookie": {cookie + "=" + value}} }

func byToken(token string) http.Header { return http.Header{"X-Session-Token": {token}} }

func TestEveryAnswerEndsInItsStatus(t *testing.T) {
	type row struct {
		answer http.HandlerFunc
		want   standin.Outcome
	}
	secondFactor := standin.Outcome{Code: codes.PermissionDenied, Message: "second factor required", Reason: kratos.ReasonSecondFactorRequired}
	tests := map[string]row{
		"a good session is let in":                    {says(200, good()), standin.Outcome{}},
		"signed out, revoked, unknown: 401":           {refuses(401, ""), invalid},
		"401 with an id":                              {refuses(401, "session_inactive"), invalid},
		"401 of a proxy":                              {says(401, "<h1>401</h1>", "Content-Type", "text/html"), unavailable},
		"401 with the JSON of somebody else":          {says(401, `{"message":"no api key"}`), unavailable},
		"401 with an empty body":                      {says(401, ""), unavailable},
		"a second factor is required":                 {refuses(403, "session_aal2_required"), secondFactor},
		"403 for another reason":                      {refuses(403, "security_csrf_violation"), unavailable},
		"403 of a proxy":                              {says(403, "<h1>403</h1>", "Content-Type", "text/html"), unavailable},
		"403 of a proxy that knows the word":          {says(403, `{"error":{"id":"session_aal2_required"}}`), unavailable},
		"a session that is not active":                {says(200, good(`"active":true`, `"active":false`)), invalid},
		"a session that does not say if it is active": {says(200, good(`"active":true,`, ``)), unavailable},
		"an identity that was blocked":                {says(200, good(`"state":"active"`, `"state":"inactive"`)), invalid},
		"an identity in a state yet unheard of":       {says(200, good(`"state":"active"`, `"state":"frozen"`)), unavailable},
		"an identity without a state":                 {says(200, good(`"state":"active",`, ``)), unavailable},
		"expired long ago":                            {says(200, expiring(-time.Hour)), invalid},
		"expired just now, by our clock":              {says(200, expiring(-200*time.Millisecond)), invalid},
		"expires soon":                                {says(200, expiring(5*time.Second)), standin.Outcome{}},
		"no expiry":                                   {says(200, good(`"expires_at"`, `"x"`)), unavailable},
		"no identity":                                 {says(200, good(`"identity"`, `"x"`)), unavailable},
		"an identity without an id":                   {says(200, good(`"i1"`, `""`)), unavailable},
		"no session id":                               {says(200, good(`"s1"`, `""`)), unavailable},
		"null":                                        {says(200, `null`), unavailable},
		"an empty object":                             {says(200, `{}`), unavailable},
		"an empty body":                               {says(200, ``), unavailable},
		"half a JSON":                                 {says(200, good()[:100]), unavailable},
		"a good session and more":                     {says(200, good()+good()), unavailable},
		"HTML":                                        {says(200, "<!doctype html>", "Content-Type", "text/html"), unavailable},
		"a good session that calls itself HTML":       {says(200, good(), "Content-Type", "text/html"), unavailable},
		"an error in JSON with status 200":            {says(200, `{"error":{"code":401}}`), unavailable},
		"201":                                         {says(201, good()), unavailable},
		"204":                                         {says(204, ""), unavailable},
		"a redirect to a login page":                  {says(302, "", "Location", "/self-service/login/browser"), unavailable},
		"422, a flow for browsers":                    {refuses(422, "browser_location_change_required"), unavailable},
		"429 with a delay":                            {says(429, "", "Retry-After", "7"), unavailable.After(7 * time.Second)},
		"503 with a date, which is more than an hour away": {says(503, "", "Retry-After", "Fri, 31 Dec 2999 23:59:59 GMT"), unavailable.After(time.Hour)},
	}
	for name, fault := range standin.Faults(good()) {
		tests[name] = row{fault, unavailable}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.answer)
			v := newVerifier(t, s.URL, kratos.WithTimeout(500*time.Millisecond))
			for how, header := range map[string]http.Header{"cookie": byCookie(value), "token": byToken(token)} {
				ac, err := standin.Authenticate(t.Context(), newAuth(t, v), header)
				if got := standin.OutcomeOf(err); got != test.want || (ac == nil) != (err != nil) {
					t.Errorf("%s: got %v, %+v, want %+v", how, ac, got, test.want)
				}
			}
			_, err := v.Verify(t.Context(), token, byToken(token))
			for _, secret := range []string{token, "ada@example.com"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows what was sent or received: %v", err)
				}
			}
			for _, r := range s.Asked() {
				if r.URL.String() != "/sessions/whoami" || r.Method != http.MethodGet {
					t.Errorf("%s %s", r.Method, r.URL)
				}
			}
		})
	}
}

func sent(r *http.Request) string {
	header := r.Header.Clone()
	for _, name := range []string{"Accept", "Accept-Encoding", "User-Agent"} {
		header.Del(name)
	}
	var lines []string
	for name, values := range header {
		lines = append(lines, name+": "+strings.Join(values, " | "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestOnlyTheChosenCredentialIsSentOn(t *testing.T) {
	defaults := []interceptor.Option{interceptor.WithExtractors(authmd.Bearer(), authmd.CookieHeader())}
	tests := map[string]struct {
		header http.Header
		opts   []interceptor.Option
		want   string
	}{
		"a session token":                     {byToken(token), nil, "X-Session-Token: " + token},
		"a bearer token, as a session token":  {http.Header{"Authorization": {"Bearer " + token}}, nil, "X-Session-Token: " + token},
		"a cookie, as it came":                {byCookie(value), nil, "Cookie: " + cookie + "=" + value},
		"a __Host- cookie under its name":     {http.Header{"Cookie": {"__Host-" + cookie + "=" + value}}, nil, "Cookie: __Host-" + cookie + "=" + value},
		"none of the other cookies":           {http.Header{"Cookie": {"csrf_token_1=x; " + cookie + "=" + value + "; bank=2"}}, nil, "Cookie: " + cookie + "=" + value},
		"not the cookie beside a token":       {http.Header{"X-Session-Token": {token}, "Cookie": {cookie + "=" + value}}, nil, "X-Session-Token: " + token},
		"not the cookie beside a bearer":      {http.Header{"Authorization": {"Bearer " + token}, "Cookie": {cookie + "=" + value}}, defaults, "X-Session-Token: " + token},
		"the session cookie of a whole line":  {http.Header{"Cookie": {"ads=1; " + cookie + "=" + value}}, defaults, "Cookie: " + cookie + "=" + value},
		"no X-Session-Cookie, no other field": {http.Header{"X-Session-Token": {token}, "X-Session-Cookie": {"x"}, "X-Forwarded-For": {"1.2.3.4"}}, nil, "X-Session-Token: " + token},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, says(200, good()))
			if _, err := newAuth(t, newVerifier(t, s.URL), test.opts...).Authenticate(t.Context(), test.header); err != nil {
				t.Fatal(err)
			}
			if got := sent(s.Asked()[0]); got != test.want {
				t.Errorf("sent\n%s\nwant\n%s", got, test.want)
			}
		})
	}
	s := serve(t, says(200, good()))
	_, err := newVerifier(t, s.URL).Verify(t.Context(), "ads=1", http.Header{"Cookie": {"ads=1"}})
	if !errors.Is(err, interceptor.ErrInvalidSession) || len(s.Asked()) > 0 {
		t.Errorf("other cookies: %v", err)
	}
}

// Kratos says 401 when its database fails, and its readiness check fails then.
func TestA401IsBelievedOnlyWhenKratosIsReady(t *testing.T) {
	type row struct {
		ready http.HandlerFunc
		want  standin.Outcome
	}
	tests := map[string]row{
		"ready":                       {says(200, `{"status":"ok"}`), invalid},
		"the database is gone":        {says(503, `{"errors":{"database":"down"}}`), unavailable},
		"the URL of the check is bad": {says(404, ``), unavailable},
	}
	for name, fault := range standin.Faults(`{"status":"ok"}`) {
		tests[name] = row{fault, unavailable}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready, s := serve(t, test.ready), serve(t, refuses(401, ""))
			v := newVerifier(t, s.URL, kratos.WithReadyURL(ready.URL+"/health/ready"), kratos.WithTimeout(500*time.Millisecond))
			_, err := newAuth(t, v).Authenticate(t.Context(), byToken(token))
			if got := standin.OutcomeOf(err); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if r := ready.Asked()[0]; r.URL.Path != "/health/ready" || sent(r) != "" {
				t.Errorf("asked %s with %s", r.URL, sent(r))
			}
		})
	}
	ready, s := serve(t, says(200, ``)), serve(t, says(200, good()))
	if _, err := newVerifier(t, s.URL, kratos.WithReadyURL(ready.URL)).Verify(t.Context(), token, byToken(token)); err != nil || len(ready.Asked()) > 0 {
		t.Errorf("a good session: %v, asked %d times", err, len(ready.Asked()))
	}
}

func TestAnOutageKeepsSessionsAlive(t *testing.T) {
	down := false
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if down {
			refuses(401, "")(w, r)
			return
		}
		says(200, good())(w, r)
	})
	ready := serve(t, says(503, ``))
	a := newAuth(t, newVerifier(t, s.URL, kratos.WithReadyURL(ready.URL)),
		interceptor.WithCache(cache.Policy{TTL: time.Nanosecond, StaleIfError: time.Hour}))
	for range 2 {
		if ac, err := standin.Authenticate(t.Context(), a, byToken(token)); err != nil || ac.Subject != "i1" {
			t.Fatalf("%v, %v", ac, err)
		}
		down = true
	}
}

func TestMap(t *testing.T) {
	s := serve(t, says(200, good()))
	for path, want := range map[string][]string{
		"roles": {"admin", "editor"}, "acl.roles": {"owner"}, "odd": {"a"},
		"none": nil, "plan.roles": nil, "acl": nil, "acl.roles.more": nil,
	} {
		v := newVerifier(t, s.URL, kratos.WithRoles(path))
		session, err := v.Verify(t.Context(), token, byToken(token))
		if err != nil {
			t.Fatal(err)
		}
		ac, err := v.Map(t.Context(), session)
		if err != nil || !slices.Equal(ac.Roles, want) {
			t.Errorf("%s: %v, %v, want %v", path, ac, err, want)
		}
	}
	v := newVerifier(t, s.URL)
	session, err := v.Verify(t.Context(), token, byToken(token))
	if err != nil {
		t.Fatal(err)
	}
	ac, err := v.Map(t.Context(), session)
	if err != nil || ac.Subject != "i1" || ac.SessionID != session.ID || ac.SessionID == "" || ac.Name != "" || ac.Roles != nil || !ac.ExpiresAt.Equal(session.ExpiresAt) {
		t.Errorf("%+v, %v", ac, err)
	}
	if got := fmt.Sprint(ac.Claims); strings.Contains(got, "ada@") || !strings.Contains(got, "plan:pro") || !strings.Contains(got, "authenticator_assurance_level:aal1") {
		t.Errorf("claims %s", got)
	}
	if session.Identity.Traits["email"] != "ada@example.com" {
		t.Errorf("traits %v", session.Identity.Traits)
	}
	if _, err := v.Map(t.Context(), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("no session: %v", err)
	}
	if printed := fmt.Sprintf("%v %+v %#v", session, *session, session.Identity); strings.Contains(printed, "ada@") {
		t.Error(printed)
	}
}

// transport is a gRPC call, as far as its response headers go.
type transport struct{ header grpcmd.MD }

func (*transport) Method() string { return "/pkg.Service/Method" }

func (s *transport) SetHeader(md grpcmd.MD) error {
	s.header = grpcmd.Join(s.header, md)
	return nil
}
func (*transport) SendHeader(grpcmd.MD) error { return nil }
func (*transport) SetTrailer(grpcmd.MD) error { return nil }

func TestAReissuedCookieReachesTheClient(t *testing.T) {
	mine := cookie + "=new; Path=/; HttpOnly"
	s := serve(t, says(200, good(), "Set-Cookie", "csrf_token_1=x", "Set-Cookie", mine))
	for want, header := range map[string]http.Header{"[" + mine + "]": byCookie(value), "[]": byToken(token)} {
		call := &transport{}
		if _, err := newAuth(t, newVerifier(t, s.URL)).Authenticate(grpc.NewContextWithServerTransportStream(t.Context(), call), header); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(call.header["set-cookie"]); got != want || len(call.header) > 1 {
			t.Errorf("handed back %v, want %s", call.header, want)
		}
	}
}

func TestOptions(t *testing.T) {
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL+"/kratos/", kratos.WithCookieName("ory_session_shop"), kratos.WithHTTPClient(s.Client()), nil)
	if _, err := newAuth(t, v).Authenticate(t.Context(), http.Header{"Cookie": {"ory_session_shop=x"}}); err != nil || s.Asked()[0].URL.Path != "/kratos/sessions/whoami" {
		t.Errorf("%v, %v", err, s.Asked())
	}
	const base = "http://kratos:4433"
	tests := map[string]struct {
		url  string
		opt  kratos.Option
		want string
	}{
		"a relative URL":       {"kratos:4433", nil, "kratos: the URL must be absolute"},
		"a URL with a query":   {base + "?a", nil, "kratos: the URL must not have a query"},
		"a bad cookie name":    {base, kratos.WithCookieName("a b"), "kratos: WithCookieName"},
		"no cookie name":       {base, kratos.WithCookieName(""), "kratos: WithCookieName"},
		"no path of roles":     {base, kratos.WithRoles(""), "kratos: WithRoles"},
		"an empty step":        {base, kratos.WithRoles("a..b"), "kratos: WithRoles"},
		"a relative ready URL": {base, kratos.WithReadyURL("/health/ready"), "kratos: WithReadyURL: the URL must be absolute"},
		"no timeout":           {base, kratos.WithTimeout(-time.Second), "kratos: WithTimeout"},
	}
	for name, test := range tests {
		if v, err := kratos.New(test.url, test.opt); err == nil || v != nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
