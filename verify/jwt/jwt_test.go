package jwt_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/jwt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	issuerName = "https://id.example.com/"
	audience   = "my-api"
)

// key is one of an issuer's.
type key struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   crypto.Signer
}

func (k key) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Algorithm: string(k.algorithm), Use: "sig"}
}

var (
	rsaKey   = key{"rsa-1", jose.RS256, must(rsa.GenerateKey(rand.Reader, 2048))}
	otherRSA = key{"rsa-2", jose.RS256, must(rsa.GenerateKey(rand.Reader, 2048))}
	ecKey    = key{"ec-1", jose.ES256, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	edKey    = key{"ed-1", jose.EdDSA, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// issuer publishes keys over HTTP.
type issuer struct {
	mu      sync.Mutex
	keys    []any // what marshals to a key
	handler http.HandlerFunc
	asked   atomic.Int64
}

func (i *issuer) publish(keys ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

func (i *issuer) answer(handler http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handler = handler
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	i.mu.Lock()
	handler, keys := i.handler, i.keys
	i.mu.Unlock()
	if handler != nil {
		handler(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys})
}

// RoundTrip answers without a network, whose waits a synctest bubble cannot see.
func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	i.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

func start(t *testing.T, opts ...jwt.Option) (*issuer, *jwt.Verifier) {
	t.Helper()
	i := &issuer{}
	i.publish(rsaKey.public(), ecKey.public(), edKey.public())
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	transport := &http.Transport{DisableKeepAlives: true}
	v, err := jwt.New(server.URL+"/jwks.json?p=policy", issuerName, audience, append(opts, jwt.WithHTTPClient(&http.Client{Transport: transport}))...)
	if err != nil {
		t.Fatal(err)
	}
	return i, v
}

type claims = map[string]any

func goodClaims(changes ...claims) claims {
	c := claims{
		"iss": issuerName, "aud": audience, "sub": "ada", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"name": "Ada", "roles": []string{"admin", "user"}, "scope": "read  write", "realm_access": claims{"roles": []string{"nested"}},
	}
	for _, change := range changes {
		for name, value := range change {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
	}
	return c
}

func sign(t *testing.T, k key, c claims, options ...func(*jose.SignerOptions)) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithType("JWT")
	if k.id != "" {
		o = o.WithHeader("kid", k.id)
	}
	for _, option := range options {
		option(o)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: k.private}, o)
	if err != nil {
		t.Fatal(err)
	}
	token, err := josejwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAGoodTokenOfEachAlgorithm(t *testing.T) {
	t.Parallel()
	i, v := start(t, jwt.WithClaims("realm_access", "absent"))
	for _, k := range []key{rsaKey, ecKey, edKey, {"", jose.RS256, rsaKey.private}} {
		token, err := v.Verify(t.Context(), sign(t, k, goodClaims()), nil)
		if err != nil {
			t.Fatalf("%s: %v", k.algorithm, err)
		}
		ac, err := v.Map(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if ac.Subject != "ada" || ac.Name != "Ada" || ac.Type != "jwt" || !slices.Equal(ac.Roles, []string{"admin", "user"}) ||
			!slices.Equal(ac.Scopes, []string{"read", "write"}) || len(ac.Claims) != 1 || time.Until(ac.ExpiresAt) > time.Hour {
			t.Errorf("%s: %v %v", k.algorithm, ac, ac.Claims)
		}
	}
	if got := i.asked.Load(); got != 1 {
		t.Errorf("the keys were fetched %d times", got)
	}
}

// unsigned puts a token together by hand.
func unsigned(header, payload claims, signature string) string {
	encode := func(c claims) string {
		text, _ := json.Marshal(c)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return encode(header) + "." + encode(payload) + "." + signature
}

func TestBadTokensAreInvalid(t *testing.T) {
	t.Parallel()
	_, v := start(t)
	good := sign(t, rsaKey, goodClaims())
	// The public key as the secret of an HMAC: the oldest trick.
	secret := x509.MarshalPKCS1PublicKey(rsaKey.private.Public().(*rsa.PublicKey))
	hmac := must(josejwt.Signed(must(jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret},
		(&jose.SignerOptions{}).WithHeader("kid", "rsa-1")))).Claims(goodClaims()).Serialize())
	forger := key{"rsa-1", jose.RS256, otherRSA.private}
	embedded := func(o *jose.SignerOptions) { o.EmbedJWK = true }
	for name, token := range map[string]string{
		"empty":                                "",
		"junk":                                 "not a token",
		"two parts":                            strings.Join(strings.Split(good, ".")[:2], "."),
		"another signature":                    good[:len(good)-8] + "AAAAAAAA",
		"another payload":                      strings.Replace(good, strings.Split(good, ".")[1], strings.Split(unsigned(nil, goodClaims(claims{"sub": "eve"}), ""), ".")[1], 1),
		"none":                                 unsigned(claims{"alg": "none"}, goodClaims(), ""),
		"None with a key":                      unsigned(claims{"alg": "None", "kid": "rsa-1"}, goodClaims(), ""),
		"HMAC with the public key":             hmac,
		"signed by another":                    sign(t, forger, goodClaims()),
		"signed by another, key inside":        sign(t, forger, goodClaims(), embedded),
		"signed by another, no name":           sign(t, key{"", jose.RS256, otherRSA.private}, goodClaims()),
		"an algorithm that the key is not for": sign(t, key{"rsa-1", jose.PS256, rsaKey.private}, goodClaims()),
		"an algorithm that is not allowed":     sign(t, key{"rsa-1", jose.RS512, rsaKey.private}, goodClaims()),
		"unknown crit":                         sign(t, rsaKey, goodClaims(), func(o *jose.SignerOptions) { o.WithHeader("x", 1).WithCritical("x") }),
		"jku":                                  sign(t, forger, goodClaims(), func(o *jose.SignerOptions) { o.WithHeader("jku", "https://evil.example/jwks") }),
		"another issuer":                       sign(t, rsaKey, goodClaims(claims{"iss": "https://id.example.com"})),
		"no issuer":                            sign(t, rsaKey, goodClaims(claims{"iss": nil})),
		"another audience":                     sign(t, rsaKey, goodClaims(claims{"aud": []string{"other", "My-Api"}})),
		"no audience":                          sign(t, rsaKey, goodClaims(claims{"aud": nil})),
		"no expiry":                            sign(t, rsaKey, goodClaims(claims{"exp": nil})),
		"expired a second ago":                 sign(t, rsaKey, goodClaims(claims{"exp": time.Now().Unix() - 1})),
		"an expiry that is a string":           sign(t, rsaKey, goodClaims(claims{"exp": "never"})),
		"not good yet":                         sign(t, rsaKey, goodClaims(claims{"nbf": time.Now().Add(time.Minute).Unix()})),
		"issued in the future":                 sign(t, rsaKey, goodClaims(claims{"iat": time.Now().Add(time.Minute).Unix()})),
	} {
		if token, err := v.Verify(t.Context(), token, nil); !errors.Is(err, interceptor.ErrInvalidSession) || token != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims(claims{"nbf": time.Now().Add(20 * time.Second).Unix(), "aud": []string{"x", audience}})), nil); err != nil {
		t.Errorf("a clock that is ahead a little, and two audiences: %v", err)
	}
}

func TestKeysThatDoNotCount(t *testing.T) {
	t.Parallel()
	weak := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, published := range map[string]any{
		"a secret":           jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "rsa-1"},
		"a private key":      jose.JSONWebKey{Key: rsaKey.private, KeyID: "rsa-1"},
		"for encryption":     jose.JSONWebKey{Key: rsaKey.private.Public(), KeyID: "rsa-1", Use: "enc"},
		"of 1024 bits":       jose.JSONWebKey{Key: weak.Public(), KeyID: "rsa-1"},
		"of an unknown type": claims{"kty": "XYZ", "kid": "rsa-1"},
	} {
		i, v := start(t)
		i.publish(published)
		if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil); !errors.Is(err, interceptor.ErrUnavailable) {
			t.Errorf("%s, alone: %v", name, err)
		}
		i, v = start(t)
		i.publish(published, ecKey.public())
		if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("%s, beside another: %v", name, err)
		}
		if _, err := v.Verify(t.Context(), sign(t, ecKey, goodClaims()), nil); err != nil {
			t.Errorf("%s: the other: %v", name, err)
		}
	}
	i, v := start(t) // two of one name, as while one replaces the other
	one, two := rsaKey.public(), otherRSA.public()
	one.KeyID, two.KeyID = "same", "same"
	i.publish(one, two)
	for _, k := range []key{{"same", jose.RS256, rsaKey.private}, {"same", jose.RS256, otherRSA.private}} {
		if _, err := v.Verify(t.Context(), sign(t, k, goodClaims()), nil); err != nil {
			t.Error(err)
		}
	}
}

