package clientauth

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// Forwarder carries the identity of a call's own caller on to the services that it
// calls in turn: what authcontext.FromContext finds in the context of an outgoing call
// goes along as x-auth-* metadata, for an interceptor.GatewayAuth or for Connectum's gateway
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
	secrets  secret.Set
	secret   secret.Concealed // nil: none
	required bool
	insecure bool
}

// NewForwarder returns a Forwarder. The error names every option that is not valid.
func NewForwarder(opts ...Option) (*Forwarder, error) {
	c := newConfig(opts)
	f := &Forwarder{claims: c.claims, required: c.required, insecure: c.insecure}
	var errs [2]error
	if f.secrets, errs[0] = secret.New("WithSharedSecret", c.header, c.secrets); errs[0] != nil {
		errs[0] = fmt.Errorf("clientauth: %w", errs[0])
	}
	if slices.Contains(c.claims, "") {
		errs[1] = errors.New("clientauth: WithForwardedClaims: an empty name")
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if len(c.secrets) > 0 {
		f.secret = secret.Conceal(c.secrets[0])
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
			telemetry.RecordException(ctx, redact.Exception(err, nil))
			return nil, nil, &failed{refusal.IdentityNotForwarded, err}
		}
		told = encoded
	case f.required:
		return nil, nil, refusal.MissingCredentials
	}
	if f.secret != nil {
		told[f.secrets.Header] = f.secret()
	}
	ctx, opts = attach(ctx, opts, &identityHeader{told, f.insecure}, f.replaces)
	return ctx, opts, nil
}

// replaces reports whether nobody but the Forwarder may send a key.
func (f *Forwarder) replaces(key string) bool {
	return headername.IsIdentity(key) || f.secrets.IsHeader(key)
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
