package betterauth_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// Whatever a sign-out has in hand, every way in which the session was presented is forgotten.
func TestForgetKnowsASessionByEverySpelling(t *testing.T) {
	signed := sign(secret, token)
	plain, err := url.PathUnescape(signed)
	if err != nil {
		t.Fatal(err)
	}
	presented := map[string]http.Header{
		"a cookie":              byCookie(cookie, signed),
		"a cookie, not encoded": byCookie(cookie, plain),
		"a quoted cookie":       byCookie(cookie, `"`+signed+`"`),
		"a __Secure- cookie":    byCookie("__Secure-"+cookie, signed),
		"a bearer token":        byBearer(token),
		"a signed bearer token": byBearer(plain),
	}
	for _, argument := range []string{"", token, signed, plain, `"` + signed + `"`, "session s1", "another token"} {
		s := serve(t, says(200, good()))
		v := newVerifier(t, s.URL)
		a := newAuth(t, v, interceptor.WithKeyHeaders(v.KeyHeaders()...), interceptor.WithCache(cache.Policy{TTL: time.Hour}))
		all := func() int {
			before := len(s.Asked())
			for how, header := range presented {
				if _, err := a.Authenticate(t.Context(), header); err != nil {
					t.Errorf("%s: %v", how, err)
				}
			}
			return len(s.Asked()) - before
		}
		if asked := all(); asked != len(presented) {
			t.Fatalf("asked %d times about %d credentials", asked, len(presented))
		}
		want := len(presented)
		switch argument {
		case "", "another token":
			err, want = a.Forget(t.Context(), argument), 0
		case "session s1":
			err = a.ForgetSession(t.Context(), "s1")
		default:
			err = a.Forget(t.Context(), argument)
		}
		if asked := all(); err != nil || asked != want {
			t.Errorf("after Forget of %q: asked %d times, want %d, %v", argument, asked, want, err)
		}
	}
}
