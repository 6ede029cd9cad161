package betterauth_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
)

// A sign-out tells the session's token; what a caller presents is spelled in many ways.
func TestEverySpellingHasTheNameOfTheSession(t *testing.T) {
	v := newVerifier(t, "http://127.0.0.1:1", betterauth.WithStateless())
	signed := sign(secret, token)
	plain := strings.NewReplacer("%2B", "+", "%2F", "/", "%3D", "=").Replace(signed)
	names := func(token string) (all []string) {
		for _, e := range v.Extractors() {
			n, ok := e.(authmd.Namer)
			if !ok {
				t.Fatalf("%T names nothing", e)
			}
			all = n.AppendNames(all, token)
		}
		return all
	}
	for what, header := range map[string]http.Header{
		"a cookie":                  byCookie(cookie, signed),
		"a cookie, not encoded":     byCookie(cookie, plain),
		"a dot that is encoded":     byCookie(cookie, strings.Replace(signed, ".", "%2E", 1)),
		"a quoted cookie":           byCookie(cookie, `"`+signed+`"`),
		"a space before the value":  byCookie(cookie, " "+signed),
		"a __Secure- cookie":        byCookie("__Secure-"+cookie, signed),
		"a bearer token":            byBearer(token),
		"a bearer token, signed":    byBearer(plain),
		"a bearer token, as handed": byBearer(signed),
	} {
		for _, e := range v.Extractors() {
			if found, ok := e.Extract(header); ok {
				if got := names(found); !slices.Equal(got, []string{token, token}) {
					t.Errorf("%s: %q", what, got)
				}
			}
		}
	}
	// The argument of Forget: what a sign-out hook has in hand.
	for _, argument := range []string{token, signed, plain, `"` + signed + `"`, " " + signed} {
		if got := names(argument); !slices.Equal(got, []string{token, token}) {
			t.Errorf("%q: %q", argument, got)
		}
	}
}

func TestStatelessSessionsAreInTheDataCookie(t *testing.T) {
	signed := sign(secret, token)
	const data = "better-auth.session_data"
	for what, test := range map[string]struct{ line, want string }{
		"one cookie":                 {"a=1; " + data + "=d; " + cookie + "=" + signed, cookie + "=" + signed + "; " + data + "=d"},
		"chunks":                     {cookie + "=" + signed + "; " + data + ".0=d; " + data + ".1=e", cookie + "=" + signed + "; " + data + ".0=d; " + data + ".1=e"},
		"not what is no chunk":       {cookie + "=" + signed + "; " + data + ".x=d; " + data + "x=e; " + data + ".=f", cookie + "=" + signed},
		"that of the secure token":   {data + "=d; __Secure-" + data + "=e; __Secure-" + cookie + "=" + signed, "__Secure-" + cookie + "=" + signed + "; __Secure-" + data + "=e"},
		"not that of another prefix": {"__Secure-" + data + "=e; " + cookie + "=" + signed, cookie + "=" + signed},
		"none":                       {cookie + "=" + signed, cookie + "=" + signed},
	} {
		s := serve(t, says(200, good()))
		v := newVerifier(t, s.URL, betterauth.WithStateless(), betterauth.WithSecret(secret))
		if _, err := newAuth(t, v, interceptor.WithKeyHeaders()).Authenticate(t.Context(), http.Header{"Cookie": {test.line}}); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := s.Asked()[0]; got.Header.Get("Cookie") != test.want || got.URL.RawQuery != "disableRefresh=true" {
			t.Errorf("%s: sent %q with %q, want %q", what, got.Header.Get("Cookie"), got.URL.RawQuery, test.want)
		}
	}
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL, betterauth.WithStateless())
	for what, line := range map[string]string{"data without a token": data + "=d", "data that cannot be sent": cookie + "=" + signed + "; " + data + "=a b"} {
		if _, err := newAuth(t, v, interceptor.WithKeyHeaders()).Authenticate(t.Context(), http.Header{"Cookie": {line}}); err == nil || len(s.Asked()) > 0 {
			t.Errorf("%s: %v, asked %d times", what, err, len(s.Asked()))
		}
	}
}

func TestCookiesHaveTheNamesThatTheyWereGiven(t *testing.T) {
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL, betterauth.WithStateless(), betterauth.WithCookiePrefix("shop"),
		betterauth.WithCookieNames(betterauth.CookieNames{SessionToken: "sid"}))
	if _, err := newAuth(t, v).Authenticate(t.Context(), http.Header{"Cookie": {"__Secure-sid=a; __Secure-shop.session_data=b"}}); err != nil {
		t.Fatal(err)
	}
	if got := s.Asked()[0].Header.Get("Cookie"); got != "__Secure-sid=a; __Secure-shop.session_data=b" {
		t.Errorf("sent %q", got)
	}
	if got := standin.OutcomeOf(func() error {
		_, err := newAuth(t, v).Authenticate(t.Context(), byCookie("shop.session_token", "a"))
		return err
	}()); got.Reason != string(reason.MissingCredentials) {
		t.Errorf("by the name that the prefix makes: %+v", got)
	}
}

