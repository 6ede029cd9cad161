package jwt

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Option configures a [Verifier]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

const (
	defaultLeeway = 30 * time.Second
	maxLeeway     = 5 * time.Minute
	defaultMaxAge = time.Hour
)

// asymmetric are the algorithms that can be allowed.
var asymmetric = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	ed25519Algorithm,
}

type config struct {
	issuers    []string
	audiences  []string
	parties    []string
	types      []string
	idTokens   bool
	algorithms []jose.SignatureAlgorithm
	leeway     time.Duration
	maxAge     time.Duration
	timeout    time.Duration
	client     *http.Client
	paths      paths
	claims     []string
	errs       []error
}

func newConfig(issuer, audience string, opts []Option) config {
	c := config{
		issuers:    []string{issuer},
		types:      []string{"", "jwt", accessToken},
		algorithms: []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA, ed25519Algorithm},
		leeway:     defaultLeeway,
		maxAge:     defaultMaxAge,
		timeout:    endpoint.DefaultTimeout,
		paths:      paths{subject: "sub", name: "name", roles: "roles", scopes: "scope"},
	}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	if audience != "" {
		c.audiences = append(c.audiences, audience)
	}
	if issuer == "" {
		c.failf("the issuer is empty: any issuer's tokens would be good")
	}
	if len(c.audiences) == 0 && len(c.parties) == 0 {
		c.failf("the audience is empty, and there are no authorized parties: tokens for any service would be good")
	}
	return c
}

// named are names for an option, of which each must be one.
func (c *config) named(option string, names []string) []string {
	if len(names) == 0 || slices.Contains(names, "") {
		c.failf("%s needs names, none of them empty", option)
	}
	return names
}

func (c *config) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("jwt: "+format, args...))
}

// WithIssuers accepts tokens of these issuers too, where one set of keys is that of several, or
// an issuer goes by several names. No names, or an empty one, makes [New] fail.
func WithIssuers(issuers ...string) Option {
	issuers = slices.Clone(issuers)
	return optionFunc(func(c *config) { c.issuers = append(c.issuers[:1:1], c.named("WithIssuers", issuers)...) })
}

// WithAudiences accepts tokens for these audiences too: one of all of them must be in a token's
// aud. No names, or an empty one, makes [New] fail.
func WithAudiences(audiences ...string) Option {
	audiences = slices.Clone(audiences)
	return optionFunc(func(c *config) { c.audiences = slices.Clone(c.named("WithAudiences", audiences)) })
}

// WithAuthorizedParties accepts only tokens whose azp is one of these: the party that the
// token was issued to. It is for issuers whose tokens have no aud, such as Clerk, where
// it is the origin of the application: the audience that [New] is told may then be empty, and
// aud is not looked at. With an audience both must be right. By default azp is not looked at.
// No names, or an empty one, makes [New] fail.
func WithAuthorizedParties(parties ...string) Option {
	parties = slices.Clone(parties)
	return optionFunc(func(c *config) { c.parties = c.named("WithAuthorizedParties", parties) })
}

// WithTypes accepts only tokens whose typ is one of these, in any case, "application/" in front
// or not; an empty one means a token without typ. By default "JWT", "at+jwt" and none, so that a
// token for something else that the issuer signs, such as "logout+jwt" or "dpop+jwt", is refused.
// Where the issuer makes its access tokens by RFC 9068, "at+jwt" alone is safest. None makes
// [New] fail.
func WithTypes(types ...string) Option {
	canonical := make([]string, 0, len(types))
	for _, kind := range types {
		canonical = append(canonical, canonicalType(kind))
	}
	return optionFunc(func(c *config) {
		c.types = canonical
		if len(canonical) == 0 {
			c.failf("WithTypes needs a type")
		}
	})
}

// WithIDTokens accepts ID tokens that have a nonce. They are for the application that a user
// signs in to, not for a service that it calls, and are refused by default: by the nonce, since
// nothing else tells them for sure.
func WithIDTokens() Option { return optionFunc(func(c *config) { c.idTokens = true }) }

