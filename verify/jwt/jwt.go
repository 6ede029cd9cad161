package jwt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Verifier verifies tokens. It is made by [New], is safe for concurrent use, and needs no
// closing.
type Verifier struct {
	keys       *keySet
	issuer     string
	audience   string
	algorithms []jose.SignatureAlgorithm
	leeway     time.Duration
	paths      paths
	claims     []string
}

// Token is what a verified token says. It is shared by the calls that one verification
// answers and must not be modified. It formats as a fixed text.
type Token struct {
	// Claims are all claims of the token. Numbers are float64.
	Claims map[string]any

	expires time.Time
}

// Format implements [fmt.Formatter]: a fixed text, since claims are personal.
func (Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("jwt.Token")) }

// New returns a Verifier of tokens of this issuer for this audience, each compared exactly
// with a token's iss and aud, of which several may be in a token. jwksURL is where the
// issuer publishes its keys; nothing is fetched yet. It may have a query. All three must be
// given. The error names every option that is not valid.
func New(jwksURL, issuer, audience string, opts ...Option) (*Verifier, error) {
	c := newConfig(opts)
	if issuer == "" {
		c.failf("the issuer is empty: any issuer's tokens would be good")
	}
	if audience == "" {
		c.failf("the audience is empty: tokens for any service would be good")
	}
	place, query, _ := strings.Cut(jwksURL, "?")
	u, err := endpoint.ParseURL("jwt", place)
	if _, queryErr := url.ParseQuery(query); queryErr != nil || strings.Contains(query, "#") {
		c.failf("the query of the URL is malformed")
	}
	if err := errors.Join(append(c.errs, err)...); err != nil {
		return nil, err
	}
	u.RawQuery = query
	return &Verifier{
		keys:       &keySet{client: endpoint.New("jwt", u, c.client, c.timeout), maxAge: c.maxAge, timeout: c.timeout},
		issuer:     issuer,
		audience:   audience,
		algorithms: c.algorithms,
		leeway:     c.leeway,
		paths:      c.paths,
		claims:     c.claims,
	}, nil
}

// Verify is an interceptor.VerifyFunc. See the package for its errors.
func (v *Verifier) Verify(ctx context.Context, token string, _ http.Header) (*Token, error) {
	parsed, err := josejwt.ParseSigned(token, v.algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, invalid("not a JWT that is signed with one of the algorithms") // go-jose's error may quote it
	}
	keys, err := v.keys.find(ctx, parsed.Headers[0].KeyID)
	if err != nil {
		return nil, err
	}
	algorithm := parsed.Headers[0].Algorithm
	for i := range keys {
		if keys[i].Algorithm != "" && keys[i].Algorithm != algorithm {
			continue // whether the algorithm is one for this type of key, go-jose checks
		}
		var standard josejwt.Claims
		var all map[string]any
		if parsed.Claims(keys[i].Key, &standard, &all) == nil {
			return v.check(&standard, all)
		}
	}
	return nil, invalid("the signature is not that of a published key")
}

// check decides about claims whose signature is good.
func (v *Verifier) check(c *josejwt.Claims, all map[string]any) (*Token, error) {
	now := time.Now()
	switch {
	case c.Expiry == nil:
		return nil, invalid("it has no expiry")
	case !c.Expiry.Time().After(now):
		return nil, invalid("it has expired")
	}
	expected := josejwt.Expected{Issuer: v.issuer, AnyAudience: josejwt.Audience{v.audience}, Time: now}
	if err := c.ValidateWithLeeway(expected, v.leeway); err != nil {
		return nil, invalid(err.Error()) // fixed texts
	}
	return &Token{Claims: all, expires: c.Expiry.Time()}, nil
}

// Map is an interceptor.MapFunc: see the options for which claim becomes what. The Type is
// "jwt". A claim of another form than its option says is an error, and so is a Subject
// that is missing or empty.
func (v *Verifier) Map(_ context.Context, t *Token) (*authcontext.AuthContext, error) {
	if t == nil {
		return nil, invalid("there is none")
	}
	ac := &authcontext.AuthContext{Type: "jwt", ExpiresAt: t.expires}
	var errs [4]error
	ac.Subject, errs[0] = text(t.Claims, v.paths.subject)
	ac.Name, errs[1] = text(t.Claims, v.paths.name)
	ac.Roles, errs[2] = list(t.Claims, v.paths.roles, func(s string) []string { return []string{s} })
	ac.Scopes, errs[3] = list(t.Claims, v.paths.scopes, strings.Fields)
	if ac.Subject == "" {
		errs[0] = cmp.Or(errs[0], fmt.Errorf("jwt: claim %q: there is no subject", v.paths.subject))
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	for _, name := range v.claims {
		if value, ok := t.Claims[name]; ok {
			if ac.Claims == nil {
				ac.Claims = map[string]any{}
			}
			ac.Claims[name] = value
		}
	}
	return ac, nil
}

// Format implements [fmt.Formatter]: a fixed text.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("jwt.Verifier")) }

func invalid(why string) error { return fmt.Errorf("jwt: %w: %s", interceptor.ErrInvalidSession, why) }
