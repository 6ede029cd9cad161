package betterauth_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
)

// sent is everything that a request said, but for what net/http adds to any.
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
	signed, other := sign(secret, token), sign(secret, "another")
	cookieFirst := []interceptor.Option{interceptor.WithExtractors(authmd.Cookie(cookie), authmd.Bearer())}
	defaults := []interceptor.Option{interceptor.WithExtractors(authmd.Bearer(), authmd.CookieHeader())}
	named := authmd.ExtractorFunc(func(h http.Header) (string, bool) { return strings.CutPrefix(h.Get("X-Legacy"), "v1:") })
	tests := map[string]struct {
		header http.Header
		opts   []interceptor.Option
		want   string
	}{
		"a bearer token":       {http.Header{"Authorization": {"bearer " + token}}, nil, "Authorization: Bearer " + token},
		"a cookie, as it came": {byCookie(cookie, signed), nil, "Cookie: " + cookie + "=" + signed},
		"a __Secure- cookie under its name": {
			byCookie("__Secure-"+cookie, signed), nil, "Cookie: __Secure-" + cookie + "=" + signed,
		},
		"the __Secure- cookie where there are both": {
			http.Header{"Cookie": {cookie + "=" + other + "; __Secure-" + cookie + "=" + signed}}, nil,
			"Cookie: __Secure-" + cookie + "=" + signed,
		},
		"none of the other cookies": {
			http.Header{"Cookie": {"ads=1; " + cookie + "=" + signed + "; better-auth.session_data=x; .1=y; =z; bank=2"}}, nil,
			"Cookie: " + cookie + "=" + signed,
		},
		"one of two cookies of one name": {
			http.Header{"Cookie": {cookie + "=" + signed + "; " + cookie + "=" + other}}, nil, "Cookie: " + cookie + "=" + signed,
		},
		"no other header": {http.Header{
			"Authorization": {"Bearer " + token}, "X-Forwarded-For": {"203.0.113.9"}, "X-Tenant": {"a"}, "Origin": {"https://a"},
			"User-Agent": {"curl"},
		}, nil, "Authorization: Bearer " + token},
		"not the cookie beside a bearer token": {
			http.Header{"Authorization": {"Bearer " + token}, "Cookie": {cookie + "=" + other}}, nil, "Authorization: Bearer " + token,
		},
		"not the bearer token beside a cookie that comes first": {
			http.Header{"Authorization": {"Bearer " + token}, "Cookie": {cookie + "=" + other}}, cookieFirst, "Cookie: " + cookie + "=" + other,
		},
		"the session cookie of a whole Cookie header": {
			http.Header{"Cookie": {"ads=1; " + cookie + "=" + signed + "; bank=2"}}, defaults, "Cookie: " + cookie + "=" + signed,
		},
		"a bearer token, with the default extractors": {
			http.Header{"Authorization": {"Bearer " + token}, "Cookie": {cookie + "=" + other}}, defaults, "Authorization: Bearer " + token,
		},
		"a token of a user's own extractor": {
			http.Header{"X-Legacy": {"v1:" + token}, "Cookie": {cookie + "=" + other}},
			[]interceptor.Option{interceptor.WithExtractors(named)}, "Authorization: Bearer " + token,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, says(200, good()))
			v := newVerifier(t, s.URL)
			for _, opts := range [][]interceptor.Option{nil, {interceptor.WithCache(cache.Policy{TTL: time.Minute}), interceptor.WithKeyHeaders()}} {
				if _, err := newAuth(t, v, append(opts, test.opts...)...).Authenticate(t.Context(), test.header); err != nil {
					t.Fatal(err)
				}
			}
			for _, r := range s.Asked() {
				if got := sent(r); got != test.want {
					t.Errorf("sent\n%s\nwant\n%s", got, test.want)
				}
				if r.Method != http.MethodGet || r.URL.RawQuery != "disableCookieCache=true&disableRefresh=true" {
					t.Errorf("%s %s", r.Method, r.URL)
				}
			}
		})
	}
}

