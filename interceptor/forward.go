package interceptor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// ForwardOption configures a [Forwarder]. A nil ForwardOption is ignored.
type ForwardOption interface{ applyForward(*forwardConfig) }

type forwardFunc func(*forwardConfig)

func (f forwardFunc) applyForward(c *forwardConfig) { f(c) }

type forwardConfig struct {
	claims   []string
	header   string
	secrets  []string // one, or none
	required bool
	insecure bool
}

func (name secretHeaderOption) applyForward(c *forwardConfig) { c.header = string(name) }

// WithForwardedClaims names the claims that go along. By default none does, since
// frameworks like to put the session token among them. A name that an identity has no
// claim of is passed over. An empty name makes [NewForwarder] fail.
func WithForwardedClaims(names ...string) ForwardOption {
	names = slices.Clone(names)
	return forwardFunc(func(c *forwardConfig) { c.claims = slices.Concat(c.claims, names) })
}

// WithSharedSecret sends a secret with every call, with and without an identity, by
// which a [GatewayAuth] on the other side knows that the caller is to be trusted: see
// [WithSharedSecrets]. By default there is none, and the other side has to know this
// one by its client certificate. A secret that is not as told there makes
// [NewForwarder] fail.
func WithSharedSecret(secret string) ForwardOption {
	return forwardFunc(func(c *forwardConfig) { c.secrets = []string{secret} })
}

// WithRequiredIdentity fails a call without an identity, with Unauthenticated and
// MISSING_CREDENTIALS, before it is sent. By default it is made without one.
func WithRequiredIdentity() ForwardOption {
	return forwardFunc(func(c *forwardConfig) { c.required = true })
}

// Forwarder carries the identity of a call's own caller on to the services that it
// calls in turn: what authcontext.FromContext finds in the context of an outgoing call
// goes along as x-auth-* metadata, for a [GatewayAuth] or for Connectum's gateway
// interceptor to read. It is made by [NewForwarder], is safe for concurrent use, and
// needs no closing.
//
// No other x-auth-* metadata goes along, whatever the context or the options of the
// call hold under those names or their aliases, nor anything else under the name of
// the secret. So an incoming call's metadata may be passed on as it is. What an
// interceptor adds that runs later does go along: register the Forwarder last.
//
// A service that calls on its own behalf, or in the background, puts its own identity
// into the context with authcontext.NewContext.
//
// A call whose identity cannot be encoded whole fails with Internal and
// IDENTITY_NOT_FORWARDED before it is sent. The cause is on the span of the context,
// and errors.Unwrap finds it. See authcontext.EncodeHeader for what can.
type Forwarder struct {
	claims   []string
	secrets  secrets
	secret   concealed // nil: none
	required bool
	insecure bool
}

// NewForwarder returns a Forwarder. The error names every option that is not valid.
func NewForwarder(opts ...ForwardOption) (*Forwarder, error) {
	c := forwardConfig{header: secretHeader}
	for _, opt := range opts {
		if opt != nil {
			opt.applyForward(&c)
		}
	}
	f := &Forwarder{claims: c.claims, required: c.required, insecure: c.insecure}
	var errs [2]error
	f.secrets, errs[0] = parseSecrets("WithSharedSecret", c.header, c.secrets)
	if slices.Contains(c.claims, "") {
		errs[1] = errors.New("interceptor: WithForwardedClaims: an empty name")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if len(c.secrets) > 0 {
		f.secret = conceal(c.secrets[0])
	}
	return f, nil
}

// DialOptions returns both interceptors, so that neither is forgotten, as options for
// grpc.NewClient.
func (f *Forwarder) DialOptions() []grpc.DialOption { return prepareFunc(f.prepare).dialOptions() }

// UnaryClientInterceptor returns the interceptor for unary calls.
func (f *Forwarder) UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return prepareFunc(f.prepare).unary
}

// StreamClientInterceptor returns the interceptor for streams of all kinds. The
// identity is that of when the stream is opened.
func (f *Forwarder) StreamClientInterceptor() grpc.StreamClientInterceptor {
	return prepareFunc(f.prepare).stream
}

// Format implements [fmt.Formatter]: a fixed text, since the secret is in here.
func (*Forwarder) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte("Forwarder")) }

func (f *Forwarder) prepare(ctx context.Context, opts []grpc.CallOption) (context.Context, []grpc.CallOption, error) {
	told := map[string]string{}
	switch ac, ok := authcontext.FromContext(ctx); {
	case ok:
		encoded, err := authcontext.EncodeHeader(ac, f.claims...)
		if err != nil {
			telemetry.RecordException(ctx, exception(err, nil))
			return nil, nil, &clientFailure{identityNotForwarded, err}
		}
		told = encoded
	case f.required:
		return nil, nil, missingCredentials
	}
	if f.secret != nil {
		told[f.secrets.header] = f.secret()
	}
	ctx, opts = attach(ctx, opts, &identityHeader{told, f.insecure}, f.replaces)
	return ctx, opts, nil
}

// replaces reports whether nobody but the Forwarder may send a key.
func (f *Forwarder) replaces(key string) bool {
	return isIdentityHeader(key) || f.secrets.isHeader(key)
}

// identityHeader is what a Forwarder puts on a call. It is shared by the attempts at it
// and not modified.
type identityHeader struct {
	header   map[string]string
	insecure bool
}

func (h *identityHeader) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return h.header, nil
}

// RequireTransportSecurity is false when there is nothing to protect, too.
func (h *identityHeader) RequireTransportSecurity() bool { return !h.insecure && len(h.header) > 0 }
