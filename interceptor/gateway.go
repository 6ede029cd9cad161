package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/peers"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// GatewayAuth believes the identities that trusted callers tell in x-auth-* metadata:
// a gateway that has authenticated the user, or another service that carries its
// caller's identity onward with a [Forwarder]. It is made by [NewGatewayAuth], is safe
// for concurrent use, and needs no closing.
type GatewayAuth struct {
	front

	secrets     secret.Set
	peers       peers.Set
	unbounded   bool // streams outlive their identities
	instruments *telemetry.Instruments
}

// NewGatewayAuth returns a GatewayAuth that trusts whom [WithSharedSecrets] and
// [WithTrustedPeers] say, of which there must be at least one; a caller need only pass
// one of them. Nothing else makes a caller trusted: no address, and no header that
// tells one. The error names every option that is not valid.
//
// Every call must come from a trusted caller and carry an identity as
// authcontext.EncodeHeader writes it, which is how Connectum does. Refused, all with
// Unauthenticated, are any other caller, with UNTRUSTED_CALLER, whatever else it
// sends; an identity that cannot be read whole and in one way only, with
// MALFORMED_IDENTITY; one that has expired, with SESSION_EXPIRED; and a call without
// one, with MISSING_CREDENTIALS, unless [WithOptionalAuth] is given.
//
// Handlers find the identity with authcontext.FromContext, its Type being
// authcontext.TypeGateway if the caller named none, and see neither x-auth-* metadata
// nor the secret. Do not chain it behind an [Authenticator], which hides that metadata
// from whatever runs after it.
func NewGatewayAuth(opts ...GatewayOption) (*GatewayAuth, error) {
	c := newGatewayConfig(opts)
	g := &GatewayAuth{unbounded: c.unbounded}
	g.optional = c.optional
	var errs [5]error
	if !c.trusting {
		errs[0] = errors.New("interceptor: NewGatewayAuth needs WithSharedSecrets or WithTrustedPeers")
	}
	if g.secrets, errs[1] = secret.New("WithSharedSecrets", c.header, c.secrets); errs[1] != nil {
		errs[1] = prefixed(errs[1])
	}
	if g.peers, errs[2] = peers.New(c.peers...); errs[2] != nil {
		errs[2] = prefixed(errs[2])
	}
	if g.skip, errs[3] = method.NewSet(c.skip); errs[3] != nil {
		errs[3] = prefixed(errs[3])
	}
	g.instruments, errs[4] = telemetry.New(c.tracers, c.meters)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return g, nil
}

// ServerOptions returns both interceptors, so that neither is forgotten, as
// options for grpc.NewServer. They run after those of options that come before.
func (g *GatewayAuth) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(g.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(g.StreamServerInterceptor()),
	}
}

// UnaryServerInterceptor returns the interceptor for unary calls. Use it together with
// [GatewayAuth.StreamServerInterceptor], or streams are open to anyone.
func (g *GatewayAuth) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	g.installed.unary.Store(true)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, id, err := g.admit(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		if id != nil {
			ctx = id.NewContext(ctx)
		}
		return handler(ctx, req)
	}
}

// StreamServerInterceptor returns the interceptor for streams of all kinds. It
// authenticates before the handler runs; the client of a stream that is refused
// learns of it from its first Recv. A stream ends with SESSION_EXPIRED when the time in
// x-auth-expires-at passes, unless [WithUnboundedStreams] is given, in the way that
// [Authenticator.StreamServerInterceptor] tells.
func (g *GatewayAuth) StreamServerInterceptor() grpc.StreamServerInterceptor {
	g.installed.stream.Store(true)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, id, err := g.admit(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		if id == nil || g.unbounded || id.AuthContext().ExpiresAt.IsZero() {
			return serveUnbound(ctx, id, srv, stream, handler)
		}
		ctx, w := watchExpiry(ctx, id)
		return w.serve(ctx, srv, stream, info, handler)
	}
}