// better-auth answers for the cookie when the bearer token is bad: one caller would be
// another.
func TestABadBearerTokenIsNotRescuedByACookie(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			says(200, good())(w, r)
			return
		}
		says(200, "null")(w, r)
	})
	header := byCookie(cookie, sign(secret, token))
	if _, err := newAuth(t, newVerifier(t, s.URL)).Authenticate(t.Context(), header); err != nil {
		t.Fatalf("by the cookie alone: %v", err)
	}
	header.Set("Authorization", "Bearer forged")
	for _, opts := range [][]interceptor.Option{nil, {interceptor.WithExtractors(authmd.Bearer(), authmd.CookieHeader())}} {
		_, err := newAuth(t, newVerifier(t, s.URL), opts...).Authenticate(t.Context(), header)
		if got := standin.OutcomeOf(err); got != invalid {
			t.Errorf("got %+v", got)
		}
	}
}

func TestRequestsWithoutASessionCookieAreNotSentOn(t *testing.T) {
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL)
	for name, test := range map[string]struct {
		token  string
		header http.Header
	}{
		"other cookies":          {"ads=1; bank=2", http.Header{"Cookie": {"ads=1; bank=2"}}},
		"an empty cookie":        {cookie + "=", byCookie(cookie, "")},
		"a cookie with a space":  {"a b", byCookie(cookie, "a b")},
		"a cookie with a tab":    {"a\tb", byCookie(cookie, "a\tb")},
		"a token with a newline": {"a\r\nX-Evil: 1", http.Header{}},
		"an empty token":         {"", http.Header{}},
	} {
		_, err := v.Verify(t.Context(), test.token, test.header)
		if !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(s.Asked()); n != 0 {
		t.Errorf("better-auth was asked %d times", n)
	}
}

func TestSignatures(t *testing.T) {
	signed := sign(secret, token)
	plain, err := url.PathUnescape(signed)
	if err != nil {
		t.Fatal(err)
	}
	// The signature of this token holds a "+", which a query would make a space.
	plus := ""
	for i := 0; plus == ""; i++ {
		if s := sign(secret, fmt.Sprint(i)); strings.Contains(s, "%2B") {
			plus = strings.ReplaceAll(s, "%2B", "+")
		}
	}
	changed := strings.Replace(plain, token[:1], "X", 1)
	tests := map[string]struct {
		header http.Header
		asked  bool
	}{
		"a signed cookie":                        {byCookie(cookie, signed), true},
		"a signed cookie, by its __Secure- name": {byCookie("__Secure-"+cookie, signed), true},
		"a signed cookie that is not encoded":    {byCookie(cookie, plain), true},
		"a plus is not a space":                  {byCookie(cookie, plus), true},
		"a cookie in double quotes":              {byCookie(cookie, `"`+signed+`"`), true},
		"a cookie by the secret before":          {byCookie(cookie, sign("old-secret", token)), true},
		"a token with a dot":                     {byCookie(cookie, sign(secret, "a.b")), true},
		"a forged cookie":                        {byCookie(cookie, sign("guess", token)), false},
		"the signature of another token":         {byCookie(cookie, url.QueryEscape(changed)), false},
		"a signature of nothing":                 {byCookie(cookie, "."+base64.StdEncoding.EncodeToString(make([]byte, 32))), false},
		"an unsigned cookie":                     {byCookie(cookie, token), false},
		"an empty signature":                     {byCookie(cookie, token+"."), false},
		"a signature cut short":                  {byCookie(cookie, url.QueryEscape(plain[:len(plain)-5])), false},
		"a signature without its padding":        {byCookie(cookie, strings.TrimSuffix(plain, "=")), false},
		"more than a signature":                  {byCookie(cookie, url.QueryEscape(plain+"A")), false},
		"a signature that is not base64":         {byCookie(cookie, token+".!!!!="), false},
		"an escape that is none":                 {byCookie(cookie, signed+"%zz"), false},
		"a whole Cookie header with a forged one": {
			http.Header{"Cookie": {"a=1; " + cookie + "=" + sign("guess", token)}}, false,
		},
		"a bearer token that is not signed":             {byBearer(token), true},
		"a signed bearer token":                         {byBearer(plain), true},
		"a signed bearer token as the plugin hands out": {byBearer(signed), true},
		"a signed bearer token without its padding":     {byBearer(strings.TrimSuffix(plain, "=")), true},
		"a forged bearer token":                         {byBearer(sign("guess", token)), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, says(200, good()))
			v := newVerifier(t, s.URL, betterauth.WithSecret(secret, "old-secret"))
			_, err := newAuth(t, v).Authenticate(t.Context(), test.header)
			want := standin.Outcome{}
			if !test.asked {
				want = invalid
			}
			if got := standin.OutcomeOf(err); got != want || (len(s.Asked()) == 1) != test.asked {
				t.Errorf("got %+v with %d questions, want %+v", got, len(s.Asked()), want)
			}
		})
	}
}

