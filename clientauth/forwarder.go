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
// An incoming call's metadata may be passed on as it is. Of it, and of whatever else the
// context of a call carries, the Forwarder takes away:
//
//   - x-auth-* metadata and what is under the name of the secret, with their aliases, also
//     out of the credentials in the options of a call: only the Forwarder sends those
//   - the caller's own credentials, which are nobody else's business: authorization,
//     cookie, proxy-authorization and x-session-token, with their aliases, and what
//     [WithWithheldHeaders] names
//
// Credentials of a connection or of a call (grpc.WithPerRPCCredentials,
// grpc.PerRPCCredentials) that set authorization, those of this package for one, are meant
// for the other side, and are sent.
//
// No other interceptor can take the identity or the secret away, wherever in the chain it
// stands and whatever credentials it sets. One that runs after the Forwarder and puts
// metadata under a name that only the Forwarder may send fails the call; what it puts into
// credentials of the call is sent as it is, and a GatewayAuth refuses what is told twice.
// So register the Forwarder last.
//
// A service that calls on its own behalf, or in the background, puts its own identity
// into the context with authcontext.NewContext.
//
// A call whose identity cannot be encoded whole fails with Internal and
// IDENTITY_NOT_FORWARDED before it is sent. The cause is on the span of the context,
// and errors.Unwrap finds it. See authcontext.EncodeHeader for what can.
type Forwarder struct {
	claims   []string
	withheld []string
	secrets  secret.Set
	secret   secret.Concealed // nil: none
	required bool
	insecure bool
}

// NewForwarder returns a Forwarder. The error names every option that is not valid.
func NewForwarder(opts ...Option) (*Forwarder, error) {
	c := newConfig(opts)
	f := &Forwarder{claims: c.claims, required: c.required, insecure: c.insecure}
	var errs [3]error
	if f.secrets, errs[0] = secret.New("WithSharedSecret", c.header, c.secrets); errs[0] != nil {
		errs[0] = fmt.Errorf("clientauth: %w", errs[0])
	}
	if slices.Contains(c.claims, "") {
		errs[1] = errors.New("clientauth: WithForwardedClaims: an empty name")
	}
	f.withheld, errs[2] = c.withholding()
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if len(c.secrets) > 0 {
		f.secret = secret.Conceal(c.secrets[0])
	}
	return f, nil
}

// DialOptions returns the options for grpc.NewClient by which every call of the
// connection goes through the Forwarder. They can stand anywhere among other options. The
// identity sent with a stream is that of when it is opened.
func (f *Forwarder) DialOptions() []grpc.DialOption {
	c := &carrier{
		sends: f.sends, withholds: f.withholds, begin: f.begin, header: f.header, contested: refusal.IdentityNotForwarded,
	}
	return c.dialOptions()
}

// Format implements [fmt.Formatter]: a fixed text, since the secret is in here.
func (*Forwarder) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte("Forwarder")) }

// sends reports whether nobody but the Forwarder may send a key.
func (f *Forwarder) sends(key string) bool {
	return headername.IsIdentity(key) || f.secrets.IsHeader(key)
}

// withholds reports whether a key is that of a credential of the call's own caller.
func (f *Forwarder) withholds(key string) bool {
	return slices.ContainsFunc(f.withheld, func(name string) bool { return headername.Is(key, name) })
}

// encodedKey is that of the encoded of one Forwarder in a context.
type encodedKey struct{ by *Forwarder }

// encoded is what a Forwarder sends for an identity.
type encoded struct {
	of     *authcontext.AuthContext // nil: nobody
	header func() map[string]string // a func, which shows nothing to those who print contexts
}

// begin encodes once for all attempts at a call, and while its span is that of ctx.
func (f *Forwarder) begin(ctx context.Context) (context.Context, error) {
	e, err := f.encode(ctx)
	if err != nil {
		return nil, err
	}
	return context.WithValue(ctx, encodedKey{f}, e), nil
}

func (f *Forwarder) encode(ctx context.Context) (*encoded, error) {
	header := map[string]string{}
	ac, ok := authcontext.FromContext(ctx)
	switch {
	case ok:
		var err error
		if header, err = authcontext.EncodeHeader(ac, f.claims...); err != nil {
			telemetry.RecordException(ctx, redact.Exception(err, nil))
			return nil, &failed{refusal.IdentityNotForwarded, err}
		}
	case f.required:
		return nil, refusal.MissingCredentials
	}
	if f.secret != nil {
		header[f.secrets.Header] = f.secret()
	}
	return &encoded{ac, func() map[string]string { return header }}, nil
}

// header returns what goes along with a call that is about to be sent. An interceptor that
// ran later may have given it another context, or another identity.
func (f *Forwarder) header(ctx context.Context) (map[string]string, error) {
	e, _ := ctx.Value(encodedKey{f}).(*encoded)
	if ac, _ := authcontext.FromContext(ctx); e == nil || e.of != ac {
		var err error
		if e, err = f.encode(ctx); err != nil {
			return nil, err
		}
	}
	header := e.header()
	if len(header) > 0 && !f.insecure {
		if err := checkSecurity(ctx); err != nil {
			return nil, err
		}
	}
	return header, nil
}
