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
}

type config struct {
	algorithms []jose.SignatureAlgorithm
	leeway     time.Duration
	maxAge     time.Duration
	timeout    time.Duration
	client     *http.Client
	paths      paths
	claims     []string
	errs       []error
}

func newConfig(opts []Option) config {
	c := config{
		algorithms: []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA},
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
	return c
}

func (c *config) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("jwt: "+format, args...))
}

// WithAlgorithms allows these signature algorithms (RFC 7518 §3.1) and no others: of
// RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 and EdDSA. By default
// RS256, PS256, ES256 and EdDSA. Any other, or none, makes [New] fail.
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

// WithTimeout bounds one fetch of the keys. By default 5 s. One that is not positive makes
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