func FuzzSignature(f *testing.F) {
	v, err := betterauth.New("http://127.0.0.1:1", betterauth.WithSecret(secret))
	if err != nil {
		f.Fatal(err)
	}
	for _, value := range []string{token, "a.b", "%", ".", "..=", sign("guess", token)} {
		f.Add(value)
	}
	ctx, cancel := context.WithCancel(f.Context())
	cancel()
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "; \t\"=") || value == "" {
			t.Skip()
		}
		_, err := v.Verify(ctx, value, byCookie(cookie, value))
		if !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("%q passed for signed: %v", value, err)
		}
	})
}

func TestRedirectsAreNeverFollowed(t *testing.T) {
	elsewhere := serve(t, says(200, good()))
	for _, code := range []int{301, 302, 303, 307, 308} {
		s := serve(t, says(code, good(), "Location", elsewhere.URL))
		for how, opts := range map[string][]betterauth.Option{
			"by default":               nil,
			"with a client that would": {betterauth.WithHTTPClient(&http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()})},
		} {
			_, err := newAuth(t, newVerifier(t, s.URL, opts...)).Authenticate(t.Context(), byBearer(token))
			if got := standin.OutcomeOf(err); got != unavailable || len(elsewhere.Asked()) > 0 {
				t.Errorf("%d %s: %+v, asked elsewhere %d times", code, how, got, len(elsewhere.Asked()))
			}
		}
	}
}

func TestAClientOfTheUsersOwnIsLeftAlone(t *testing.T) {
	s := serve(t, says(200, good(), "Set-Cookie", cookie+"=stolen; Path=/"))
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	v := newVerifier(t, s.URL, betterauth.WithHTTPClient(client), betterauth.WithHTTPClient(client), nil)
	for range 2 {
		if _, err := v.Verify(t.Context(), token, byBearer(token)); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range s.Asked() {
		if got := sent(r); got != "Authorization: Bearer "+token {
			t.Errorf("sent %s", got)
		}
	}
	if client.Jar == nil || client.CheckRedirect != nil {
		t.Error("the user's client was changed")
	}
}

func TestConnectionsAreReused(t *testing.T) {
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL)
	ask := func() {
		if _, err := v.Verify(t.Context(), token, byBearer(token)); err != nil {
			t.Error(err)
		}
	}
	for range 50 {
		ask()
	}
	if n := s.Opened(); n != 1 {
		t.Errorf("50 questions in a row took %d connections", n)
	}
	const atOnce = 32
	for range 5 {
		var all sync.WaitGroup
		for range atOnce {
			all.Go(ask)
		}
		all.Wait()
	}
	if n := s.Opened(); n > 2*atOnce {
		t.Errorf("%d questions, %d at once, took %d connections", 5*atOnce, atOnce, n)
	}
}

