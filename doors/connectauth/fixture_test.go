package connectauth_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/connectauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	unary  = grpc_testing.TestService_UnaryCall_FullMethodName
	output = grpc_testing.TestService_StreamingOutputCall_FullMethodName
	input  = grpc_testing.TestService_StreamingInputCall_FullMethodName
	duplex = grpc_testing.TestService_FullDuplexCall_FullMethodName

	// patience is how long a test waits for what must happen.
	patience = 20 * time.Second
)

// ended is what a stream's handler found when it was released.
type ended struct{ cause, err error }

// service is the handlers of a test.
type service struct {
	seen  func(ctx context.Context, header http.Header) // nil: nobody looks
	ended chan ended
}

func newService() *service { return &service{ended: make(chan ended, 8)} }

func subject(ctx context.Context) string {
	if ac, ok := authcontext.FromContext(ctx); ok {
		return ac.Subject
	}
	return "nobody"
}

func (s *service) look(ctx context.Context, header http.Header) {
	if s.seen != nil {
		s.seen(ctx, header)
	}
}

func (s *service) unary(ctx context.Context, r *connect.Request[grpc_testing.SimpleRequest]) (*connect.Response[grpc_testing.SimpleResponse], error) {
	s.look(ctx, r.Header())
	response := connect.NewResponse(&grpc_testing.SimpleResponse{Username: subject(ctx)})
	response.Header().Set("Cache-Control", "public")
	return response, nil
}

func who(ctx context.Context) *grpc_testing.StreamingOutputCallResponse {
	return &grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: []byte(subject(ctx))}}
}

// output sends one message and waits for the end.
func (s *service) output(
	ctx context.Context, r *connect.Request[grpc_testing.StreamingOutputCallRequest], stream *connect.ServerStream[grpc_testing.StreamingOutputCallResponse],
) error {
	s.look(ctx, r.Header())
	if err := stream.Send(who(ctx)); err != nil {
		return err
	}
	if r.Msg.GetResponseType() == grpc_testing.PayloadType_COMPRESSABLE && len(r.Msg.GetResponseParameters()) == 0 {
		return nil // it has not been asked for more
	}
	<-ctx.Done()
	s.ended <- ended{context.Cause(ctx), stream.Send(who(ctx))}
	return nil
}

// duplex answers each message, as input does at the end, and tells how it ended.
func (s *service) duplex(ctx context.Context, stream *connect.BidiStream[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse]) error {
	s.look(ctx, stream.RequestHeader())
	for {
		if _, err := stream.Receive(); err != nil {
			s.ended <- ended{context.Cause(ctx), err}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := stream.Send(who(ctx)); err != nil {
			return err
		}
	}
}

func (s *service) input(ctx context.Context, stream *connect.ClientStream[grpc_testing.StreamingInputCallRequest]) (*connect.Response[grpc_testing.StreamingInputCallResponse], error) {
	s.look(ctx, stream.RequestHeader())
	n := int32(0)
	for stream.Receive() {
		n++
	}
	s.ended <- ended{context.Cause(ctx), stream.Err()}
	return connect.NewResponse(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: n}), stream.Err()
}

// handler returns the handlers with these options.
func (s *service) handler(opts ...connect.HandlerOption) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(unary, connect.NewUnaryHandler(unary, s.unary, append(opts, connect.WithIdempotency(connect.IdempotencyNoSideEffects))...))
	mux.Handle(output, connect.NewServerStreamHandler(output, s.output, opts...))
	mux.Handle(input, connect.NewClientStreamHandler(input, s.input, opts...))
	mux.Handle(duplex, connect.NewBidiStreamHandler(duplex, s.duplex, opts...))
	return mux
}

