package interceptor

import (
	"context"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"
)

// ServerOptions returns both interceptors, so that neither is forgotten, as
// options for grpc.NewServer. They run after those of options that come before.
func (a *Authenticator) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(a.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(a.StreamServerInterceptor()),
	}
}

// UnaryServerInterceptor returns the interceptor for unary calls. A handler behind
// it finds the identity with authcontext.FromContext. Use it together with
// [Authenticator.StreamServerInterceptor], or streams are open to anyone.
func (a *Authenticator) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, err := a.admit(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// StreamServerInterceptor returns the interceptor for streams of all kinds. It
// authenticates once, before the handler runs. The client of a stream that is
// refused learns of it from its first Recv.
func (a *Authenticator) StreamServerInterceptor() grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		ctx, err := a.admit(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		wrapped := middleware.WrapServerStream(stream)
		wrapped.WrappedContext = ctx
		return handler(srv, wrapped)
	}
}

// AuthFunc authenticates the call that ctx belongs to and returns a context with
// its identity. It is an auth.AuthFunc of go-grpc-middleware, for its interceptors
// and for a service's AuthFuncOverride. [WithSkipMethods] applies to it, too.
func (a *Authenticator) AuthFunc(ctx context.Context) (context.Context, error) {
	fullMethod, _ := grpc.Method(ctx)
	return a.admit(ctx, fullMethod)
}

// admit returns the context for the handler of a call.
func (a *Authenticator) admit(ctx context.Context, fullMethod string) (context.Context, error) {
	ctx, call := receive(ctx)
	if a.skip.match(fullMethod) {
		return ctx, nil
	}
	r := &request{call: call}
	r.headers = &r.call
	id, err := a.authenticate(ctx, r)
	if err != nil {
		return nil, err
	}
	if id == nil {
		return ctx, nil
	}
	return id.NewContext(ctx), nil
}