func TestAnswersOfAHungServerDoNotPoisonTheNext(t *testing.T) {
	hung := true
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if hung {
			standin.Hang(w, r)
			return
		}
		says(200, good())(w, r)
	})
	v := newVerifier(t, s.URL, betterauth.WithTimeout(50*time.Millisecond))
	if _, err := v.Verify(t.Context(), token, byBearer(token)); !errors.Is(err, interceptor.ErrUnavailable) {
		t.Fatal(err)
	}
	hung = false
	if got, err := v.Verify(t.Context(), token, byBearer(token)); err != nil || got.UserID != "u1" {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestTraceContextIsCarried(t *testing.T) {
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer otel.SetTextMapPropagator(before)
	s := serve(t, says(200, good()))
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	a := newAuth(t, newVerifier(t, s.URL), interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if _, err := a.Authenticate(trace.ContextWithRemoteSpanContext(t.Context(), parent), byBearer(token)); err != nil {
		t.Fatal(err)
	}
	want := "00-01000000000000000000000000000000-0200000000000000-01"
	if got := s.Asked()[0].Header.Get("Traceparent"); got != want {
		t.Errorf("traceparent %q, want %q", got, want)
	}
}

// A session that was signed out lives on in better-auth's cookie cache for minutes.
func TestAFreshCookieCacheDoesNotOutliveASignOut(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := r.Cookie("better-auth.session_data")
		if err == nil || r.URL.Query().Get("disableCookieCache") != "true" {
			says(200, good())(w, r) // from the cache
			return
		}
		says(200, "null")(w, r)
	})
	line := cookie + "=" + sign(secret, token) + "; better-auth.session_data=fresh"
	_, err := newAuth(t, newVerifier(t, s.URL)).Authenticate(t.Context(), http.Header{"Cookie": {line}})
	if got := standin.OutcomeOf(err); got != invalid {
		t.Errorf("got %+v", got)
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

func TestRefreshedCookies(t *testing.T) {
	mine := cookie + "=new; Max-Age=604800; Path=/; HttpOnly; SameSite=Lax"
	answer := []string{"Set-Cookie", mine, "Set-Cookie", "better-auth.session_data=x; Path=/", "Set-Cookie", "__Secure-" + cookie + "=other", "X-Other", "y"}
	expired := cookie + "=; Max-Age=0; Path=/"
	tests := map[string]struct {
		answer http.HandlerFunc
		header http.Header
		opts   []betterauth.Option
		query  string
		want   []string
	}{
		"are not asked for by default":              {says(200, good(), answer...), byCookie(cookie, "a"), nil, "disableCookieCache=true&disableRefresh=true", nil},
		"reach the client of the call":              {says(200, good(), answer...), byCookie(cookie, "a"), []betterauth.Option{betterauth.WithRefresh()}, "disableCookieCache=true", []string{mine}},
		"reach a client whose session is gone":      {says(200, "null", "Set-Cookie", expired), byCookie(cookie, "a"), []betterauth.Option{betterauth.WithRefresh()}, "disableCookieCache=true", []string{expired}},
		"do not reach a client with a bearer token": {says(200, good(), answer...), byBearer(token), []betterauth.Option{betterauth.WithRefresh()}, "disableCookieCache=true", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, test.answer)
			call := &transport{}
			ctx := grpc.NewContextWithServerTransportStream(t.Context(), call)
			_, _ = newAuth(t, newVerifier(t, s.URL, test.opts...)).Authenticate(ctx, test.header)
			if got := call.header["set-cookie"]; !slices.Equal(got, test.want) || len(call.header) > 1 {
				t.Errorf("handed back %v, want %q", call.header, test.want)
			}
			if got := s.Asked()[0].URL.RawQuery; got != test.query {
				t.Errorf("asked with %q, want %q", got, test.query)
			}
		})
	}
}

func TestMap(t *testing.T) {
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL)
	session, err := v.Verify(t.Context(), token, byBearer(token))
	if err != nil {
		t.Fatal(err)
	}
	ac, err := v.Map(t.Context(), session)
	if err != nil {
		t.Fatal(err)
	}
	if ac.Subject != "u1" || ac.Name != "Ada" || !slices.Equal(ac.Roles, []string{"admin", "editor"}) || !ac.ExpiresAt.Equal(session.ExpiresAt) || ac.SessionID != "s1" {
		t.Errorf("got %+v", ac)
	}
	if got := fmt.Sprint(ac.Claims); got != "map[activeOrganizationId:org1 email:ada@example.com emailVerified:true]" {
		t.Errorf("claims %s", got)
	}
	if session.User.Fields["plan"] != "pro" || session.CreatedAt.IsZero() {
		t.Errorf("%#v", session.User.Fields)
	}
	impersonated := *session
	impersonated.ImpersonatedBy = "root"
	if ac, err := v.Map(t.Context(), &impersonated); err != nil || ac.Claims["impersonatedBy"] != "root" {
		t.Errorf("%v, %v", ac, err)
	}
	if _, err := v.Map(t.Context(), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("no session: %v", err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s", session, *session, session.User, v)
	for _, secret := range []string{token, "ada@example.com"} {
		if strings.Contains(printed, secret) {
			t.Errorf("%s is in %s", secret, printed)
		}
	}
	if got := fmt.Sprintf("%+v %#v", newVerifier(t, s.URL, betterauth.WithSecret(secret)), *newVerifier(t, s.URL, betterauth.WithSecret(secret))); strings.Contains(got, "secret") {
		t.Errorf("the secret shows: %s", got)
	}
}

func TestPathsAndNames(t *testing.T) {
	for base, want := range map[string]string{"": "/api/auth/get-session", "/": "/api/auth/get-session", "/proxied/": "/proxied/api/auth/get-session"} {
		s := serve(t, says(200, good()))
		if _, err := newVerifier(t, s.URL+base).Verify(t.Context(), token, byBearer(token)); err != nil || s.Asked()[0].URL.Path != want {
			t.Errorf("%q: %v, %v", base, s.Asked()[0].URL, err)
		}
	}
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL, betterauth.WithBasePath("/auth"), betterauth.WithCookiePrefix("shop"))
	a := newAuth(t, v)
	if _, err := a.Authenticate(t.Context(), byCookie("__Secure-shop.session_token", "x")); err != nil || s.Asked()[0].URL.Path != "/auth/get-session" {
		t.Errorf("%v, %v", err, s.Asked())
	}
	_, err := a.Authenticate(t.Context(), byCookie(cookie, "x"))
	if got := standin.OutcomeOf(err); got.Code != codes.Unauthenticated || got.Reason != string(reason.MissingCredentials) {
		t.Errorf("by the default name: %+v", got)
	}
}

