package authz

import (
	"context"
	"io"
	"net"
	"reflect"
	"sync/atomic"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/probe"
)

// chain is what a server runs in front of its handlers.
type chain struct {
	unary    grpc.UnaryServerInterceptor // nil: nothing
	stream   grpc.StreamServerInterceptor
	services reflect.Value // map[string]*struct{ serviceImpl any; … }
	unknown  bool          // there is an UnknownServiceHandler
}

// chainOf returns the interceptors of a server. ok is false if it keeps them otherwise
// than is known here.
//
// grpc-go has no way to ask a server for them. To call the server instead, by its
// ServeHTTP, would run the handler of a method in exactly the case that is to be found: that
// nothing is in front of it.
func chainOf(server *grpc.Server) (c chain, ok bool) {
	s := reflect.ValueOf(server).Elem()
	opts := s.FieldByName("opts")
	var known [3]bool
	c.unary, known[0] = field[grpc.UnaryServerInterceptor](opts, "unaryInt")
	c.stream, known[1] = field[grpc.StreamServerInterceptor](opts, "streamInt")
	handler, hasUnknown := field[*grpc.StreamDesc](opts, "unknownStreamDesc")
	c.unknown, known[2] = handler != nil, hasUnknown
	c.services = s.FieldByName("services")
	return c, known == [3]bool{true, true, true}
}

// field returns a field of a struct, exported or not, if it has one of this name and type.
func field[T any](of reflect.Value, name string) (v T, ok bool) {
	if of.Kind() != reflect.Struct || !of.CanAddr() {
		return v, false
	}
	f := of.FieldByName(name)
	if !f.IsValid() || f.Type() != reflect.TypeFor[T]() {
		return v, false
	}
	v, _ = reflect.TypeAssert[T](reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()) // a nil interface is none
	return v, true
}

// implementation returns what the user registered for a service, which interceptors may
// ask for an AuthFuncOverride; nil if it is not to be had.
func (c *chain) implementation(service string) any {
	if c.services.Kind() != reflect.Map || c.services.Type().Key().Kind() != reflect.String {
		return nil
	}
	info := c.services.MapIndex(reflect.ValueOf(service))
	if !info.IsValid() || info.Kind() != reflect.Pointer {
		return nil
	}
	impl, _ := field[any](info.Elem(), "serviceImpl")
	return impl
}

// answer is what came of a probe.
type answer struct {
	found any  // the target at which it stopped; nil for none
	end   bool // it came to where the handler would be
	err   error
}

// probe runs the interceptors for a call of a method, up to the first of targets. There is
// no handler behind them but one that notes that it was reached.
func (c *chain) probe(ctx context.Context, m method.Method, targets ...any) answer {
	ctx, p, done := probe.Start(ctx, targets...)
	defer done()
	var end atomic.Bool
	_, err := catch.Call(ctx, func(ctx context.Context) (struct{}, error) {
		ctx = grpc.NewContextWithServerTransportStream(ctx, transportStream(m.Full))
		ctx = peer.NewContext(ctx, &peer.Peer{Addr: address{}})
		ctx = grpcmd.NewIncomingContext(ctx, grpcmd.MD{})
		impl := c.implementation(m.Service)
		switch {
		case m.Stream && c.stream != nil:
			info := &grpc.StreamServerInfo{FullMethod: m.Full, IsClientStream: true, IsServerStream: true}
			return struct{}{}, c.stream(impl, stream{ctx}, info, func(any, grpc.ServerStream) error {
				end.Store(true)
				return nil
			})
		case !m.Stream && c.unary != nil:
			info := &grpc.UnaryServerInfo{Server: impl, FullMethod: m.Full}
			_, err := c.unary(ctx, emptyRequest(m), info, func(context.Context, any) (any, error) {
				end.Store(true)
				return &emptypb.Empty{}, nil
			})
			return struct{}{}, err
		}
		end.Store(true)
		return struct{}{}, nil
	})
	return answer{p.Found(), end.Load(), err}
}

// emptyRequest returns a message of the type that a method takes, for interceptors that look
// at it, or a google.protobuf.Empty.
func emptyRequest(m method.Method) any {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(m.Service + "." + m.Name))
	if described, ok := d.(protoreflect.MethodDescriptor); ok && err == nil {
		if message, err := protoregistry.GlobalTypes.FindMessageByName(described.Input().FullName()); err == nil {
			return message.New().Interface()
		}
	}
	return &emptypb.Empty{}
}

// address is where a probe comes from.
type address struct{}

func (address) Network() string { return "audit" }
func (address) String() string  { return "audit" }

var _ net.Addr = address{}

// transportStream is that of a call of this method whose headers nobody gets.
type transportStream string

func (t transportStream) Method() string           { return string(t) }
func (transportStream) SetHeader(grpcmd.MD) error  { return nil }
func (transportStream) SendHeader(grpcmd.MD) error { return nil }
func (transportStream) SetTrailer(grpcmd.MD) error { return nil }

// stream is one whose client has sent nothing and is gone.
type stream struct{ ctx context.Context } //nolint:containedctx // that is what a stream has

func (s stream) Context() context.Context { return s.ctx }
func (stream) SetHeader(grpcmd.MD) error  { return nil }
func (stream) SendHeader(grpcmd.MD) error { return nil }
func (stream) SetTrailer(grpcmd.MD)       {}
func (stream) SendMsg(any) error          { return io.EOF }
func (stream) RecvMsg(any) error          { return io.EOF }
