package forwardauth_test

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

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/forwardauth"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "eyJhbGciOi.J9.c2lnbmF0dXJl"

var (
	says, invalid, unavailable = standin.Says, standin.Invalid, standin.Unknown

	denied = standin.Outcome{Code: codes.PermissionDenied, Message: "access denied", Reason: forwardauth.ReasonAccessDenied}

	remote  = []string{"Remote-User", "ada", "Remote-Name", "Ada L", "Remote-Email", "ada@example.com", "Remote-Groups", "admin, editor,,"}
	request = []string{"X-Auth-Request-User", "ada", "X-Auth-Request-Email", "ada@example.com", "X-Auth-Request-Groups", "admin,editor"}
)

func with(header []string, more ...string) []string { return slices.Concat(header, more) }

func serve(t *testing.T, answer http.HandlerFunc) *standin.Server {
	t.Helper()
	s := standin.Serve(answer)
	t.Cleanup(s.Close)
	return s
}

// maker makes the Verifier of a preset.
type maker func(url string, opts ...forwardauth.Option) (*forwardauth.Verifier, error)

func authelia(url string, opts ...forwardauth.Option) (*forwardauth.Verifier, error) {
	return forwardauth.Authelia(url, "https://api.example.com/grpc", opts...)
}

func newVerifier(t *testing.T, preset maker, url string, opts ...forwardauth.Option) *forwardauth.Verifier {
	t.Helper()
	v, err := preset(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func newAuth(t *testing.T, v *forwardauth.Verifier, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	a, err := interceptor.NewSessionAuth(v.Verify, v.Map, append([]interceptor.Option{interceptor.WithExtractors(v.Extractors()...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func byBearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func byCookie(line string) http.Header { return http.Header{"Cookie": {line}} }

type row struct {
	answer http.HandlerFunc
	want   standin.Outcome
}

func check(t *testing.T, preset maker, path string, good []string, tests map[string]row) {
	t.Helper()
	for name, fault := range standin.Faults("") {
		tests[name] = row{func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(good); i += 2 {
				w.Header().Set(good[i], good[i+1])
			}
			fault(w, r)
		}, unavailable}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.answer)
			v := newVerifier(t, preset, s.URL, forwardauth.WithTimeout(500*time.Millisecond), forwardauth.WithCookies("sid"))
			for how, header := range map[string]http.Header{"cookie": byCookie("sid=" + token), "bearer": byBearer(token)} {
				ac, err := standin.Authenticate(t.Context(), newAuth(t, v), header)
				if got := standin.OutcomeOf(err); got != test.want || (ac == nil) != (err != nil) {
					t.Errorf("%s: got %v, %+v, want %+v", how, ac, got, test.want)
				}
				if err == nil && ac.Subject != "ada" {
					t.Errorf("%s: subject %q", how, ac.Subject)
				}
			}
			_, err := v.Verify(t.Context(), token, byBearer(token))
			for _, secret := range []string{token, "ada@example.com"} {
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows what was sent or received: %v", err)
				}
			}
			for _, r := range s.Asked() {
				if r.URL.Path != path || r.Method != http.MethodGet {
					t.Errorf("%s %s", r.Method, r.URL)
				}
			}
		})
	}
}

func TestEveryAnswerOfAnEndpointEndsInItsStatus(t *testing.T) {
	check(t, func(url string, opts ...forwardauth.Option) (*forwardauth.Verifier, error) {
		return forwardauth.New(url+"/verify", opts...)
	}, "/verify", remote, map[string]row{
		"200 and a subject":                 {says(200, "", remote...), standin.Outcome{}},
		"200 and a page beside the subject": {says(200, "<html>", with(remote, "Content-Type", "text/html")...), standin.Outcome{}},
		"401":                               {says(401, "", remote...), invalid},
		"403":                               {says(403, "", remote...), denied},
		"200 without a subject":             {says(200, "", "Remote-Email", "ada@example.com"), unavailable},
		"200 with an empty subject":         {says(200, "", "Remote-User", " "), unavailable},
		"two subjects":                      {says(200, "", with(remote, "Remote-User", "eve")...), unavailable},
		"202, which is not listed":          {says(202, "", remote...), unavailable},
		"204, which is not listed":          {says(204, "", remote...), unavailable},
		"a redirect to a login page":        {says(302, "", with(remote, "Location", "/login")...), unavailable},
		"a login page with status 200":      {says(200, "<form>", "Content-Type", "text/html"), unavailable},
		"429 with a delay":                  {says(429, "", with(remote, "Retry-After", "7")...), unavailable.After(7 * time.Second)},
	})
}

func TestEveryAnswerOfOAuth2ProxyEndsInItsStatus(t *testing.T) {
	check(t, forwardauth.OAuth2Proxy, "/oauth2/auth", request, map[string]row{
		"202 and a user":                          {says(202, "", request...), standin.Outcome{}},
		"200, which oauth2-proxy does not say":    {says(200, "", request...), unavailable},
		"202 without a user: no set-xauthrequest": {says(202, ""), unavailable},
		"202 with the fields of another proxy":    {says(202, "", remote...), unavailable},
		"401: no session, or it is over":          {says(401, "Unauthorized\n", "Content-Type", "text/plain"), invalid},
		"403: not of an allowed group":            {says(403, "Forbidden\n", "Content-Type", "text/plain"), denied},
		"a redirect to the provider":              {says(302, "", "Location", "https://idp.example.com"), unavailable},
	})
}

func TestEveryAnswerOfAutheliaEndsInItsStatus(t *testing.T) {
	check(t, authelia, "/api/authz/forward-auth", remote, map[string]row{
		"200 and a user":                        {says(200, "200 OK", remote...), standin.Outcome{}},
		"200 without a user: a bypass rule":     {says(200, "200 OK"), invalid},
		"401":                                   {says(401, "401 Unauthorized"), invalid},
		"403":                                   {says(403, "403 Forbidden"), denied},
		"302 to the portal":                     {says(302, "", "Location", "https://auth.example.com/?rd=https%3A%2F%2Fapi.example.com"), invalid},
		"303 to the portal":                     {says(303, "", "Location", "https://auth.example.com/?rd=https%3A%2F%2Fapi.example.com"), invalid},
		"302 from http to https":                {says(302, "", "Location", "https://authelia.example.com/api/authz/forward-auth"), unavailable},
		"302 to nowhere":                        {says(302, ""), unavailable},
		"301 to the portal":                     {says(301, "", "Location", "https://auth.example.com/"), unavailable},
		"200 with the fields of another proxy":  {says(200, "", request...), invalid},
		"400: Authelia did not like the target": {says(400, ""), unavailable},
	})
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
	target := "\nX-Forwarded-Host: api.example.com\nX-Forwarded-Method: GET\nX-Forwarded-Proto: https\nX-Forwarded-Uri: /grpc"
	tests := map[string]struct {
		preset maker
		header http.Header
		opts   []interceptor.Option
		want   string
	}{
		"a bearer token": {forwardauth.OAuth2Proxy, byBearer(token), nil, "Authorization: Bearer " + token},
		"not the cookie beside it": {forwardauth.OAuth2Proxy, http.Header{
			"Authorization": {"Bearer " + token}, "Cookie": {"_oauth2_proxy=x"},
		}, nil, "Authorization: Bearer " + token},
		"oauth2-proxy's cookie, and no other": {
			forwardauth.OAuth2Proxy, byCookie("a=1; _oauth2_proxy=x; _oauth2_proxy_csrf=y; _oauth2_proxy_=z; my_oauth2_proxy=0"), nil, "Cookie: _oauth2_proxy=x",
		},
		"the pieces of oauth2-proxy's cookie": {
			forwardauth.OAuth2Proxy, byCookie("a=1; _oauth2_proxy_0=x; _oauth2_proxy_1=y; b=2"), nil, "Cookie: _oauth2_proxy_0=x; _oauth2_proxy_1=y",
		},
		"the same, of a whole Cookie header": {
			forwardauth.OAuth2Proxy, byCookie("a=1; _oauth2_proxy_0=x; _oauth2_proxy_1=y; b=2"), defaults, "Cookie: _oauth2_proxy_0=x; _oauth2_proxy_1=y",
		},
		"Authelia's cookie with the target": {authelia, byCookie("a=1; authelia_session=x"), nil, "Cookie: authelia_session=x" + target},
		"not a target of the caller's, or an identity": {authelia, http.Header{
			"Cookie": {"authelia_session=x"}, "X-Forwarded-Uri": {"/public"}, "X-Forwarded-For": {"10.0.0.1"},
			"Remote-User": {"root"}, "X-Original-Url": {"https://public.example.com"},
		}, nil, "Cookie: authelia_session=x" + target},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				code, header := 200, remote
				if r.URL.Path == "/oauth2/auth" {
					code, header = 202, request
				}
				says(code, "", header...)(w, r)
			})
			ac, err := standin.Authenticate(t.Context(), newAuth(t, newVerifier(t, test.preset, s.URL), test.opts...), test.header)
			if err != nil || ac.Subject != "ada" {
				t.Fatal(ac, err)
			}
			if got := sent(s.Asked()[0]); got != test.want {
				t.Errorf("sent\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// Two requests that differ in one piece of a cookie are two credentials.
func TestEveryPieceOfACookieIsACredential(t *testing.T) {
	v := newVerifier(t, forwardauth.OAuth2Proxy, "http://127.0.0.1:1")
	source, ok := v.Extractors()[1].(authmd.Source)
	if !ok || source.Header() != "Cookie" {
		t.Fatal("the cookies are no Source")
	}
	var got []string
	for _, c := range source.AppendCredentials(nil, []string{`a=1; _oauth2_proxy_0="x";_oauth2_proxy_1=y ; _oauth2_proxy_1=z; _oauth2_proxy_x=0; _oauth2_proxy_1`}) {
		got = append(got, c.Value+" "+c.Token)
	}
	if want := []string{`_oauth2_proxy_0="x" x`, "_oauth2_proxy_1=y y", "_oauth2_proxy_1=z z"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, ok := source.Extract(byCookie("_oauth2_proxy_0=; _oauth2_proxy_1=y")); got != "y" || !ok {
		t.Errorf("got %q", got)
	}
	if _, ok := source.Extract(byCookie("a=1")); ok {
		t.Error("found another's cookie")
	}
}

func FuzzCookies(f *testing.F) {
	v, err := forwardauth.OAuth2Proxy("http://127.0.0.1:1")
	if err != nil {
		f.Fatal(err)
	}
	source := v.Extractors()[1].(authmd.Source)
	f.Add("_oauth2_proxy_0=x; a=b")
	f.Add(`_oauth2_proxy="`)
	f.Fuzz(func(t *testing.T, line string) {
		for _, c := range source.AppendCredentials(nil, []string{line}) {
			name, _, ok := strings.Cut(c.Value, "=")
			if !ok || strings.Contains(c.Value, ";") || !strings.HasPrefix(name, "_oauth2_proxy") || !strings.Contains(c.Value, c.Token) {
				t.Errorf("%q yields %q", line, c.Value)
			}
		}
	})
}

func TestRequestsWithoutASessionCookieAreNotSentOn(t *testing.T) {
	s := serve(t, says(202, "", request...))
	v := newVerifier(t, forwardauth.OAuth2Proxy, s.URL)
	for name, line := range map[string]string{
		"other cookies": "a=1", "an empty one": "_oauth2_proxy=", "a piece with a tab": "_oauth2_proxy_0=x; _oauth2_proxy_1=a\tb",
	} {
		if _, err := v.Verify(t.Context(), line, byCookie(line)); !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newVerifier(t, forwardauth.New, s.URL).Verify(t.Context(), "sid=x", byCookie("sid=x")); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("where no cookie is a credential: %v", err)
	}
	if n := len(s.Asked()); n != 0 {
		t.Errorf("the endpoint was asked %d times", n)
	}
}

func TestMap(t *testing.T) {
	s := serve(t, says(204, "", "X-Id", " u1 ", "X-Mail", "a@b", "X-Roles", "a", "X-Roles", "b, c"))
	v := newVerifier(t, forwardauth.New, s.URL, forwardauth.WithGoodStatus(200, 204), nil,
		forwardauth.WithHeaders(forwardauth.Headers{Subject: "x-id", Email: "X-Mail", Roles: "x-roles"}), forwardauth.WithHTTPClient(s.Client()))
	session, err := v.Verify(t.Context(), token, byBearer(token))
	if err != nil {
		t.Fatal(err)
	}
	ac, err := v.Map(t.Context(), session)
	if err != nil || ac.Subject != "u1" || ac.Name != "" || !slices.Equal(ac.Roles, []string{"a", "b", "c"}) || ac.Claims["email"] != "a@b" || !ac.ExpiresAt.IsZero() {
		t.Errorf("%+v, %v", ac, err)
	}
	if _, err := v.Map(t.Context(), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("no session: %v", err)
	}
	if printed := fmt.Sprintf("%v %+v %#v", session, *session, session); strings.Contains(printed, "a@b") {
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

func TestARefreshedCookieReachesTheClient(t *testing.T) {
	s := serve(t, says(202, "", with(request, "Set-Cookie", "_oauth2_proxy_0=new", "Set-Cookie", "_oauth2_proxy_1=new", "Set-Cookie", "_oauth2_proxy_csrf=x")...))
	call := &transport{}
	a := newAuth(t, newVerifier(t, forwardauth.OAuth2Proxy, s.URL))
	if _, err := a.Authenticate(grpc.NewContextWithServerTransportStream(t.Context(), call), byCookie("_oauth2_proxy_0=x")); err != nil {
		t.Fatal(err)
	}
	if want := []string{"_oauth2_proxy_0=new", "_oauth2_proxy_1=new"}; !slices.Equal(call.header["set-cookie"], want) || len(call.header) != 1 {
		t.Errorf("handed back %v", call.header)
	}
}

func TestBadOptionsFailInTheConstructor(t *testing.T) {
	const base = "http://auth.internal"
	tests := map[string]struct {
		build func() (*forwardauth.Verifier, error)
		want  string
	}{
		"a relative URL": {func() (*forwardauth.Verifier, error) { return forwardauth.New("/verify") }, "forwardauth: the URL must be absolute"},
		"no subject": {func() (*forwardauth.Verifier, error) {
			return forwardauth.New(base, forwardauth.WithHeaders(forwardauth.Headers{}))
		}, "forwardauth: WithHeaders needs"},
		"a bad header name": {func() (*forwardauth.Verifier, error) {
			return forwardauth.New(base, forwardauth.WithHeaders(forwardauth.Headers{Subject: "a b"}))
		}, "forwardauth: WithHeaders"},
		"a bad cookie name": {func() (*forwardauth.Verifier, error) { return forwardauth.New(base, forwardauth.WithCookies("a b")) }, "forwardauth: WithCookies"},
		"no cookie name":    {func() (*forwardauth.Verifier, error) { return forwardauth.New(base, forwardauth.WithCookies()) }, "forwardauth: WithCookies needs"},
		"401 for good": {func() (*forwardauth.Verifier, error) {
			return forwardauth.New(base, forwardauth.WithGoodStatus(200, 401))
		}, "forwardauth: WithGoodStatus"},
		"nothing for good": {func() (*forwardauth.Verifier, error) { return forwardauth.New(base, forwardauth.WithGoodStatus()) }, "forwardauth: WithGoodStatus"},
		"no timeout": {func() (*forwardauth.Verifier, error) {
			return forwardauth.OAuth2Proxy(base, forwardauth.WithTimeout(0))
		}, "forwardauth: WithTimeout"},
		"a target over http":    {func() (*forwardauth.Verifier, error) { return forwardauth.Authelia(base, "http://api.example.com") }, "forwardauth: target: Authelia answers for https"},
		"a target that is none": {func() (*forwardauth.Verifier, error) { return forwardauth.Authelia(base, "api") }, "forwardauth: target: the URL must be absolute"},
	}
	for name, test := range tests {
		if v, err := test.build(); err == nil || v != nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