func TestAnswersThatAreNotKeysAreOutages(t *testing.T) {
	t.Parallel()
	text := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, handler := range map[string]http.HandlerFunc{
		"500":           text(500, "application/json", "{}"),
		"404":           text(404, "application/json", "{}"),
		"HTML":          text(200, "text/html", "<html>"),
		"no JSON":       text(200, "application/json", "{"),
		"no keys":       text(200, "application/json", `{"keys":[]}`),
		"null":          text(200, "application/json", "null"),
		"too many keys": text(200, "application/json", `{"keys":[`+strings.Repeat("{},", 100)+`{}]}`),
		"100 MiB":       func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"a redirect":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"a reset":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a silent one":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half an answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, v := start(t, jwt.WithTimeout(300*time.Millisecond))
			i.answer(handler)
			_, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil)
			if !errors.Is(err, interceptor.ErrUnavailable) || errors.Is(err, interceptor.ErrInvalidSession) {
				t.Error(err)
			}
			if got := i.asked.Load(); got != 1 {
				t.Errorf("asked %d times", got)
			}
		})
	}
}

func endless(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	for range 100 << 10 {
		if _, err := w.Write(make([]byte, 1<<10)); err != nil {
			return
		}
	}
}

// inBubble returns an issuer without a network, for tests of time.
func inBubble(t *testing.T, opts ...jwt.Option) (*issuer, *jwt.Verifier) {
	t.Helper()
	i := &issuer{}
	i.publish(rsaKey.public())
	v, err := jwt.New("https://id.example.com/jwks", issuerName, audience, append(opts, jwt.WithHTTPClient(&http.Client{Transport: i}))...)
	if err != nil {
		t.Fatal(err)
	}
	return i, v
}

func TestRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, v := inBubble(t, jwt.WithMaxAge(time.Hour))
		verify := func(k key) error {
			_, err := v.Verify(t.Context(), sign(t, k, goodClaims(claims{"exp": time.Now().Add(24 * time.Hour).Unix()})), nil)
			return err
		}
		if err := verify(rsaKey); err != nil {
			t.Fatal(err)
		}
		// A new key, too soon to look for it: told to come back, not that it is invalid.
		i.publish(otherRSA.public())
		err := verify(otherRSA)
		if !errors.Is(err, interceptor.ErrUnavailable) || errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("too soon: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := verify(otherRSA); err != nil {
			t.Errorf("after 10 s: %v", err)
		}
		if err := verify(rsaKey); err == nil { // it was withdrawn, and the keys are known now
			t.Error("a key that was withdrawn is good")
		}
		if got := i.asked.Load(); got != 2 {
			t.Errorf("fetched %d times", got)
		}
		// A key that is withdrawn silently is good for MaxAge at most.
		i.publish(ecKey.public())
		time.Sleep(time.Hour)
		if err := verify(otherRSA); !errors.Is(err, interceptor.ErrInvalidSession) {
			t.Errorf("after MaxAge: %v", err)
		}
	})
}

func TestMadeUpKeyNamesDoNotStampedeTheIssuer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, v := inBubble(t)
		good := sign(t, rsaKey, goodClaims())
		var wg sync.WaitGroup
		for n := range 1000 {
			wg.Go(func() {
				_, err := v.Verify(t.Context(), sign(t, key{fmt.Sprint("made-up-", n), jose.EdDSA, edKey.private}, goodClaims()), nil)
				if err == nil {
					t.Error("a made-up key is good")
				}
			})
			wg.Go(func() {
				if _, err := v.Verify(t.Context(), good, nil); err != nil {
					t.Errorf("a good token: %v", err)
				}
			})
		}
		wg.Wait()
		if got := i.asked.Load(); got > 2 {
			t.Errorf("fetched %d times", got)
		}
	})
}

