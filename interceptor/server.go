package interceptor

import (
	"context"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
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
	a.installed.unary.Store(true)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		ctx, id, _, err := a.admit(ctx, info.FullMethod)
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
// learns of it from its first Recv.
//
// A stream ends with its session, unless [WithUnboundedStreams] is given: with
// SESSION_EXPIRED when ExpiresAt passes, and with what a new verification finds out
// after a Forget, or at the intervals of [WithStreamRecheck]. The handler's context
// is cancelled, with the status that the client will get as its [context.Cause], and
// its calls of SendMsg and RecvMsg fail with that status, one that waits for a silent
// client included. The client gets it as soon as the handler returns. A SendMsg that
// waits for a client to read is not cut short.
func (a *Authenticator) StreamServerInterceptor() grpc.StreamServerInterceptor {
	a.installed.stream.Store(true)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		before := a.forgotten.Load()
		ctx, id, r, err := a.admit(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		if id == nil || a.unbounded {
			return serveUnbound(ctx, id, srv, stream, handler)
		}
		again := func(ctx context.Context) (*identity, *refusal.Refusal) { return a.again(ctx, r) }
		ctx, w := startWatch(ctx, id, watched{again: again, recheck: a.recheck, streams: &a.streams, tags: a.tags(r)})
		if a.forgotten.Load() != before {
			w.wake(0) // by a Forget that did not find this stream yet
		}
		return w.serve(ctx, srv, stream, info, handler)
	}
}

// serveUnbound runs the handler of a stream that no session ends. There may be no
// identity.
func serveUnbound(ctx context.Context, id *identity, srv any, stream grpc.ServerStream, handler grpc.StreamHandler) error {
	if id != nil {
		ctx = id.NewContext(ctx)
	}
	wrapped := middleware.WrapServerStream(stream)
	wrapped.WrappedContext = ctx
	return handler(srv, wrapped)
}

// AuthFunc authenticates the call that ctx belongs to and returns a context with
// its identity. It is an auth.AuthFunc of go-grpc-middleware, for its interceptors
// and for a service's AuthFuncOverride. [WithSkipMethods] applies to it, too. A stream
// that is authenticated by it alone is verified when it starts and not again.
func (a *Authenticator) AuthFunc(ctx context.Context) (context.Context, error) {
	fullMethod, _ := grpc.Method(ctx)
	ctx, id, _, err := a.admit(ctx, fullMethod)
	if err != nil {
		return nil, err
	}
	if id != nil {
		ctx = id.NewContext(ctx)
	}
	return ctx, nil
}

// admit lets a call pass or not. It returns the context for its handler, without the
// identity, which is nil for a call that needs none.
func (a *Authenticator) admit(ctx context.Context, fullMethod string) (context.Context, *identity, *request, error) {
	ctx, call := receive(ctx)
	if a.skip.Match(fullMethod) {
		return ctx, nil, nil, nil
	}
	r := &request{call: call}
	r.headers = &r.call
	id, err := a.authenticate(ctx, r)
	if err != nil {
		return nil, nil, nil, err
	}
	return ctx, id, r, nil
}
