package jwt_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/jwt"
)

func withType(kind any) func(*jose.SignerOptions) {
	return func(o *jose.SignerOptions) {
		if delete(o.ExtraHeaders, jose.HeaderType); kind != nil {
			o.WithHeader(jose.HeaderType, kind)
		}
	}
}

// An issuer signs other things with the same keys than what calls are made with.
func TestWhatATokenIsFor(t *testing.T) {
	t.Parallel()
	logout := claims{"events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}}}
	for _, test := range []struct {
		name   string
		kind   any
		claims claims
		opts   []jwt.Option
		good   bool
	}{
		{"a JWT", "JWT", nil, nil, true},
		{"a jwt", "jwt", nil, nil, true},
		{"no typ", nil, nil, nil, true},
		{"an access token", "at+jwt", nil, nil, true},
		{"an access token, by its whole type", "application/AT+JWT", nil, nil, true},
		{"a logout token", "logout+jwt", logout, nil, false},
		{"a logout token without typ", nil, logout, nil, false},
		{"a proof of possession", "dpop+jwt", nil, nil, false},
		{"a typ that is empty", "", nil, nil, true},
		{"a typ that is a number", 7, nil, nil, false},
		{"an ID token", "JWT", claims{"nonce": "n"}, nil, false},
		{"an ID token without typ", nil, claims{"nonce": ""}, nil, false},
		{"an ID token, where they are wanted", "JWT", claims{"nonce": "n"}, []jwt.Option{jwt.WithIDTokens()}, true},
		{"a logout token, where ID tokens are wanted", "JWT", logout, []jwt.Option{jwt.WithIDTokens()}, false},
		{"an access token with a nonce of its own", "at+jwt", claims{"nonce": "n"}, nil, true},
		{"a JWT where access tokens are wanted", "JWT", nil, []jwt.Option{jwt.WithTypes("at+jwt")}, false},
		{"no typ where access tokens are wanted", nil, nil, []jwt.Option{jwt.WithTypes("at+jwt")}, false},
		{"an access token where they are wanted", "at+jwt", nil, []jwt.Option{jwt.WithTypes("application/at+jwt")}, true},
		{"a type of their own", "Session+JWT", nil, []jwt.Option{jwt.WithTypes("session+jwt", "")}, true},
	} {
		_, v := start(t, test.opts...)
		_, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims(test.claims), withType(test.kind)), nil)
		if (err == nil) != test.good || err != nil && !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// signEd signs with an Ed25519 key, by whatever name of the algorithm.
func signEd(algorithm string, c claims) string {
	signed := strings.TrimSuffix(unsigned(claims{"alg": algorithm, "kid": "ed-1"}, c, ""), ".")
	signature := ed25519.Sign(edKey.private.(ed25519.PrivateKey), []byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestEd25519ByItsNewName(t *testing.T) {
	t.Parallel()
	published := func(algorithm string) any {
		var key claims
		text := must(edKey.public().MarshalJSON())
		if err := json.Unmarshal(text, &key); err != nil {
			t.Fatal(err)
		}
		if delete(key, "alg"); algorithm != "" {
			key["alg"] = algorithm
		}
		return key
	}
	for _, keyName := range []string{"", "EdDSA", "Ed25519"} {
		i, v := start(t)
		i.publish(published(keyName))
		for _, tokenName := range []string{"EdDSA", "Ed25519"} {
			if _, err := v.Verify(t.Context(), signEd(tokenName, goodClaims()), nil); err != nil {
				t.Errorf("a key for %q, a token by %q: %v", keyName, tokenName, err)
			}
		}
		token := signEd("Ed25519", goodClaims())
		for name, bad := range map[string]string{
			"another signature":    token[:len(token)-8] + "AAAAAAAA",
			"the curve of another": strings.Replace(token, strings.Split(token, ".")[0], base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"Ed448","kid":"ed-1"}`)), 1),
		} {
			if _, err := v.Verify(t.Context(), bad, nil); !errors.Is(err, interceptor.ErrInvalidSession) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	i, v := start(t)
	i.publish(jose.JSONWebKey{Key: ecKey.private.Public(), KeyID: "ed-1"}, jose.JSONWebKey{Key: rsaKey.private.Public(), KeyID: "ed-1"})
	if _, err := v.Verify(t.Context(), signEd("Ed25519", goodClaims()), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("keys of other kinds: %v", err)
	}
	_, v = start(t, jwt.WithAlgorithms("EdDSA"))
	if _, err := v.Verify(t.Context(), signEd("Ed25519", goodClaims()), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("not allowed: %v", err)
	}
}

func TestSeveralIssuersAudiencesAndParties(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		audience string
		claims   claims
		opts     []jwt.Option
		good     bool
	}{
		{"another name of the issuer", audience, claims{"iss": "id.example.com"}, []jwt.Option{jwt.WithIssuers("id.example.com", "x")}, true},
		{"the first name still", audience, nil, []jwt.Option{jwt.WithIssuers("id.example.com")}, true},
		{"an issuer that is neither", audience, claims{"iss": "evil"}, []jwt.Option{jwt.WithIssuers("id.example.com")}, false},
		{"no issuer", audience, claims{"iss": nil}, []jwt.Option{jwt.WithIssuers("id.example.com")}, false},
		{"another audience", audience, claims{"aud": "web"}, []jwt.Option{jwt.WithAudiences("web")}, true},
		{"the first audience still", audience, nil, []jwt.Option{jwt.WithAudiences("web")}, true},
		{"an audience that is neither", audience, claims{"aud": "evil"}, []jwt.Option{jwt.WithAudiences("web")}, false},
		{"a party and no audience, as of Clerk", "", claims{"aud": nil, "azp": "https://app"}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, true},
		{"another party", "", claims{"aud": nil, "azp": "https://evil"}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, false},
		{"no party", "", claims{"aud": nil}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, false},
		{"a party that is a list", "", claims{"azp": []string{"https://app"}}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, false},
		{"the party, and no audience where there must be one", audience, claims{"aud": nil, "azp": "https://app"}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, false},
		{"both", audience, claims{"azp": "https://app"}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, true},
		{"the audience, and another party", audience, claims{"azp": "https://evil"}, []jwt.Option{jwt.WithAuthorizedParties("https://app")}, false},
	} {
		i := &issuer{}
		i.publish(rsaKey.public())
		v, err := jwt.New("https://id.example.com/jwks", issuerName, test.audience, append(test.opts, jwt.WithHTTPClient(&http.Client{Transport: i}))...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(t.Context(), sign(t, rsaKey, goodClaims(test.claims)), nil)
		if (err == nil) != test.good || err != nil && !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestWhatASessionIsCalled(t *testing.T) {
	t.Parallel()
	_, v := start(t)
	for _, test := range []struct {
		claims claims
		want   string
	}{
		{claims{"sid": "s1", "jti": "j1"}, "s1"}, {claims{"jti": "j1"}, "j1"}, {nil, ""}, {claims{"sid": 7, "jti": "j1"}, "j1"},
	} {
		token, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims(test.claims)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if ac, err := v.Map(t.Context(), token); err != nil || ac.SessionID != test.want {
			t.Errorf("%v: %v, %v", test.claims, ac, err)
		}
	}
}

func TestKeysThatDoNotSayThatTheyAreJSON(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"text/plain; charset=utf-8": `jwt: interceptor: session verification unavailable: the keys: the Content-Type is "text/plain; charset=utf-8", want application/json or another of JSON`,
		"":                          `the keys: the Content-Type is "", want application/json`,
		strings.Repeat("x", 1000):   `"` + strings.Repeat("x", 64) + `"`,
	} {
		i, v := start(t)
		i.answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			if kind != "" {
				w.Header().Set("Content-Type", kind)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{rsaKey.public()}})
		})
		_, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil)
		if !errors.Is(err, interceptor.ErrUnavailable) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", kind, err)
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		issuer   string // URL stands for that of the server
		document string
		want     string // of the error
	}{
		{"an issuer with a path", "URL/realms/a", `{"issuer":"URL/realms/a","jwks_uri":"URL/keys?p=policy"}`, ""},
		{"a slash at the end", "URL/realms/a/", `{"issuer":"URL/realms/a/","jwks_uri":"URL/keys?p=policy"}`, ""},
		{"another issuer", "URL", `{"issuer":"URL/","jwks_uri":"URL/keys?p=policy"}`, "of another issuer"},
		{"no issuer", "URL", `{"jwks_uri":"URL/keys?p=policy"}`, "of another issuer"},
		{"no keys", "URL", `{"issuer":"URL"}`, "names no URL of keys"},
		{"keys of another scheme", "URL", `{"issuer":"URL","jwks_uri":"file:///etc/keys"}`, "names no URL of keys"},
		{"a document that is none", "URL", `[]`, "the discovery document: the answer is not the JSON"},
		{"a document that is too large", "URL", `{"issuer":"URL","jwks_uri":"URL/keys?p=policy","x":"` + strings.Repeat("x", 1<<20) + `"}`, "larger than 1 MiB"},
	} {
		i := &issuer{}
		i.publish(rsaKey.public())
		var mu sync.Mutex
		var asked []string
		var server *httptest.Server
		server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked = append(asked, r.URL.RequestURI())
			mu.Unlock()
			if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(strings.ReplaceAll(test.document, "URL", server.URL)))
				return
			}
			i.ServeHTTP(w, r)
		}))
		server.Start()
		name := strings.ReplaceAll(test.issuer, "URL", server.URL)
		v, err := jwt.Discover(name, audience, jwt.WithHTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(t.Context(), sign(t, rsaKey, goodClaims(claims{"iss": name})), nil)
		switch {
		case test.want == "" && (err != nil || len(asked) != 2 || asked[0] != "/realms/a/.well-known/openid-configuration" || asked[1] != "/keys?p=policy"):
			t.Errorf("%s: %v, asked %q", test.name, err, asked)
		case test.want != "" && (!errors.Is(err, interceptor.ErrUnavailable) || !strings.Contains(err.Error(), test.want) || len(asked) != 1):
			t.Errorf("%s: %v, asked %q", test.name, err, asked)
		}
		server.Close()
	}
	// An https issuer whose document sends one to http.
	answers := &issuer{}
	answers.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"issuer":"https://id.example.com/","jwks_uri":"http://id.example.com/keys"}`))
	})
	v, err := jwt.Discover(issuerName, audience, jwt.WithHTTPClient(&http.Client{Transport: answers}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil); !errors.Is(err, interceptor.ErrUnavailable) || answers.asked.Load() != 1 {
		t.Errorf("keys over http: %v", err)
	}
	for _, bad := range []string{"", "id.example.com", "https://id.example.com/?a=b"} {
		if _, err := jwt.Discover(bad, audience); err == nil || !strings.Contains(err.Error(), "jwt: the issuer") && bad != "" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
