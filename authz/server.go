package authz

import (
	"context"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/probe"
)

// ServerOptions returns both interceptors, so that neither is forgotten, as options
// for grpc.NewServer. They run after those of options that come before: give it after
// the options of the Authenticator.
func (a *Authorizer) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(a.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(a.StreamServerInterceptor()),
	}
}

// UnaryServerInterceptor returns the interceptor for unary calls. It must run after
// one that authenticates. Use it together with [Authorizer.StreamServerInterceptor], or
// any stream is open to every caller with a session.
func (a *Authorizer) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	a.installed.unary.Store(true)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if p := probe.From(ctx); p != nil {
			if err := p.Meet(a); err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}
		if err := a.Authorize(ctx, info.FullMethod); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// StreamServerInterceptor returns the interceptor for streams of all kinds. A stream is
// authorized before its handler runs; its client learns of a refusal from its first Recv.
//
// It is authorized again each time its session is verified again, as after a Forget or
// at the intervals of interceptor.WithStreamRecheck, with the identity that was found then.
// What refuses it ends it: the client gets PermissionDenied "access denied", or what came of
// the func of [WithAuthorize].
func (a *Authorizer) StreamServerInterceptor() grpc.StreamServerInterceptor {
	a.installed.stream.Store(true)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if p := probe.From(stream.Context()); p != nil {
			if err := p.Meet(a); err != nil {
				return err
			}
			return handler(srv, stream)
		}
		stop, err := a.AuthorizeStream(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		defer stop()
		return handler(srv, stream)
	}
}

// AuthorizeStream is [Authorizer.Authorize] for what lasts, a stream or a response that is
// sent piece by piece: it is decided again with each identity that ctx comes to carry, until
// stop is called, and what refuses it then ends the session's watch; see
// authcontext.OnRenewal. stop is nil with an error. Of a ctx whose identity does not change
// it is decided once.
func (a *Authorizer) AuthorizeStream(ctx context.Context, fullMethod string) (stop func(), err error) {
	// Registered first, or a renewal that comes meanwhile would be missed.
	stop, _ = authcontext.OnRenewal(ctx, func(*authcontext.AuthContext) error {
		return a.decide(ctx, &decision{fullMethod: fullMethod, again: true}) // ctx carries the new one by now
	})
	if err := a.Authorize(ctx, fullMethod); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}
