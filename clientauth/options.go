package clientauth

import (
	"errors"
	"fmt"
	"slices"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// Option configures a [Forwarder] or [Credentials]. A nil Option is ignored. One that
// does not apply to what is made makes its constructor fail.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	insecure bool

	// Of a Forwarder alone.
	forwarding []string // the options that were given
	claims     []string
	header     string
	secrets    []string // one, or none
	required   bool
	withheld   []string // beside those of withheldByDefault
	passed     []string // of those
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

func forwarding(name string, f func(*config)) Option {
	return optionFunc(func(c *config) {
		c.forwarding = append(c.forwarding, name)
		f(c)
	})
}

// WithInsecureTransport lets identities, secrets and tokens go over connections that
// are not encrypted, where whoever is on the way can read them and use them: for tests,
// and where something underneath encrypts. By default a call over such a connection
// fails with Unauthenticated before anything is sent.
func WithInsecureTransport() Option { return optionFunc(func(c *config) { c.insecure = true }) }

// WithForwardedClaims names the claims that go along. By default none does, since
// frameworks like to put the session token among them. A name that an identity has no
// claim of is passed over. An empty name makes [NewForwarder] fail.
func WithForwardedClaims(names ...string) Option {
	names = slices.Clone(names)
	return forwarding("WithForwardedClaims", func(c *config) { c.claims = slices.Concat(c.claims, names) })
}

// WithSharedSecret sends a secret with every call, with and without an identity, by
// which a GatewayAuth on the other side knows that the caller is to be trusted: see
// interceptor.WithSharedSecrets. By default there is none, and the other side has to know
// this one by its client certificate. A secret that is not as told there makes
// [NewForwarder] fail.
func WithSharedSecret(secret string) Option {
	return forwarding("WithSharedSecret", func(c *config) { c.secrets = []string{secret} })
}

// WithSecretHeader names the header that holds the shared secret, in any case. By
// default it is x-gateway-secret, as with Connectum. A name that cannot hold one, or
// that begins with x-auth-, makes [NewForwarder] fail.
func WithSecretHeader(name string) Option {
	return forwarding("WithSecretHeader", func(c *config) { c.header = name })
}

// WithRequiredIdentity fails a call without an identity, with Unauthenticated and
// MISSING_CREDENTIALS, before it is sent. By default it is made without one.
func WithRequiredIdentity() Option {
	return forwarding("WithRequiredIdentity", func(c *config) { c.required = true })
}

// withheldByDefault are where clients put credentials of their own.
var withheldByDefault = []string{"authorization", "cookie", "proxy-authorization", "x-session-token"}

// WithWithheldHeaders names more metadata, in any case, that a Forwarder takes away from the
// calls it sees, with its aliases: where the service's own callers put a credential
// that metadata.HeaderToken reads, for example, or a proxy in front puts an access token.
// By default they are authorization, cookie, proxy-authorization and x-session-token. What
// cannot be the name of a header, and one that [WithPassedHeaders] names too, makes
// [NewForwarder] fail.
func WithWithheldHeaders(names ...string) Option {
	names = slices.Clone(names)
	return forwarding("WithWithheldHeaders", func(c *config) { c.withheld = slices.Concat(c.withheld, names) })
}

// WithPassedHeaders names those of authorization, cookie, proxy-authorization and
// x-session-token that a Forwarder leaves in the metadata of calls, in any case. By default
// it leaves none: whoever receives a user's credential can use it anywhere in the user's
// name. Where the other side needs a credential of the service itself, use a
// [Credentials] rather than this. Another name makes [NewForwarder] fail.
func WithPassedHeaders(names ...string) Option {
	names = slices.Clone(names)
	return forwarding("WithPassedHeaders", func(c *config) { c.passed = slices.Concat(c.passed, names) })
}

// withholding returns the names of headers that do not go along, as headername.Is takes them.
func (c *config) withholding() ([]string, error) {
	var errs []error
	withheld := slices.Clone(withheldByDefault)
	for _, name := range c.passed {
		plain := headername.Plain(name)
		if !slices.Contains(withheldByDefault, plain) {
			errs = append(errs, fmt.Errorf("clientauth: WithPassedHeaders: %q is not withheld", name))
		}
		withheld = slices.DeleteFunc(withheld, func(other string) bool { return other == plain })
	}
	for _, name := range c.withheld {
		plain := headername.Plain(name)
		switch {
		case !isToken(name):
			errs = append(errs, fmt.Errorf("clientauth: WithWithheldHeaders: %q is no name of a header", name))
		case slices.ContainsFunc(c.passed, func(other string) bool { return headername.Plain(other) == plain }):
			errs = append(errs, fmt.Errorf("clientauth: WithWithheldHeaders: %q is passed by WithPassedHeaders", name))
		}
		withheld = append(withheld, plain)
	}
	return withheld, errors.Join(errs...)
}

// onlyForwarding returns an error for each option that means nothing to Credentials.
func (c *config) onlyForwarding(constructor string) error {
	errs := make([]error, 0, len(c.forwarding))
	for _, name := range c.forwarding {
		errs = append(errs, fmt.Errorf("clientauth: %s: %s is for a Forwarder", constructor, name))
	}
	return errors.Join(errs...)
}
