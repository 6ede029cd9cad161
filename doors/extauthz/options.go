package extauthz

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// Option configures a [Server]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	authorizer *authz.Authorizer
	header     string
	secrets    []string // one, or none
	claims     []string
	withheld   []string // beside those of withheldByDefault
	passed     []string // of those
	cookies    []string
	skip       []string
	ruleless   []string
	subject    bool
	errs       []error
}

func newConfig(opts []Option) config {
	c := config{header: secret.DefaultHeader}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	return c
}

func (c *config) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("extauthz: "+format, args...))
}

// WithAuthorizer has an Authorizer decide about every request whose caller is known, and
// about those of methods that the Authenticator skips, which it lets through if they are
// public. The path of a request is the method: "/pkg.Service/Method", in ASCII letters,
// digits, "_", "-" and "." alone. A path of another form is denied, unless [WithSessionPatterns]
// or [WithSkipPatterns] names it. Requests that Envoy
// transcodes from JSON have the method as their path if the filter comes after that of the
// transcoder. By default, and for nil, everybody with a session may call everything.
func WithAuthorizer(authorizer *authz.Authorizer) Option {
	return optionFunc(func(c *config) { c.authorizer = authorizer })
}

// WithSharedSecret sends a secret to the upstream with every request that is let through,
// with and without an identity, by which a GatewayAuth there knows that the identity is
// Envoy's word: see interceptor.WithSharedSecrets. By default there is none, and the upstream
// has to know Envoy by its client certificate. A secret that is not as told there makes [New]
// fail.
func WithSharedSecret(secret string) Option {
	return optionFunc(func(c *config) { c.secrets = []string{secret} })
}

// WithSecretHeader names the header that holds the shared secret, in any case. By default it
// is x-gateway-secret, as with Connectum. The client's own is always taken away. A name that
// cannot hold a secret, or that begins with x-auth-, makes [New] fail.
func WithSecretHeader(name string) Option {
	return optionFunc(func(c *config) { c.header = name })
}

// WithForwardedClaims names the claims that the upstream gets. By default it gets none, since
// frameworks like to put the session token among them. A name that an identity has no claim
// of is passed over. An empty name makes [New] fail.
func WithForwardedClaims(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) {
		c.claims = slices.Concat(c.claims, names)
		if slices.Contains(names, "") {
			c.failf("WithForwardedClaims: the name of a claim is empty")
		}
	})
}

// withheldByDefault are where clients put credentials, as for clientauth.NewForwarder.
var withheldByDefault = []string{"authorization", cookieKey, "proxy-authorization", "x-session-token"}

// WithWithheldHeaders names more headers, in any case, that the upstream does not get, with
// their aliases: those that a metadata.HeaderToken of the Authenticator reads, say. By default
// they are authorization, cookie, proxy-authorization and x-session-token. What cannot be the
// name of a header, and one that [WithPassedHeaders] names too, makes [New] fail.
func WithWithheldHeaders(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) { c.withheld = slices.Concat(c.withheld, names) })
}

// WithPassedHeaders names those of authorization, cookie, proxy-authorization and
// x-session-token that the upstream gets as the client sent them, in any case. By default it
// gets none: whoever receives a user's credential can use it anywhere in the user's name.
// Another name makes [New] fail.
func WithPassedHeaders(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) { c.passed = slices.Concat(c.passed, names) })
}

// WithPassedCookies names the cookies that the upstream gets, where it needs some that are no
// credentials. Names are case-sensitive and must match whole, prefixes such as __Host-
// included. By default it gets none. What cannot be the name of a cookie makes [New] fail, and
// so does passing the cookie header whole, which makes this meaningless.
func WithPassedCookies(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) { c.cookies = slices.Concat(c.cookies, names) })
}

// WithSkipPatterns lets requests through without a look at their credentials or rules, by
// patterns of [http.ServeMux] without a host: "/healthz", "GET /assets/". The query does not
// matter. A path that two parties could read in two ways, with "%", "\", ";", "//" or a "." or
// ".." between slashes, matches none. Methods of gRPC are better skipped by
// interceptor.WithSkipMethods, which counts here, too. By default none is skipped. A pattern
// that is not valid, or that conflicts with another, makes [New] fail.
func WithSkipPatterns(patterns ...string) Option {
	patterns = slices.Clone(patterns)
	return optionFunc(func(c *config) { c.skip = slices.Concat(c.skip, patterns) })
}

// WithSessionPatterns lets every caller with a session use paths that are no gRPC methods,
// whatever the rules of [WithAuthorizer] say, by patterns as [WithSkipPatterns] takes them. By
// default the rules decide about all. A pattern that is not valid, that conflicts with another,
// or that is given without an Authorizer makes [New] fail.
func WithSessionPatterns(patterns ...string) Option {
	patterns = slices.Clone(patterns)
	return optionFunc(func(c *config) { c.ruleless = slices.Concat(c.ruleless, patterns) })
}

// WithSubjectMetadata puts the subject of the caller into the dynamic metadata of the request,
// as "subject", where access logs and rate limits of Envoy find it. It is personal data. By
// default it is not there.
func WithSubjectMetadata() Option {
	return optionFunc(func(c *config) { c.subject = true })
}

// withholding returns the names of headers that the upstream does not get, as headername.Is
// takes them.
func (c *config) withholding() []string {
	withheld := slices.Clone(withheldByDefault)
	for _, name := range c.passed {
		plain := headername.Plain(name)
		if !slices.Contains(withheldByDefault, plain) {
			c.failf("WithPassedHeaders: %q is not withheld", name)
		}
		withheld = slices.DeleteFunc(withheld, func(other string) bool { return other == plain })
	}
	passed := slices.ContainsFunc(c.passed, func(name string) bool { return headername.Plain(name) == cookieKey })
	if passed && len(c.cookies) > 0 {
		c.failf("WithPassedCookies: the cookie header is passed whole by WithPassedHeaders")
	}
	for _, name := range c.withheld {
		plain := headername.Plain(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name) || plain == "host":
			c.failf("WithWithheldHeaders: %q is no header that can be withheld", name)
		case slices.ContainsFunc(c.passed, func(other string) bool { return headername.Plain(other) == plain }):
			c.failf("WithWithheldHeaders: %q is in WithPassedHeaders, too", name)
		case !slices.Contains(withheld, plain):
			withheld = append(withheld, plain)
		}
	}
	for _, name := range c.cookies {
		if !httpguts.ValidHeaderFieldName(name) {
			c.failf("WithPassedCookies: %q is no name of a cookie", name)
		}
	}
	return withheld
}

// matcher returns a mux whose handler for what matches patterns is matched; nil for nothing.
func (c *config) matcher(option string, patterns []string) *http.ServeMux {
	if len(patterns) == 0 {
		return nil
	}
	mux := http.NewServeMux()
	for _, pattern := range patterns {
		if err := register(mux, pattern); err != nil {
			c.failf("%s: %w", option, err)
		}
	}
	return mux
}

// register adds a pattern to a mux, which panics about a bad one.
func register(mux *http.ServeMux, pattern string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	path := pattern
	if method, rest, ok := strings.Cut(pattern, " "); ok {
		path = strings.TrimLeft(rest, " \t")
		if method == http.MethodConnect {
			return errors.New("CONNECT has no path")
		}
	}
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q: want a path that begins with a slash, with or without a method before it", pattern)
	}
	mux.Handle(pattern, matched{})
	return nil
}

// matched is the handler of all patterns. It serves nothing.
type matched struct{}

func (matched) ServeHTTP(http.ResponseWriter, *http.Request) {}
