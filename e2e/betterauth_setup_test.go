package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

// The ways in which people set up better-auth, each with the option that goes with it.

// all is every cookie of an account, in one line.
func (a account) all() string {
	var pairs []string
	for name, value := range a.cookies {
		pairs = append(pairs, name+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "; ")
}

func TestBetterAuthWithoutADatabase(t *testing.T) {
	t.Parallel()
	stateless := map[string]any{"database": nil, "withoutAdmin": true}
	first := newOwner(t, stateless)
	ada := first.signUp(t, "ada")
	first.kill()
	o := newOwner(t, stateless) // after a restart, all that is known is in the cookies
	if !o.direct(t, "Cookie", ada.all()) {
		t.Fatal("better-auth does not know the session either: this test shows nothing")
	}
	newBetterAuth(t, o, nil).invalid(t, "cookie", ada.all())
	c := newBetterAuth(t, o, []betterauth.Option{betterauth.WithStateless(), betterauth.WithSecret(secret)})
	if who := c.accept(t, ada.id, "cookie", "theme=dark; "+ada.all()); who.Name != "ada" {
		t.Errorf("mapped to %+v", who)
	}
	c.invalid(t, "cookie", ada.cookie())
	token := ada.cookies[cookieName]
	forged := strings.Replace(ada.all(), token, "x"+token, 1)
	c.invalid(t, "cookie", forged)
	newBetterAuth(t, o, []betterauth.Option{betterauth.WithStateless()}).invalid(t, "cookie", forged)
}

func TestBetterAuthWithCookieNamesOfItsOwn(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"advanced": map[string]any{
		"disableCSRFCheck": true, "cookiePrefix": "shop", "useSecureCookies": true,
		"cookies": map[string]any{"session_token": map[string]any{"name": "sid"}},
	}})
	ada := o.signUp(t, "ada")
	if ada.cookies["__Secure-sid"] == "" {
		t.Fatalf("the cookies are %v", ada.cookies)
	}
	newBetterAuth(t, o, []betterauth.Option{betterauth.WithCookieNames(betterauth.CookieNames{SessionToken: "sid"})}).accept(t, ada.id, "cookie", ada.all())
}

func TestBetterAuthWithAListOfRoles(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"withoutAdmin": true, "user": map[string]any{"additionalFields": map[string]any{
		"role": map[string]any{"type": "string[]", "defaultValue": []string{"admin", "editor"}, "input": false},
	}}})
	ada := o.signUp(t, "ada")
	if who := newBetterAuth(t, o, nil).accept(t, ada.id, "cookie", ada.cookie()); !slices.Equal(who.Roles, []string{"admin", "editor"}) {
		t.Errorf("the roles are %q", who.Roles)
	}
}

func TestBetterAuthForSeveralHosts(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"baseURL": map[string]any{"allowedHosts": []string{"shop.example.com"}, "protocol": "http"}})
	ada := o.signUpAt(t, "shop.example.com", "ada")
	_ = newBetterAuth(t, o, nil).unavailable(t, "cookie", ada.cookie())
	newBetterAuth(t, o, []betterauth.Option{betterauth.WithPublicURL("http://shop.example.com")}).accept(t, ada.id, "cookie", ada.cookie())
}

// Without WithPublicURL the POST comes from an origin that better-auth does not trust.
func TestBetterAuthThatDefersRefreshes(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{
		"baseURL": "http://shop.example.com", "advanced": map[string]any{}, // with its check of origins
		"session": map[string]any{"expiresIn": 7200, "updateAge": 3600, "deferSessionRefresh": true},
	})
	ada := o.signUp(t, "ada")
	left := func() time.Duration {
		return time.Until(newBetterAuth(t, o, nil).accept(t, ada.id, "cookie", ada.cookie()).ExpiresAt)
	}
	for _, test := range []struct {
		name     string
		opts     []betterauth.Option
		extended bool
	}{
		{"not by default", nil, false},
		{"not from an origin that is not trusted", []betterauth.Option{betterauth.WithRefresh()}, false},
		{"from the public one", []betterauth.Option{betterauth.WithRefresh(), betterauth.WithPublicURL("http://shop.example.com")}, true},
	} {
		o.expire(t, ada, time.Now().Add(time.Minute))
		var header grpcmd.MD
		who, err := newBetterAuth(t, o, test.opts).call(t, []string{"cookie", ada.cookie()}, grpc.Header(&header))
		if err != nil || who.Subject != ada.id {
			t.Fatalf("%s: %+v, %v", test.name, who, err)
		}
		if extended := left() > time.Hour; extended != test.extended || len(header["set-cookie"]) > 0 != test.extended || time.Until(who.ExpiresAt) > time.Hour != test.extended {
			t.Errorf("%s: it lasts for %v, and the answer said %v and %q", test.name, left(), who.ExpiresAt, header["set-cookie"])
		}
	}
}

// get-session says 401, which it says at no other time.
func TestBetterAuthSessionDeletedDuringARefresh(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"session": map[string]any{"expiresIn": 7200, "updateAge": 0}})
	ada := o.signUp(t, "ada")
	o.post(t, "/control/lose", map[string]any{"on": true})
	if a := o.request(t, http.MethodGet, "/api/auth/get-session", nil, "Cookie", ada.cookie()); a.status != http.StatusUnauthorized {
		t.Fatalf("better-auth says %d: this test shows nothing", a.status)
	}
	newBetterAuth(t, o, []betterauth.Option{betterauth.WithRefresh()}).invalid(t, "cookie", ada.cookie())
	newBetterAuth(t, o, nil).accept(t, ada.id, "cookie", ada.cookie()) // which does not write
}
