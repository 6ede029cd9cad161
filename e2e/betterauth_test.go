package e2e_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

// newBetterAuth returns a client of a server that asks o.
func newBetterAuth(t *testing.T, o *owner, opts []betterauth.Option, more ...interceptor.Option) client {
	t.Helper()
	v, err := betterauth.New(o.url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, newAuth(t, v.Verify, v.Map, append(more, interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders(v.KeyHeaders()...))...))
}

func TestBetterAuthLetsIn(t *testing.T) {
	t.Parallel()
	o := newOwner(t, nil)
	ada, ben := o.signUp(t, "ada"), o.signUp(t, "ben")
	for name, opts := range map[string][]betterauth.Option{"with the secret": {betterauth.WithSecret("an older one", secret)}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			c := newBetterAuth(t, o, opts)
			c.accept(t, ada.id, "authorization", "Bearer "+ada.bearer)
			c.accept(t, ada.id, "authorization", "Bearer "+ada.token)
			c.accept(t, ada.id, "cookie", "theme=dark; "+ada.cookie()+"; lang=en")
			who := c.accept(t, ben.id, "cookie", ben.cookie())
			if who.Name != "ben" || len(who.Roles) != 1 || who.Roles[0] != "user" || who.Claims["email"] != "ben@example.com" {
				t.Errorf("mapped to %+v", who)
			}
			if week := time.Until(who.ExpiresAt); week < 6*24*time.Hour || week > 8*24*time.Hour {
				t.Errorf("the session lasts until %v", who.ExpiresAt)
			}
			// A good bearer wins over another's cookie; a bad one is not helped by it, though
			// better-auth itself would take the cookie.
			c.accept(t, ada.id, "authorization", "Bearer "+ada.bearer, "cookie", ben.cookie())
			c.invalid(t, "authorization", "Bearer made.up", "cookie", ben.cookie())
			if !o.direct(t, "Authorization", "Bearer made.up", "Cookie", ben.cookie()) {
				t.Error("better-auth does not take the cookie: this test shows nothing")
			}
		})
	}
}

func TestBetterAuthKeepsOut(t *testing.T) {
	t.Parallel()
	o := newOwner(t, nil)
	ada := o.signUp(t, "ada")
	token, signature, _ := strings.Cut(ada.cookies[cookieName], ".")
	ben, _, _ := strings.Cut(o.signUp(t, "ben").cookies[cookieName], ".")
	for name, value := range map[string]string{
		"unsigned":                 token,
		"an empty signature":       token + ".",
		"another's token, signed":  ben + "." + signature,
		"a signature cut short":    token + "." + signature[:len(signature)/2],
		"two signatures":           token + "." + signature + "." + signature,
		"forged":                   "made-up." + signature,
		"percent-encoding, broken": token + ".%zz",
		"not percent-encoded":      token + "." + strings.NewReplacer("%2B", "+", "%2F", "/", "%3D", "=").Replace(signature) + "x",
	} {
		t.Run(name, func(t *testing.T) {
			cookie := cookieName + "=" + value
			if o.direct(t, "Cookie", cookie) {
				t.Fatal("better-auth takes it")
			}
			newBetterAuth(t, o, nil).invalid(t, "cookie", cookie)
			o.asked(t)
			newBetterAuth(t, o, []betterauth.Option{betterauth.WithSecret(secret)}).invalid(t, "cookie", cookie)
			if asked := o.asked(t); asked != 0 {
				t.Errorf("better-auth was asked %d times about what the signature tells", asked)
			}
		})
	}
}

func TestBetterAuthSessionsThatEnd(t *testing.T) {
	t.Parallel()
	// A cookie cache, to which a session that has ended is still good.
	o := newOwner(t, map[string]any{"session": map[string]any{"cookieCache": map[string]any{"enabled": true, "maxAge": 300}}})
	c := newBetterAuth(t, o, []betterauth.Option{betterauth.WithSecret(secret)})
	for name, end := range map[string]func(*testing.T, account){
		"signed out": func(t *testing.T, a account) { o.post(t, "/api/auth/sign-out", struct{}{}, "Cookie", a.cookie()) },
		"revoked": func(t *testing.T, a account) {
			o.post(t, "/api/auth/revoke-sessions", struct{}{}, "Cookie", a.cookie())
		},
		"expired": func(t *testing.T, a account) { o.expire(t, a, time.Now().Add(-time.Second)) },
		"banned": func(t *testing.T, a account) {
			o.post(t, "/control/user", map[string]any{"id": a.id, "set": map[string]any{"banned": true}})
			if !o.direct(t, "Authorization", "Bearer "+a.bearer) {
				t.Error("better-auth refuses it itself: this test shows nothing")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := o.signUp(t, strings.ReplaceAll(name, " ", "-"))
			cookies := a.cookie() + "; better-auth.session_data=" + a.cookies["better-auth.session_data"]
			c.accept(t, a.id, "cookie", cookies)
			c.accept(t, a.id, "authorization", "Bearer "+a.bearer)
			end(t, a)
			if !o.direct(t, "Cookie", cookies) {
				t.Error("the cookie cache is not fresh: this test shows less than it should")
			}
			c.invalid(t, "cookie", cookies)
			c.invalid(t, "authorization", "Bearer "+a.bearer)
		})
	}
}