// Authenticate is what the interceptors do, for a request that has not come by gRPC;
// it knows no skipped methods. header is not modified or retained. A peer is trusted by
// the peer.Peer that ctx carries, which for a request of net/http has to be put there:
// its AuthInfo is a credentials.TLSInfo of the request's TLS state.
//
// The identity, which must not be modified, is nil with a nil error only with
// [WithOptionalAuth], when header carries none.
func (g *GatewayAuth) Authenticate(ctx context.Context, header http.Header) (*authcontext.AuthContext, error) {
	id, err := g.authenticate(ctx, header)
	if id == nil {
		return nil, err
	}
	return id.AuthContext(), nil
}

// Format implements [fmt.Formatter]: a fixed text, since the secrets are in here.
func (*GatewayAuth) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("GatewayAuth")) }

// admit lets a call pass or not. It returns the context for its handler, without the
// identity, which is nil for a call that needs none.
func (g *GatewayAuth) admit(ctx context.Context, fullMethod string) (context.Context, *identity, error) {
	md := incomingMetadata(ctx) // its keys may be in any case, if another interceptor made it
	visible := withoutIncoming(ctx, md, g.hides)
	if g.skip.Match(fullMethod) {
		return visible, nil, nil
	}
	id, err := g.authenticate(ctx, md)
	return visible, id, err
}

// hides reports whether handlers must not see a key.
func (g *GatewayAuth) hides(key string) bool {
	return headername.IsIdentity(key) || g.secrets.IsHeader(key)
}

func (g *GatewayAuth) authenticate(ctx context.Context, header map[string][]string) (*identity, error) {
	ac, result, refused := g.decide(ctx, header)
	if refused != nil {
		g.instruments.Record(ctx, result, refused.Type, trace.SpanContext{})
		return nil, refused
	}
	g.instruments.Record(ctx, result, telemetry.NoError, trace.SpanContext{})
	if ac == nil {
		return nil, nil //nolint:nilnil // nobody, and that is fine
	}
	return &identity{Identity: authcontext.NewIdentity(ac, nil)}, nil
}

// decide is authenticate with how the answer was come by.
func (g *GatewayAuth) decide(ctx context.Context, header map[string][]string) (*authcontext.AuthContext, telemetry.Result, *refusal.Refusal) {
	if !g.secrets.Told(header) && !g.peers.Called(ctx) {
		return nil, telemetry.Rejected, refusal.UntrustedCaller
	}
	ac, err := authcontext.DecodeHeader(header)
	switch {
	case errors.Is(err, authcontext.ErrNoIdentity) && g.optional:
		return nil, telemetry.Anonymous, nil
	case errors.Is(err, authcontext.ErrNoIdentity):
		return nil, telemetry.Rejected, refusal.MissingCredentials
	case errors.Is(err, authcontext.ErrExpired):
		return nil, telemetry.Rejected, refusal.SessionExpired
	case err != nil:
		telemetry.RecordException(ctx, redact.Exception(err, nil))
		return nil, telemetry.Rejected, refusal.MalformedIdentity
	}
	if ac.Type == "" {
		ac.Type = authcontext.TypeGateway
	}
	return ac, telemetry.Verified, nil
}

// withoutIncoming returns ctx with those of its metadata, md, that are not hidden.
func withoutIncoming(ctx context.Context, md grpcmd.MD, hidden func(key string) bool) context.Context {
	kept := make(grpcmd.MD, len(md))
	for key, values := range md {
		if !hidden(key) {
			kept[key] = values
		}
	}
	if len(kept) == len(md) {
		return ctx
	}
	return grpcmd.NewIncomingContext(ctx, kept)
}

// prefixed puts the package's name before each line of an error of another's.
func prefixed(err error) error {
	var errs []error
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, errors.New("interceptor: "+strings.TrimSuffix(line, "\n")))
	}
	return errors.Join(errs...)
}
