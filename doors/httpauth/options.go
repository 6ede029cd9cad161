package httpauth

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/authz"
)

// Option configures a [Middleware] or a [ForwardAuth]. A nil Option is ignored. One that
// is not valid makes the constructor fail.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	skip      []string
	methods   map[string]string
	rules     *authz.Authorizer
	realm     string
	forwarded bool
	claims    []string
	secrets   []string
	ofForward []string // the options for ForwardAuth alone that were given
	errs      []error
}

func newConfig(opts []Option) config {
	c := config{realm: "session"}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	if c.rules != nil && len(c.methods) == 0 {
		c.errs = append(c.errs, errors.New("httpauth: WithAuthorizer needs WithMethods: its rules are about methods"))
	}
	return c
}

// WithSkipPatterns lets requests through without a look at their credentials that match one
// of these patterns, written as [net/http.ServeMux] has them: "GET /healthz", "/static/",
// "/{$}". Their handlers find no identity, and no x-auth-* headers either. By default none is
// skipped. A pattern with a host makes the constructor fail, as the client chooses that.
//
// A path that can be read in two ways is not skipped: one with dot segments, with parameters or without, empty
// segments or backslashes, however they are encoded, once or twice.
func WithSkipPatterns(patterns ...string) Option {
	patterns = slices.Clone(patterns)
	return optionFunc(func(c *config) { c.skip = slices.Concat(c.skip, patterns) })
}

// WithMethods says which gRPC method a request stands for: methods has, by patterns as of
// [net/http.ServeMux], names such as "notes.v1.NotesService/GetNote". What is said about a method is then true
// of the request: interceptor.WithSkipMethods, and the rules of [WithAuthorizer]. The method
// need not exist: "web.Admin/Show" is a name for a page that rules can name. The
// pattern that is most specific counts. It may be given more than once.
func WithMethods(methods map[string]string) Option {
	methods = maps.Clone(methods)
	return optionFunc(func(c *config) {
		if c.methods == nil {
			c.methods = map[string]string{}
		}
		for pattern, name := range methods {
			if _, twice := c.methods[pattern]; twice {
				c.errs = append(c.errs, fmt.Errorf("httpauth: WithMethods: %q is given twice", pattern))
			}
			c.methods[pattern] = name
		}
	})
}

// WithAuthorizer has rules decide about each request, by the method that it stands for
// according to [WithMethods], which must be given. A request that stands for none is denied. A
// response that lasts is decided about again each time its session is verified again. By
// default every request with a session passes.
func WithAuthorizer(rules *authz.Authorizer) Option {
	return optionFunc(func(c *config) {
		c.rules = rules
		if rules == nil {
			c.errs = append(c.errs, errors.New("httpauth: WithAuthorizer: no Authorizer: leave it out if every session may do everything"))
		}
	})
}

// WithRealm names the realm in WWW-Authenticate (RFC 9110 §11.5). By default "session".
// It must be printable ASCII without quotes and backslashes.
func WithRealm(realm string) Option {
	return optionFunc(func(c *config) {
		c.realm = realm
		if strings.ContainsFunc(realm, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
			c.errs = append(c.errs, errors.New("httpauth: WithRealm: want printable ASCII without quotes and backslashes"))
		}
	})
}

// WithForwardedRequest says that the proxy in front of a [ForwardAuth] writes the method and
// the path of the request in question into X-Forwarded-Method and X-Forwarded-Uri, and
// replaces what a client sends under these names. [WithSkipPatterns] and [WithMethods] need
// that; without it they are refused, since a client could write them. A question that lacks one of the
// two, or has it twice, is denied.
func WithForwardedRequest() Option {
	return forForward("WithForwardedRequest", func(c *config) { c.forwarded = true })
}

// WithClaims names the claims that a [ForwardAuth] tells; see authcontext.EncodeHeader. By
// default none.
func WithClaims(names ...string) Option {
	names = slices.Clone(names)
	return forForward("WithClaims", func(c *config) { c.claims = slices.Concat(c.claims, names) })
}

// WithGatewaySecrets lets only those ask a [ForwardAuth] that send one of these secrets in the
// header X-Gateway-Secret; they get it back with the identity, for the service behind, which knows
// it by interceptor.WithSharedSecrets. A secret is as described there. By default anybody may ask.
func WithGatewaySecrets(secrets ...string) Option {
	secrets = slices.Clone(secrets)
	return forForward("WithGatewaySecrets", func(c *config) {
		c.secrets = slices.Concat(c.secrets, secrets)
		if len(secrets) == 0 {
			c.errs = append(c.errs, errors.New("httpauth: WithGatewaySecrets: no secret"))
		}
	})
}

func forForward(name string, f func(*config)) Option {
	return optionFunc(func(c *config) {
		c.ofForward = append(c.ofForward, name)
		f(c)
	})
}