func TestBetterAuthOverHTTPS(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"baseURL": "https://auth.example.com"})
	ada := o.signUp(t, "ada")
	const secure = "__Secure-" + cookieName
	if ada.cookies[secure] == "" {
		t.Fatalf("the cookies are %v", ada.cookies)
	}
	c := newBetterAuth(t, o, []betterauth.Option{betterauth.WithSecret(secret)})
	c.accept(t, ada.id, "cookie", secure+"="+ada.cookies[secure])
	c.invalid(t, "cookie", cookieName+"="+ada.cookies[secure])
}

func TestBetterAuthThatCannotBeAsked(t *testing.T) {
	t.Parallel()
	t.Run("its database is down", func(t *testing.T) {
		t.Parallel()
		o := newOwner(t, nil)
		ada, c := o.signUp(t, "ada"), newBetterAuth(t, o, nil)
		o.post(t, "/control/fail", map[string]any{"on": true})
		_ = c.unavailable(t, "cookie", ada.cookie())
		o.post(t, "/control/fail", map[string]any{"on": false})
		c.accept(t, ada.id, "cookie", ada.cookie())
	})
	t.Run("a wrong path", func(t *testing.T) {
		t.Parallel()
		o := newOwner(t, nil)
		ada := o.signUp(t, "ada")
		_ = newBetterAuth(t, o, []betterauth.Option{betterauth.WithBasePath("/auth")}).unavailable(t, "cookie", ada.cookie())
	})
	t.Run("too many requests", func(t *testing.T) {
		t.Parallel()
		o := newOwner(t, map[string]any{"rateLimit": map[string]any{
			"enabled": true, "window": 60, "max": 100, "customRules": map[string]any{"/get-session": map[string]any{"window": 60, "max": 2}},
		}})
		ada := o.signUp(t, "ada")
		c := newBetterAuth(t, o, []betterauth.Option{betterauth.WithClientAddress("X-Real-IP", 1)})
		for range 2 {
			c.accept(t, ada.id, "cookie", ada.cookie(), "x-real-ip", "192.0.2.1")
		}
		err := c.unavailable(t, "cookie", ada.cookie(), "x-real-ip", "192.0.2.1")
		var delay time.Duration
		for _, detail := range status.Convert(err).Details() {
			if retry, ok := detail.(*errdetails.RetryInfo); ok {
				delay = retry.GetRetryDelay().AsDuration()
			}
		}
		if delay <= 0 || delay > time.Minute {
			t.Errorf("told to come back in %v: %v", delay, err)
		}
		c.accept(t, ada.id, "cookie", ada.cookie(), "x-real-ip", "192.0.2.2")
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		o := newOwner(t, nil)
		ada, ben := o.signUp(t, "ada"), o.signUp(t, "ben")
		c := newBetterAuth(t, o, nil, interceptor.WithCache(cache.Policy{TTL: time.Nanosecond, StaleIfError: time.Hour}))
		c.accept(t, ada.id, "cookie", ada.cookie())
		o.kill()
		c.accept(t, ada.id, "cookie", ada.cookie()) // from memory
		_ = c.unavailable(t, "cookie", ben.cookie())
	})
}

func TestBetterAuthRefreshesTheCookie(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"session": map[string]any{"expiresIn": 7200, "updateAge": 0}})
	ada := o.signUp(t, "ada")
	for name, test := range map[string]struct {
		opts []betterauth.Option
		want bool
	}{"with WithRefresh": {[]betterauth.Option{betterauth.WithRefresh()}, true}, "without": {nil, false}} {
		t.Run(name, func(t *testing.T) {
			c := newBetterAuth(t, o, test.opts, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
			var first, second grpcmd.MD
			for _, header := range []*grpcmd.MD{&first, &second} {
				if _, err := c.call(t, []string{"cookie", ada.cookie()}, grpc.Header(header)); err != nil {
					t.Fatal(err)
				}
			}
			got := strings.Join(first["set-cookie"], "\n")
			if strings.HasPrefix(got, cookieName+"=") != test.want {
				t.Errorf("the first call got %q", got)
			}
			if len(second["set-cookie"]) > 0 {
				t.Errorf("the second, from memory, got %q", second["set-cookie"])
			}
		})
	}
}
