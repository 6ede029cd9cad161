package e2e_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/verify/forwardauth"
)

// provider is an OpenID provider at which anybody is who they say.
type provider struct {
	*httptest.Server

	key    *rsa.PrivateKey
	groups map[string][]string // of each user
}

const clientID = "app"

func newProvider(t *testing.T, groups map[string][]string) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{key: key, groups: groups}
	mux := http.NewServeMux()
	say := func(path string, answer func(r *http.Request) any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer(r))
		})
	}
	say("/.well-known/openid-configuration", func(*http.Request) any {
		return map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"RS256"},
		}
	})
	say("/keys", func(*http.Request) any {
		return map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "kid": "one", "use": "sig", "alg": "RS256",
			"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}}
	})
	say("/token", func(r *http.Request) any {
		return map[string]any{"access_token": "opaque", "token_type": "Bearer", "expires_in": 3600, "id_token": p.token(t, r.FormValue("code"), time.Hour)}
	})
	p.Server = httptest.NewUnstartedServer(mux)
	p.Start() // its URL is known before the first request
	t.Cleanup(p.Close)
	return p
}

// token returns an ID token of a user.
func (p *provider) token(t *testing.T, user string, life time.Duration) string {
	t.Helper()
	now := time.Now()
	var parts []string
	for _, part := range []any{
		map[string]any{"alg": "RS256", "kid": "one", "typ": "JWT"},
		map[string]any{
			"iss": p.URL, "aud": clientID, "sub": user, "email": user + "@example.com", "email_verified": true, "preferred_username": "the " + user,
			"groups": p.groups[user], "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(life).Unix(),
		},
	} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Error(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	signed := strings.Join(parts, ".")
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, p.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Error(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// proxy is an oauth2-proxy that listens on a socket.
type proxy struct {
	*process

	client *http.Client
}

const proxyURL = "http://app"

func newProxy(t *testing.T, p *provider) *proxy {
	t.Helper()
	dir := openDir(t)
	o := &proxy{client: overSocket(t, filepath.Join(dir, "proxy"))}
	o.process = startBuilt(t, oauth2ProxyProgram, dir, nil,
		"--http-address=unix://"+filepath.Join(dir, "proxy"), "--upstream=static://204", "--redirect-url="+proxyURL+"/oauth2/callback",
		"--provider=oidc", "--oidc-issuer-url="+p.URL, "--client-id="+clientID, "--client-secret=s", "--scope=openid", "--email-domain=*",
		"--cookie-secret=0123456789abcdef0123456789abcdef", "--cookie-secure=false", "--set-xauthrequest", "--skip-jwt-bearer-tokens",
		"--request-logging=false", "--auth-logging=false", "--standard-logging=false")
	waitFor(t, o.client, proxyURL+"/ready")
	return o
}

// get makes a request, as a browser does, that must be answered with a redirect.
func (o *proxy) get(t *testing.T, path, cookies string) http.Header {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, proxyURL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Cookie", cookies)
	response, err := o.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusFound {
		t.Fatalf("%s: %d", path, response.StatusCode)
	}
	return response.Header
}

// signIn returns the cookies of a browser in which a user has signed in.
func (o *proxy) signIn(t *testing.T, user string) string {
	t.Helper()
	header := o.get(t, "/oauth2/start?rd=/", "")
	to, err := url.Parse(header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	back := url.Values{"code": {user}, "state": {to.Query().Get("state")}}
	return cookiesOf(o.get(t, "/oauth2/callback?"+back.Encode(), cookiesOf(header)))
}

func TestOAuth2Proxy(t *testing.T) {
	t.Parallel()
	_ = built(t, oauth2ProxyProgram)
	var many []string // more than one cookie holds
	for i := range 150 {
		digest := sha256.Sum256([]byte{byte(i)})
		many = append(many, hex.EncodeToString(digest[:]))
	}
	p := newProvider(t, map[string][]string{"ada": {"admin", "staff"}, "ben": many})
	o := newProxy(t, p)
	v, err := forwardauth.OAuth2Proxy(proxyURL, forwardauth.WithHTTPClient(o.client))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(opts ...interceptor.Option) client {
		return dial(t, newAuth(t, v.Verify, v.Map, append(opts, interceptor.WithExtractors(v.Extractors()...))...))
	}
	c := serve()
	ada, ben := o.signIn(t, "ada"), o.signIn(t, "ben")

	t.Run("lets in", func(t *testing.T) {
		who := c.accept(t, "ada", "cookie", "theme=dark; "+ada)
		if who.Name != "the ada" || fmt.Sprint(who.Roles, who.Claims) != "[admin staff] map[email:ada@example.com]" {
			t.Errorf("mapped to %+v", who)
		}
		if !strings.Contains(ben, "_oauth2_proxy_1=") {
			t.Errorf("ben's session is in one cookie: this test shows less than it should")
		}
		if who := c.accept(t, "ben", "cookie", ben); len(who.Roles) != len(many) {
			t.Errorf("%d groups, want %d", len(who.Roles), len(many))
		}
		c.accept(t, "ada", "authorization", "Bearer "+p.token(t, "ada", time.Hour))
		c.accept(t, "ada", "authorization", "Bearer "+p.token(t, "ada", time.Hour), "cookie", ben)
	})
	t.Run("keeps out", func(t *testing.T) {
		name, value, _ := strings.Cut(ada, "=")
		for what, pairs := range map[string][]string{
			"a cookie that is made up":             {"cookie", name + "=made-up"},
			"a cookie that was changed":            {"cookie", name + "=x" + value},
			"a part of a session":                  {"cookie", ben[strings.Index(ben, "_oauth2_proxy_1="):]},
			"a token that is none":                 {"authorization", "Bearer made.up.token"},
			"a token that has expired":             {"authorization", "Bearer " + p.token(t, "ada", -time.Minute)},
			"a token that has, beside a cookie":    {"authorization", "Bearer " + p.token(t, "ada", -time.Minute), "cookie", ada},
			"a token of another, beside a cookie":  {"authorization", "Bearer x" + p.token(t, "ben", time.Hour), "cookie", ada},
			"a cookie and the name of another one": {"cookie", name + "x=" + value, "x-auth-request-user", "ada"},
		} {
			who, err := c.call(t, pairs)
			if why := reasonOf(err); why != string(reason.InvalidSession) && why != string(reason.MissingCredentials) {
				t.Errorf("%s: %+v, %v", what, who, err)
			}
		}
	})
	t.Run("a browser signs out", func(t *testing.T) {
		cookies := o.signIn(t, "ada")
		c.accept(t, "ada", "cookie", cookies)
		out := o.get(t, "/oauth2/sign_out?rd=/", cookies)
		if left := cookiesOf(out); left != "" || !strings.Contains(strings.Join(out["Set-Cookie"], "\n"), "_oauth2_proxy=;") {
			t.Errorf("the browser keeps %q of %q", left, out["Set-Cookie"])
		}
		// The session is in the cookie alone: a copy of it is good until it expires.
		c.accept(t, "ada", "cookie", cookies)
	})
	t.Run("it is killed", func(t *testing.T) {
		stale := serve(interceptor.WithCache(cache.Policy{TTL: time.Nanosecond, StaleIfError: time.Hour}))
		stale.accept(t, "ada", "cookie", ada)
		o.kill()
		stale.accept(t, "ada", "cookie", ada)
		_ = stale.unavailable(t, "cookie", ben)
		_ = c.unavailable(t, "cookie", ada)
	})
}