func newAuth(t testing.TB, o *authtest.Owner, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	auth, err := interceptor.NewSessionAuth(o.Verify, o.Map, append(opts, interceptor.WithCache(cache.Policy{TTL: time.Hour}))...)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// sessions returns the option that puts authn in front of handlers.
func sessions(t testing.TB, authn connectauth.Authn, opts ...connectauth.Option) connect.HandlerOption {
	t.Helper()
	i, err := connectauth.NewInterceptor(authn, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return connect.WithInterceptors(i)
}

func serve(t testing.TB, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// protocols are those that clients speak.
var protocols = map[string][]connect.ClientOption{
	"Connect": nil, "Connect, JSON": {connect.WithProtoJSON()}, "Connect, GET": {connect.WithHTTPGet()},
	"gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
}

// client calls the service over one protocol, with a header.
type client struct {
	server *httptest.Server
	opts   []connect.ClientOption
	header http.Header
}

func (c client) set(to http.Header) {
	maps.Copy(to, c.header)
}

func (c client) unary(ctx context.Context) (subject string, header http.Header, err error) {
	r := connect.NewRequest(&grpc_testing.SimpleRequest{})
	c.set(r.Header())
	response, err := connect.NewClient[grpc_testing.SimpleRequest, grpc_testing.SimpleResponse](
		c.server.Client(), c.server.URL+unary, append(c.opts, connect.WithIdempotency(connect.IdempotencyNoSideEffects))...).CallUnary(ctx, r)
	if failed, ok := errors.AsType[*connect.Error](err); ok {
		return "", failed.Meta(), err
	} else if err != nil {
		return "", nil, err
	}
	return response.Msg.GetUsername(), response.Header(), nil
}

func (c client) output(ctx context.Context, forever bool) (*connect.ServerStreamForClient[grpc_testing.StreamingOutputCallResponse], error) {
	r := connect.NewRequest(&grpc_testing.StreamingOutputCallRequest{})
	if forever {
		r.Msg.ResponseParameters = []*grpc_testing.ResponseParameters{{}}
	}
	c.set(r.Header())
	return connect.NewClient[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse](
		c.server.Client(), c.server.URL+output, c.opts...).CallServerStream(ctx, r)
}

func (c client) duplex(ctx context.Context) *connect.BidiStreamForClient[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse] {
	stream := connect.NewClient[grpc_testing.StreamingOutputCallRequest, grpc_testing.StreamingOutputCallResponse](
		c.server.Client(), c.server.URL+duplex, c.opts...).CallBidiStream(ctx)
	c.set(stream.RequestHeader())
	return stream
}

func (c client) input(ctx context.Context) *connect.ClientStreamForClient[grpc_testing.StreamingInputCallRequest, grpc_testing.StreamingInputCallResponse] {
	stream := connect.NewClient[grpc_testing.StreamingInputCallRequest, grpc_testing.StreamingInputCallResponse](
		c.server.Client(), c.server.URL+input, c.opts...).CallClientStream(ctx)
	c.set(stream.RequestHeader())
	return stream
}

// each calls every kind of method, and returns who was served and why not.
func (c client) each(ctx context.Context) map[string]outcome {
	all := map[string]outcome{}
	name, header, err := c.unary(ctx)
	all["unary"] = outcome{name, header, err}

	receive := func(kind string, receive func() bool, message func() *grpc_testing.StreamingOutputCallResponse, header func() http.Header, err func() error) {
		o := outcome{}
		for receive() {
			o.subject = string(message().GetPayload().GetBody())
		}
		o.header, o.err = header(), err()
		if failed, ok := errors.AsType[*connect.Error](o.err); ok && len(o.header) == 0 {
			o.header = failed.Meta()
		}
		all[kind] = o
	}
	if stream, err := c.output(ctx, false); err != nil {
		all["output"] = outcome{err: err}
	} else {
		receive("output", stream.Receive, stream.Msg, stream.ResponseHeader, stream.Err)
		_ = stream.Close()
	}
	stream := c.duplex(ctx)
	var failed error
	_ = stream.Send(&grpc_testing.StreamingOutputCallRequest{})
	_ = stream.CloseRequest()
	var message *grpc_testing.StreamingOutputCallResponse
	receive("duplex", func() bool {
		m, err := stream.Receive()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				failed = err
			}
			return false
		}
		message = m
		return true
	}, func() *grpc_testing.StreamingOutputCallResponse { return message }, stream.ResponseHeader, func() error { return failed })
	_ = stream.CloseResponse()
	return all
}

type outcome struct {
	subject string
	header  http.Header
	err     error
}

// reasonOf returns the reason in the details of an error.
func reasonOf(err error) reason.Reason {
	failed, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return ""
	}
	for _, detail := range failed.Details() {
		if value, err := detail.Value(); err == nil {
			if info, ok := value.(*errdetails.ErrorInfo); ok && info.GetDomain() == reason.Domain {
				return reason.Reason(info.GetReason())
			}
		}
	}
	return ""
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// receive returns what comes from a channel.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
