package jwt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Verifier verifies tokens. It is made by [New] or [Discover], is safe for concurrent use,
// and needs no closing.
type Verifier struct {
	keys   *keySet
	config config
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
// with a token's iss and aud, of which several may be in a token; [WithIssuers] and
// [WithAudiences] name more. jwksURL is where the issuer publishes its keys; nothing is
// fetched yet. It may have a query. All three must be given, but for the audience with
// [WithAuthorizedParties]. The error names every option that is not valid.
func New(jwksURL, issuer, audience string, opts ...Option) (*Verifier, error) {
	c := newConfig(issuer, audience, opts)
	place, query, _ := strings.Cut(jwksURL, "?")
	u, err := endpoint.ParseURL("jwt", place)
	if _, queryErr := url.ParseQuery(query); queryErr != nil || strings.Contains(query, "#") {
		c.failf("the query of the URL is malformed")
	}
	if err := errors.Join(append(c.errs, err)...); err != nil {
		return nil, err
	}
	u.RawQuery = query
	keys := &keySet{client: endpoint.New("jwt", u, c.client, c.timeout), maxAge: c.maxAge}
	return &Verifier{keys: keys, config: c}, nil
}

// Discover is [New] for an issuer that publishes where its keys are (OpenID Connect Discovery
// 1.0), which is read each time before the keys are. The issuer is a URL, and what is
// published there must name exactly it, and keys over https if it is https itself.
func Discover(issuer, audience string, opts ...Option) (*Verifier, error) {
	c := newConfig(issuer, audience, opts)
	u, err := endpoint.ParseURL("jwt: the issuer", issuer)
	if err := errors.Join(append(c.errs, err)...); err != nil {
		return nil, err
	}
	u = u.JoinPath(".well-known/openid-configuration")
	keys := &keySet{client: endpoint.New("jwt", u, c.client, c.timeout), maxAge: c.maxAge, issuer: issuer}
	return &Verifier{keys: keys, config: c}, nil
}

// Verify is an interceptor.VerifyFunc. See the package for its errors.
func (v *Verifier) Verify(ctx context.Context, token string, _ http.Header) (*Token, error) {
	parsed, err := josejwt.ParseSigned(token, v.config.algorithms)
	if err != nil || len(parsed.Headers) != 1 {
		return nil, invalid("not a JWT that is signed with one of the algorithms") // go-jose's error may quote it
	}
	header := parsed.Headers[0]
	kind, ok := typeOf(header)
	if !ok || !slices.Contains(v.config.types, kind) {
		return nil, invalid("its typ says that it is for something else")
	}
	keys, err := v.keys.find(ctx, header.KeyID)
	if err != nil {
		return nil, err
	}
	for i := range keys {
		key, ok := keyFor(&keys[i], jose.SignatureAlgorithm(header.Algorithm))
		if !ok {
			continue
		}
		var standard josejwt.Claims
		var all map[string]any
		if parsed.Claims(key, &standard, &all) == nil {
			return v.check(&standard, all, kind)
		}
	}
	return nil, invalid("the signature is not that of a published key")
}

// check decides about claims whose signature is good.
func (v *Verifier) check(c *josejwt.Claims, all map[string]any, kind string) (*Token, error) {
	now := time.Now()
	azp, _ := all["azp"].(string)
	_, isID := all["nonce"]
	_, isEvent := all["events"]
	switch {
	case c.Expiry == nil:
		return nil, invalid("it has no expiry")
	case !c.Expiry.Time().After(now):
		return nil, invalid("it has expired")
	case !slices.Contains(v.config.issuers, c.Issuer):
		return nil, invalid("it is of another issuer")
	case len(v.config.audiences) > 0 && !slices.ContainsFunc(v.config.audiences, c.Audience.Contains):
		return nil, invalid("it is for another audience")
	case len(v.config.parties) > 0 && !slices.Contains(v.config.parties, azp):
		return nil, invalid("it was issued to another party")
	case isEvent:
		return nil, invalid("it tells of an event, such as a logout")
	case isID && kind != accessToken && !v.config.idTokens:
		return nil, invalid("it is an ID token")
	}
	if err := c.ValidateWithLeeway(josejwt.Expected{Time: now}, v.config.leeway); err != nil {
		return nil, invalid(err.Error()) // fixed texts
	}
	return &Token{Claims: all, expires: c.Expiry.Time()}, nil
}

// Map is an interceptor.MapFunc: see the options for which claim becomes what. The Type is
// "jwt". A claim of another form than its option says is an error, and so is a Subject
// that is missing or empty. The SessionID is the claim sid, by which an OpenID provider
// names a session when it ends it; without one it is jti, the name of the token.
func (v *Verifier) Map(_ context.Context, t *Token) (*authcontext.AuthContext, error) {
	if t == nil {
		return nil, invalid("there is none")
	}
	ac := &authcontext.AuthContext{Type: "jwt", ExpiresAt: t.expires}
	var errs [4]error
	ac.Subject, errs[0] = text(t.Claims, v.config.paths.subject)
	ac.Name, errs[1] = text(t.Claims, v.config.paths.name)
	ac.Roles, errs[2] = list(t.Claims, v.config.paths.roles, func(s string) []string { return []string{s} })
	ac.Scopes, errs[3] = list(t.Claims, v.config.paths.scopes, strings.Fields)
	if ac.Subject == "" {
		errs[0] = cmp.Or(errs[0], fmt.Errorf("jwt: claim %q: there is no subject", v.config.paths.subject))
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	ac.SessionID = cmp.Or(plain(t.Claims["sid"]), plain(t.Claims["jti"]))
	for _, name := range v.config.claims {
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
