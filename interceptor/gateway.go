package interceptor

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/peers"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// GatewayAuth believes the identities that trusted callers tell in x-auth-* metadata:
// a gateway that has authenticated the user, or another service that carries its
// caller's identity onward with a clientauth.Forwarder. It is made by [NewGatewayAuth], is
// safe for concurrent use, and needs no closing.
type GatewayAuth struct {
	guard

	peers peers.Set
}

// NewGatewayAuth returns a GatewayAuth that trusts whom [WithSharedSecrets],
// [WithTrustedPeers] and [WithTrustedPeersOf] say, of which there must be at least one; a
// caller need only pass one of them. Nothing else makes a caller trusted: no address, and no header that
// tells one. The error names every option that is not valid.
//
// Every call must come from a trusted caller and carry an identity as
// authcontext.EncodeHeader writes it, as Connectum does; see docs/connectum.md. Refused, all with
// Unauthenticated, are any other caller, with UNTRUSTED_CALLER, whatever else it
// sends; an identity that cannot be read whole and in one way only, with
// MALFORMED_IDENTITY; one that has expired, with SESSION_EXPIRED; and a call without
// one, with MISSING_CREDENTIALS, unless [WithOptionalAuth] is given.
//
// Handlers find the identity with authcontext.FromContext, its Type being
// authcontext.TypeGateway if the caller named none, and see neither x-auth-* metadata
// nor the secret. A stream ends with SESSION_EXPIRED when the time in x-auth-expires-at
// passes. Do not chain it behind an [Authenticator], which hides that metadata
// from whatever runs after it.
func NewGatewayAuth(opts ...Option) (*GatewayAuth, error) {
	g := &GatewayAuth{}
	c := newConfig(opts)
	errs := []error{misplaced(c.ofSession, "NewGatewayAuth", "NewSessionAuth")}
	if !c.trusting {
		errs = append(errs, errors.New("interceptor: NewGatewayAuth needs WithSharedSecrets or WithTrustedPeers"))
	}
	errs = append(errs, g.init(c, "GatewayAuth", g))
	var err error
	if g.secret, err = secret.New("WithSharedSecrets", c.secretHeader, c.secrets); err != nil {
		errs = append(errs, prefixed("", err))
	} else {
		const separators = "-_." // any of which may stand for another
		first := g.secret.Header[:1]
		if strings.Contains(separators, first) {
			first = separators
		}
		for i := range len(first) {
			g.suspects[first[i]] = true
		}
	}
	if g.peers, err = peers.New(c.peers...); err != nil {
		errs = append(errs, prefixed("", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return g, nil
}

// Authenticate is what the interceptors do, for a request that has not come by gRPC;
// it knows no skipped methods. header is not modified or retained. A peer is trusted by
// the peer.Peer that ctx carries, which for a request of net/http has to be put there:
// its AuthInfo is a credentials.TLSInfo of the request's TLS state.
//
// The Identity is nil with a nil error only with [WithOptionalAuth], when header carries
// none.
func (g *GatewayAuth) Authenticate(ctx context.Context, header http.Header) (Authentication, error) {
	return g.authentication(ctx, header)
}

// identify implements way.
func (g *GatewayAuth) identify(ctx context.Context, r *request) (*identity, telemetry.Result, *refusal.Refusal) {
	header := r.headers.All()
	if !g.secret.Told(header) && !g.peers.Called(ctx) {
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
		g.report(ctx, refusal.MalformedIdentity, err, nil)
		return nil, telemetry.Rejected, refusal.MalformedIdentity
	}
	if ac.Type == "" {
		ac.Type = authcontext.TypeGateway
	}
	return &identity{*authcontext.NewIdentity(ac, nil), &g.here}, telemetry.Verified, nil
}

// watched implements way: nobody can be asked about the identity again.
func (*GatewayAuth) watched(context.Context, *request) (streams.Session, *refusal.Refusal) {
	return streams.Session{}, nil
}

// clock implements way.
func (*GatewayAuth) clock() uint64 { return 0 }
