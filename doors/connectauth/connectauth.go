package connectauth

import (
	"context"
	"errors"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// Authn says who calls: an [interceptor.Authenticator], or an [interceptor.GatewayAuth] with
// shared secrets, as Connect tells its interceptors nothing of certificates.
type Authn interface {
	Authenticate(ctx context.Context, header http.Header) (interceptor.Authentication, error)
	HandlerHeader(header http.Header) http.Header
	Skips(fullMethod string) bool
}

var (
	_ Authn = (*interceptor.Authenticator)(nil)
	_ Authn = (*interceptor.GatewayAuth)(nil)
)

// Option configures an interceptor. A nil Option is ignored.
type Option interface{ apply(*sessions) error }

type optionFunc func(*sessions) error

func (f optionFunc) apply(s *sessions) error { return f(s) }

// WithAuthorizer has rules decide about each call by its procedure, which is the full name of
// the method, after it was authenticated; about a stream again each time its session is verified
// again. By default every call with a session passes. Nil makes [NewInterceptor] fail.
func WithAuthorizer(rules *authz.Authorizer) Option {
	return optionFunc(func(s *sessions) error {
		if s.rules = rules; rules == nil {
			return errors.New("connectauth: WithAuthorizer: no Authorizer: leave it out if every session may do everything")
		}
		return nil
	})
}

// sessions is the interceptor.
type sessions struct {
	authn Authn
	rules *authz.Authorizer // nil: all may do everything
}

var _ connect.Interceptor = (*sessions)(nil)

// NewInterceptor returns the interceptor for handlers, for connect.WithInterceptors; it does
// nothing in a client. Handlers find the identity, with the session, by authcontext.FromContext
// and its like, and see neither x-auth-* headers nor the secret of a GatewayAuth. What a
// verification handed back with interceptor.SetResponseHeader is in the header of the response, that of a refusal
// included. interceptor.WithSkipMethods and interceptor.WithOptionalAuth hold as they do for gRPC.
//
// A call is refused as one of gRPC is, with the same code, message and details, in the protocol
// that the client speaks. A stream, unless interceptor.WithUnboundedStreams was given, ends with its session as
// interceptor.Authenticator.StreamServerInterceptor describes. Over HTTP/1.1, where Connect reads what a client
// still sends before it lets go, the end may reach the handler long before it reaches a client that
// is silent: bound that with http.Server.ReadTimeout.
//
// The error names every option that is not valid.
func NewInterceptor(authn Authn, opts ...Option) (connect.Interceptor, error) {
	s := &sessions{authn: authn}
	var errs []error
	switch a := authn.(type) {
	case nil:
		errs = append(errs, errNoAuthenticator)
	case *interceptor.Authenticator:
		if a == nil {
			errs = append(errs, errNoAuthenticator)
		}
	case *interceptor.GatewayAuth:
		if a == nil {
			errs = append(errs, errNoAuthenticator)
		}
	}
	for _, opt := range opts {
		if opt != nil {
			errs = append(errs, opt.apply(s))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

var errNoAuthenticator = errors.New("connectauth: no Authenticator")

// WrapUnary implements [connect.Interceptor].
func (s *sessions) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		spec := request.Spec()
		if spec.IsClient {
			return next(ctx, request)
		}
		session, back, err := s.admit(ctx, spec, request.Peer(), request.Header())
		if info, ok := connect.CallInfoForHandlerContext(ctx); ok && len(back) > 0 {
			relay(info.ResponseHeader(), back)
			if request.HTTPMethod() == http.MethodGet && back["Set-Cookie"] != nil {
				info.ResponseHeader().Add("Cache-Control", "private") // whatever its handler thinks of shared caches, of an error, too
			}
		}
		if err != nil {
			return nil, wireError(err)
		}
		defer session.Close() //nolint:errcheck // it was not watched
		ctx = session.NewContext(ctx)
		if s.rules != nil {
			if err := s.rules.Authorize(ctx, spec.Procedure); err != nil {
				return nil, wireError(err)
			}
		}
		return next(ctx, request)
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (*sessions) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements [connect.Interceptor].
func (s *sessions) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		spec := conn.Spec()
		session, back, err := s.admit(ctx, spec, conn.Peer(), conn.RequestHeader())
		relay(conn.ResponseHeader(), back)
		if err != nil {
			return wireError(err)
		}
		info := &grpc.StreamServerInfo{
			FullMethod:     spec.Procedure,
			IsClientStream: spec.StreamType&connect.StreamTypeClient != 0, IsServerStream: spec.StreamType&connect.StreamTypeServer != 0,
		}
		return wireError(session.ServeStream(ctx, nil, messages{ctx, conn}, info, func(_ any, stream grpc.ServerStream) error { //nolint:contextcheck // the stream's
			ctx := stream.Context()
			if s.rules != nil {
				stop, err := s.rules.AuthorizeStream(ctx, spec.Procedure)
				if err != nil {
					return err
				}
				defer stop()
			}
			return own(next(ctx, bound{conn, stream}))
		}))
	}
}

// admit authenticates a call and hides from its handler what that must not see. It returns the
// session, nil for nobody, and what the callbacks handed back.
func (s *sessions) admit(
	ctx context.Context, spec connect.Spec, from connect.Peer, header http.Header,
) (*interceptor.Session, http.Header, error) {
	defer s.hide(header)
	if s.authn.Skips(spec.Procedure) {
		return nil, nil, nil
	}
	if _, known := peer.FromContext(ctx); !known {
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: address(from.Addr)})
	}
	found, err := s.authn.Authenticate(ctx, header)
	if err != nil {
		return nil, found.ResponseHeader, err
	}
	return found.Session, found.ResponseHeader, nil
}

// hide removes what handlers must not see: Connect hands out this very header.
func (s *sessions) hide(header http.Header) {
	seen := s.authn.HandlerHeader(header)
	if len(seen) == len(header) {
		return
	}
	for name := range header {
		if _, ok := seen[name]; !ok {
			delete(header, name)
		}
	}
}

// relay adds what the callbacks handed back.
func relay(to, from http.Header) {
	for name, values := range from {
		to[name] = append(to[name], values...)
	}
}

// address is where Connect says that a call comes from.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