func TestBadOptionsFailInNew(t *testing.T) {
	const base = "https://auth.example.com"
	tests := map[string]struct {
		url  string
		opt  betterauth.Option
		want string
	}{
		"no URL":                     {"", nil, "betterauth: the URL must be absolute"},
		"a relative URL":             {"auth.example.com", nil, "betterauth: the URL must be absolute"},
		"another scheme":             {"ftp://auth.example.com", nil, "betterauth: the URL must be absolute"},
		"no host":                    {"http://:80", nil, "betterauth: the URL must be absolute"},
		"a URL that is none":         {"http://a b:%zz", nil, "betterauth: the URL must be absolute"},
		"a URL with a user":          {"https://u:hunter2@auth.example.com", nil, "betterauth: the URL must not hold a user"},
		"a URL with a query":         {base + "?a=b", nil, "betterauth: the URL must not have a query"},
		"a URL with a fragment":      {base + "#a", nil, "betterauth: the URL must not have a query"},
		"a relative base path":       {base, betterauth.WithBasePath("auth"), `betterauth: WithBasePath: "auth"`},
		"a base path with a query":   {base, betterauth.WithBasePath("/auth?a"), "betterauth: WithBasePath"},
		"a base path that climbs":    {base, betterauth.WithBasePath("/../admin"), "betterauth: WithBasePath"},
		"an empty prefix":            {base, betterauth.WithCookiePrefix(""), "betterauth: WithCookiePrefix"},
		"a prefix with a space":      {base, betterauth.WithCookiePrefix("a b"), "betterauth: WithCookiePrefix"},
		"a cookie name that is none": {base, betterauth.WithCookieNames(betterauth.CookieNames{SessionData: "a b"}), "betterauth: WithCookieNames"},
		"a public URL that is none":  {base, betterauth.WithPublicURL("auth.example.com"), "betterauth: WithPublicURL: the URL must be absolute"},
		"a public URL with a path":   {base, betterauth.WithPublicURL("https://auth.example.com/auth"), "betterauth: WithPublicURL: the URL must not have a path"},
		"an address in no header":    {base, betterauth.WithClientAddress("Connection", 1), "betterauth: WithClientAddress"},
		"an address of no proxy":     {base, betterauth.WithClientAddress("X-Real-Ip", 0), "betterauth: WithClientAddress: want one proxy"},
		"no secret":                  {base, betterauth.WithSecret(), "betterauth: WithSecret needs a secret"},
		"an empty secret":            {base, betterauth.WithSecret(secret, ""), "betterauth: WithSecret: a secret is empty"},
		"no timeout":                 {base, betterauth.WithTimeout(0), "betterauth: WithTimeout"},
	}
	for name, test := range tests {
		v, err := betterauth.New(test.url, test.opt)
		if err == nil || v != nil || !strings.HasPrefix(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := betterauth.New("x", betterauth.WithTimeout(-1), betterauth.WithSecret()); strings.Count(fmt.Sprint(err), "betterauth: ") != 3 {
		t.Errorf("not every bad option is named: %v", err)
	}
}

func TestSessionReachesHandlers(t *testing.T) {
	s := serve(t, says(200, good()))
	a := newAuth(t, newVerifier(t, s.URL))
	ctx, err := a.AuthFunc(grpcmd.NewIncomingContext(t.Context(), grpcmd.Pairs("cookie", cookie+"="+sign(secret, token))))
	if err != nil {
		t.Fatal(err)
	}
	if session, ok := authcontext.SessionFromContext[*betterauth.Session](ctx); !ok || session.User.Email != "ada@example.com" {
		t.Errorf("%v, %v", session, ok)
	}
}
