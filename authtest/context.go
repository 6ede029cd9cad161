package authtest

import (
	"cmp"
	"context"
	"net/http"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	gatewaysecret "github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// Subject is that of an identity which a test gave none.
const Subject = "test-user"

// NewContext returns a context in which a handler finds a copy of ac, as it would behind
// an Authenticator. An empty Subject becomes [Subject], an empty Type
// authcontext.TypeSession.
func NewContext(ctx context.Context, ac authcontext.AuthContext) context.Context {
	return authcontext.NewContext(ctx, complete(ac))
}

// NewSessionContext is [NewContext] with a session, which a handler finds with
// authcontext.SessionFromContext.
func NewSessionContext[S any](ctx context.Context, ac authcontext.AuthContext, session S) context.Context {
	return authcontext.NewIdentity(complete(ac), session).NewContext(ctx)
}

func complete(ac authcontext.AuthContext) *authcontext.AuthContext {
	clone := ac.Clone()
	clone.Subject = cmp.Or(clone.Subject, Subject)
	clone.Type = cmp.Or(clone.Type, authcontext.TypeSession)
	return clone
}

// WithBearer returns the context of a call that a client makes with a bearer token, in
// place of any other.
func WithBearer(ctx context.Context, token string) context.Context {
	md, _ := grpcmd.FromOutgoingContext(ctx)
	md = grpcmd.Join(md)
	md.Set("authorization", "Bearer "+token)
	return grpcmd.NewOutgoingContext(ctx, md)
}

// WithCookie returns the context of a call that a client makes with a cookie, besides
// those that it has. The value is sent as it is, in quotes if it holds a space or a comma.
func WithCookie(ctx context.Context, name, value string) context.Context {
	cookie := http.Cookie{Name: name, Value: value} //nolint:gosec // one that a client sends has no attributes
	return grpcmd.AppendToOutgoingContext(ctx, "cookie", cookie.String())
}

// WithIdentity returns the context of a call that a gateway makes on behalf of ac, in
// place of any other identity: with the headers that interceptor.GatewayAuth believes, of
// its claims those with the given names, and secret in the header x-gateway-secret, unless
// it is empty. An empty Subject becomes [Subject]. What the headers cannot hold fails the
// test.
func WithIdentity(ctx context.Context, tb TB, secret string, ac authcontext.AuthContext, claims ...string) context.Context {
	tb.Helper()
	ac.Subject = cmp.Or(ac.Subject, Subject)
	identity, err := authcontext.EncodeHeader(&ac, claims...)
	if err != nil {
		tb.Fatalf("authtest: %v", err)
	}
	md, _ := grpcmd.FromOutgoingContext(ctx)
	md = grpcmd.Join(md)
	for key := range md {
		if headername.IsIdentity(key) {
			delete(md, key)
		}
	}
	for key, value := range identity {
		md.Set(key, value)
	}
	if secret != "" {
		md.Set(gatewaysecret.DefaultHeader, secret)
	}
	return grpcmd.NewOutgoingContext(ctx, md)
}