// TestAMadeUpKeyNameKeepsNobodyElseOut: that it is too soon to look for that key says nothing
// of other tokens, and its client alone is told to wait.
func TestAMadeUpKeyNameKeepsNobodyElseOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, v := inBubble(t)
		a, err := interceptor.NewSessionAuth(v.Verify, v.Map, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
		if err != nil {
			t.Fatal(err)
		}
		call := func(k key, subject string) error {
			token := sign(t, k, goodClaims(claims{"sub": subject, "exp": time.Now().Add(time.Hour).Unix()}))
			_, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
			return err
		}
		if err := call(rsaKey, "ada"); err != nil {
			t.Fatal(err)
		}
		err = call(key{"made-up", jose.RS256, otherRSA.private}, "mallory")
		if st := status.Convert(err); st.Code() != codes.Unavailable || len(st.Details()) != 2 {
			t.Errorf("a made-up key name: %v, %v", err, st.Details())
		}
		if err := call(rsaKey, "grace"); err != nil {
			t.Errorf("somebody else: %v", err)
		}
	})
}

func TestAnOutageOfTheIssuer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, v := inBubble(t, jwt.WithMaxAge(time.Hour))
		verify := func() error {
			_, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil)
			return err
		}
		down := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
		i.answer(down)
		if err := verify(); !errors.Is(err, interceptor.ErrUnavailable) {
			t.Errorf("from the start: %v", err)
		}
		i.answer(nil)
		if err := verify(); !errors.Is(err, interceptor.ErrUnavailable) {
			t.Errorf("too soon after: %v", err)
		}
		time.Sleep(time.Second)
		if err := verify(); err != nil {
			t.Errorf("it came back: %v", err)
		}
		i.answer(down)
		time.Sleep(time.Hour + time.Minute)
		if err := verify(); err != nil {
			t.Errorf("the keys are old, and there are no others: %v", err)
		}
		time.Sleep(time.Hour)
		if err := verify(); !errors.Is(err, interceptor.ErrUnavailable) {
			t.Errorf("the keys are too old: %v", err)
		}
		i.answer(nil)
		time.Sleep(time.Second)
		if err := verify(); err != nil {
			t.Errorf("it came back again: %v", err)
		}
	})
}

func TestAnIssuerThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, v := inBubble(t, jwt.WithMaxAge(time.Hour))
		verify := func(most time.Duration) {
			t.Helper()
			start := time.Now()
			if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil); err != nil {
				t.Errorf("the keys are old, and there are no others: %v", err)
			}
			if waited := time.Since(start); waited > most {
				t.Errorf("waited %v, at most %v", waited, most)
			}
		}
		verify(0)
		i.answer(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(5 * time.Second) // as long as it is waited for
			w.WriteHeader(http.StatusGatewayTimeout)
		})
		time.Sleep(time.Hour + time.Minute)
		verify(time.Second)
		time.Sleep(10 * time.Second)
		for range 100 { // it is known to be in trouble: nobody waits
			verify(0)
			time.Sleep(500 * time.Millisecond)
		}
		if got := i.asked.Load(); got > 12 {
			t.Errorf("fetched %d times in a minute", got)
		}
		i.answer(nil)
		time.Sleep(10 * time.Second)
	})
}

func TestACallerThatGivesUpDisturbsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, v := inBubble(t)
		i.answer(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			i.answer(nil)
			i.ServeHTTP(w, r)
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := v.Verify(ctx, sign(t, rsaKey, goodClaims()), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil); err != nil {
			t.Errorf("the next one: %v", err)
		}
	})
}

type panicking struct{}

func (panicking) RoundTrip(*http.Request) (*http.Response, error) { panic("at the transport") }

func TestATransportThatPanicsIsAnOutage(t *testing.T) {
	t.Parallel()
	v, err := jwt.New("https://id.example.com/jwks", issuerName, audience, jwt.WithHTTPClient(&http.Client{Transport: panicking{}}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims()), nil); !errors.Is(err, interceptor.ErrUnavailable) {
		t.Error(err)
	}
}

func TestClaimsOfEveryForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		opts    []jwt.Option
		claims  claims
		want    string
		wantErr string
	}{
		{"nested roles", []jwt.Option{jwt.WithRolesClaim("realm_access.roles")}, nil, "ada [nested] [read write]", ""},
		{"a name with dots", []jwt.Option{jwt.WithRolesClaim("https://example.com/roles")}, claims{"https://example.com/roles": []string{"a"}}, "ada [a] [read write]", ""},
		{"one role as a string", nil, claims{"roles": "the admin"}, "ada [the admin] [read write]", ""},
		{"scopes as an array", nil, claims{"scope": []string{"a b", "c"}}, "ada [admin user] [a b c]", ""},
		{"nothing but a subject", nil, claims{"roles": nil, "scope": nil, "name": nil}, "ada [] []", ""},
		{"no paths", []jwt.Option{jwt.WithRolesClaim(""), jwt.WithScopesClaim(""), jwt.WithNameClaim("")}, nil, "ada [] []", ""},
		{"another subject", []jwt.Option{jwt.WithSubjectClaim("uid")}, claims{"uid": "42"}, "42 [admin user] [read write]", ""},
		{"a path that ends early", []jwt.Option{jwt.WithRolesClaim("realm_access.roles.more")}, nil, "ada [] [read write]", ""},
		{"no subject", []jwt.Option{jwt.WithSubjectClaim("uid")}, nil, "", `claim "uid": there is no subject`},
		{"a subject that is a number", nil, claims{"uid": 42}, "", `claim "uid": float64, want a string`},
		{"roles that are a number", nil, claims{"roles": 1}, "", `claim "roles": float64, want a string or an array`},
		{"roles with a number", nil, claims{"roles": []any{"a", 1}}, "", `claim "roles": an array with a float64`},
		{"scopes that are an object", nil, claims{"scope": claims{}}, "", `claim "scope": map[string]interface {}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(test.wantErr, `"uid"`) && len(test.opts) == 0 {
				test.opts = []jwt.Option{jwt.WithSubjectClaim("uid")}
			}
			_, v := start(t, test.opts...)
			token, err := v.Verify(t.Context(), sign(t, rsaKey, goodClaims(test.claims)), nil)
			if err != nil {
				t.Fatal(err)
			}
			ac, err := v.Map(t.Context(), token)
			switch {
			case test.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			case fmt.Sprint(ac.Subject, " ", ac.Roles, " ", ac.Scopes) != test.want:
				t.Errorf("got %v", ac)
			}
		})
	}
}

func TestNewRefusesWhatIsNotSafe(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url, issuer, audience string
		opt                   jwt.Option
		want                  string
	}{
		{"https://x/jwks", "", "a", nil, "the issuer is empty"},
		{"https://x/jwks", "i", "", nil, "the audience is empty"},
		{"/jwks", "i", "a", nil, "the URL must be absolute"},
		{"ftp://x/jwks", "i", "a", nil, "the URL must be absolute"},
		{"https://u:p@x/jwks", "i", "a", nil, "must not hold a user"},
		{"https://x/jwks?a=%zz", "i", "a", nil, "the query of the URL is malformed"},
		{"https://x/jwks", "i", "a", jwt.WithAlgorithms("HS256"), `WithAlgorithms: "HS256"`},
		{"https://x/jwks", "i", "a", jwt.WithAlgorithms("none"), `WithAlgorithms: "none"`},
		{"https://x/jwks", "i", "a", jwt.WithAlgorithms(), "WithAlgorithms needs an algorithm"},
		{"https://x/jwks", "i", "a", jwt.WithIssuers(), "WithIssuers needs names"},
		{"https://x/jwks", "i", "a", jwt.WithAudiences(""), "WithAudiences needs names"},
		{"https://x/jwks", "i", "", jwt.WithAuthorizedParties(), "WithAuthorizedParties needs names"},
		{"https://x/jwks", "i", "", jwt.WithAuthorizedParties(""), "WithAuthorizedParties needs names"},
		{"https://x/jwks", "i", "a", jwt.WithTypes(), "WithTypes needs a type"},
		{"https://x/jwks", "i", "a", jwt.WithLeeway(-1), "WithLeeway"},
		{"https://x/jwks", "i", "a", jwt.WithLeeway(time.Hour), "WithLeeway"},
		{"https://x/jwks", "i", "a", jwt.WithMaxAge(0), "WithMaxAge"},
		{"https://x/jwks", "i", "a", jwt.WithTimeout(0), "WithTimeout"},
		{"https://x/jwks", "i", "a", jwt.WithSubjectClaim(""), "WithSubjectClaim"},
	} {
		if _, err := jwt.New(test.url, test.issuer, test.audience, test.opt); err == nil || !strings.Contains(err.Error(), "jwt: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v", test.want, err)
		}
	}
}

func TestThroughTheInterceptor(t *testing.T) {
	t.Parallel()
	i, v := start(t)
	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map, interceptor.WithExtractors(authmd.Bearer()), interceptor.WithKeyHeaders())
	if err != nil {
		t.Fatal(err)
	}
	call := func(token string) (*authcontext.AuthContext, error) {
		found, err := auth.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
		if found.Identity == nil {
			return nil, err
		}
		return found.Identity.AuthContext(), err
	}
	if ac, err := call(sign(t, rsaKey, goodClaims())); err != nil || ac.Subject != "ada" {
		t.Errorf("%v %v", ac, err)
	}
	secret := sign(t, otherRSA, goodClaims())
	_, err = call(secret)
	if status.Code(err) != codes.Unavailable && status.Code(err) != codes.Unauthenticated || strings.Contains(fmt.Sprintf("%+v", err), secret) {
		t.Error(err)
	}
	if _, err := call(sign(t, rsaKey, goodClaims(claims{"roles": 7}))); status.Convert(err).Message() != "session mapping failed" {
		t.Error(err)
	}
	i.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	if _, err := call(sign(t, rsaKey, goodClaims())); err != nil {
		t.Errorf("with keys in memory: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", v, *v, v); strings.Contains(text, audience) {
		t.Error(text)
	}
}

func FuzzVerify(f *testing.F) {
	i := &issuer{}
	i.publish(edKey.public())
	v, err := jwt.New("https://id.example.com/jwks", issuerName, audience, jwt.WithHTTPClient(&http.Client{Transport: i}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add(unsigned(claims{"alg": "EdDSA", "kid": "ed-1"}, goodClaims(), "AAAA"))
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := v.Verify(t.Context(), token, nil); err == nil {
			t.Errorf("%q is good", token)
		} else if len(token) > 20 && strings.Contains(err.Error(), token) {
			t.Errorf("the error tells the token: %v", err)
		}
	})
}