// WithAlgorithms allows these signature algorithms (RFC 7518 §3.1) and no others: of
// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA and Ed25519 (RFC 9864,
// the same as EdDSA with such a key). By default RS256, PS256, ES256, EdDSA and Ed25519. Any
// other, or none, makes [New] fail.
func WithAlgorithms(names ...string) Option {
	return optionFunc(func(c *config) {
		c.algorithms = nil
		for _, name := range names {
			algorithm := jose.SignatureAlgorithm(name)
			if !slices.Contains(asymmetric, algorithm) {
				c.failf("WithAlgorithms: %q is not one of %v", name, asymmetric)
			}
			c.algorithms = append(c.algorithms, algorithm)
		}
		if len(names) == 0 {
			c.failf("WithAlgorithms needs an algorithm")
		}
	})
}

// WithLeeway is by how much the clock of the issuer may be ahead when it says since when
// a token is good (nbf, iat). An expiry is not extended by it. By default 30 s. A negative
// one, or one of more than 5 minutes, makes [New] fail.
func WithLeeway(leeway time.Duration) Option {
	return optionFunc(func(c *config) {
		c.leeway = leeway
		if leeway < 0 || leeway > maxLeeway {
			c.failf("WithLeeway: want 0 to %v, got %v", maxLeeway, leeway)
		}
	})
}

// WithMaxAge is the age from which the keys are fetched again; a key that the issuer has
// withdrawn is good for no longer than that, or twice that when the keys cannot be fetched.
// By default an hour. One of less than a minute makes [New] fail.
func WithMaxAge(age time.Duration) Option {
	return optionFunc(func(c *config) {
		c.maxAge = age
		if age < time.Minute {
			c.failf("WithMaxAge: want a minute or more, got %v", age)
		}
	})
}

// WithTimeout bounds one fetch of the keys, and one of where they are. By default 5 s. One that is not positive makes
// [New] fail.
func WithTimeout(timeout time.Duration) Option {
	return optionFunc(func(c *config) {
		c.timeout = timeout
		if timeout <= 0 {
			c.failf("WithTimeout: the timeout must be positive, got %v", timeout)
		}
	})
}

// WithHTTPClient fetches the keys with a copy of client, which follows no redirect and
// keeps no cookies whatever client does. By default, and for nil, a client of its own with
// the proxy of the environment.
func WithHTTPClient(client *http.Client) Option {
	return optionFunc(func(c *config) { c.client = client })
}

// WithSubjectClaim is the path of the claim that is the Subject. By default "sub". An
// empty path makes [New] fail.
func WithSubjectClaim(path string) Option {
	return optionFunc(func(c *config) {
		c.paths.subject = path
		if path == "" {
			c.failf("WithSubjectClaim needs a path")
		}
	})
}

// WithNameClaim is the path of the claim that is the Name. By default "name". With an
// empty path there is no Name.
func WithNameClaim(path string) Option { return optionFunc(func(c *config) { c.paths.name = path }) }

// WithRolesClaim is the path of the claim that holds the Roles: an array of strings, or
// one string, which is one role. By default "roles"; Keycloak's are at
// "realm_access.roles". With an empty path there are no Roles.
func WithRolesClaim(path string) Option { return optionFunc(func(c *config) { c.paths.roles = path }) }

// WithScopesClaim is the path of the claim that holds the Scopes: a string in which spaces
// separate them (RFC 8693 §4.2), or an array of strings. By default "scope". With an
// empty path there are no Scopes.
func WithScopesClaim(path string) Option {
	return optionFunc(func(c *config) { c.paths.scopes = path })
}

// WithClaims keeps these claims, by their names at the top of the token, in the Claims of
// the AuthContext. By default none is kept.
func WithClaims(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) { c.claims = names })
}