// better-auth with session.deferSessionRefresh says on a GET that a session is due, and
// extends it on a POST.
func TestADeferredRefreshIsPosted(t *testing.T) {
	due := strings.TrimSuffix(good(), "}") + `,"needsRefresh":true}`
	const lost = `{"message":"Failed to get session","code":"FAILED_TO_GET_SESSION"}`
	extended := good("Ada", "Ada, extended")
	for what, test := range map[string]struct {
		opts    []betterauth.Option
		get     http.HandlerFunc
		post    http.HandlerFunc
		want    string
		outcome standin.Outcome
		cookie  string
	}{
		"extended":                      {[]betterauth.Option{betterauth.WithRefresh()}, says(200, due), says(200, extended, "Set-Cookie", cookie+"=new"), "Ada, extended", standin.Outcome{}, cookie + "=new"},
		"not wanted":                    {nil, says(200, due), nil, "Ada", standin.Outcome{}, ""},
		"not due":                       {[]betterauth.Option{betterauth.WithRefresh()}, says(200, good()), nil, "Ada", standin.Outcome{}, ""},
		"an origin that is not trusted": {[]betterauth.Option{betterauth.WithRefresh()}, says(200, due), says(403, `{"code":"INVALID_ORIGIN"}`), "Ada", standin.Outcome{}, ""},
		"a server that fails":           {[]betterauth.Option{betterauth.WithRefresh()}, says(200, due), says(500, lost), "Ada", standin.Outcome{}, ""},
		"signed out meanwhile":          {[]betterauth.Option{betterauth.WithRefresh()}, says(200, due), says(200, "null", "Set-Cookie", cookie+"=; Max-Age=0"), "", invalid, cookie + "=; Max-Age=0"},
		"deleted during the write":      {[]betterauth.Option{betterauth.WithRefresh()}, says(200, due), says(401, lost, "Set-Cookie", cookie+"=; Max-Age=0"), "", invalid, cookie + "=; Max-Age=0"},
		"deleted during a GET's write":  {[]betterauth.Option{betterauth.WithRefresh()}, says(401, lost), nil, "", invalid, ""},
		"401 of a proxy":                {[]betterauth.Option{betterauth.WithRefresh()}, says(401, `{"code":"LOGIN"}`), nil, "", unavailable, ""},
		"401 in HTML":                   {[]betterauth.Option{betterauth.WithRefresh()}, says(401, lost, "Content-Type", "text/html"), nil, "", unavailable, ""},
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				test.post(w, r)
				return
			}
			test.get(w, r)
		})
		v := newVerifier(t, s.URL, append(test.opts, betterauth.WithPublicURL("https://auth.example.com:8443"))...)
		call := &transport{}
		ctx := grpc.NewContextWithServerTransportStream(t.Context(), call)
		found, err := newAuth(t, v).Authenticate(ctx, byCookie(cookie, sign(secret, token)))
		if got := standin.OutcomeOf(err); got != test.outcome || err == nil && found.Identity.AuthContext().Name != test.want {
			t.Errorf("%s: %v, %+v", what, found.Identity, got)
		}
		if got := strings.Join(call.header["set-cookie"], "|"); got != test.cookie {
			t.Errorf("%s: handed back %q, want %q", what, got, test.cookie)
		}
		asked := s.Asked()
		if posted := len(asked) == 2; posted != (test.post != nil) {
			t.Errorf("%s: asked %d times", what, len(asked))
		}
		for i, r := range asked {
			origin := map[int]string{1: "https://auth.example.com:8443"}[i]
			if r.Host != "auth.example.com:8443" || r.Header.Get("Origin") != origin || r.Header.Get("Cookie") == "" {
				t.Errorf("%s: request %d: Host %q, Origin %q", what, i, r.Host, r.Header.Get("Origin"))
			}
		}
	}
}

func TestRolesAreATextOrAList(t *testing.T) {
	for role, want := range map[string]string{
		`"admin, editor"`: "[admin editor]", `["admin","the editor, too"," "]`: "[admin the editor, too]", `null`: "[]", `""`: "[]", `[]`: "[]",
	} {
		s := serve(t, says(200, good(`"admin, editor"`, role)))
		ac, err := standin.Authenticate(t.Context(), newAuth(t, newVerifier(t, s.URL)), byBearer(token))
		if err != nil || fmt.Sprint(ac.Roles) != want {
			t.Errorf("%s: %v, %v", role, ac, err)
		}
	}
}
