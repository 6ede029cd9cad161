package main

import (
	"context"
	"errors"
	"io"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

const (
	bufconnTransport = "bufconn"
	tcpTransport     = "loopback TCP"

	bareRPC        = "bare"
	interceptedRPC = "with the interceptor"
)

var transports = []string{bufconnTransport, tcpTransport}

// service answers at once. A stream on which only the server sends stays open.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (service) UnaryCall(context.Context, *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{}, nil
}

func (service) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, stream grpc_testing.TestService_StreamingOutputCallServer) error {
	if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (service) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
}

// serve starts a server and a client of it, until stop.
func serve(transport string, opts ...grpc.ServerOption) (client grpc_testing.TestServiceClient, stop func()) {
	target, dialOptions := "passthrough:///bufconn", []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	var listener net.Listener
	if transport == tcpTransport {
		var err error
		listener, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		must(err)
		target = "passthrough:///" + listener.Addr().String()
	} else {
		buffer := bufconn.Listen(1 << 20)
		listener = buffer
		dialOptions = append(dialOptions, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return buffer.DialContext(ctx) }))
	}
	server := grpc.NewServer(opts...)
	grpc_testing.RegisterTestServiceServer(server, service{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	conn, err := grpc.NewClient(target, dialOptions...)
	must(err)
	return grpc_testing.NewTestServiceClient(conn), func() {
		_ = conn.Close()
		server.Stop()
		must(<-ended)
	}
}

// outgoing is the context of a client's call.
func outgoing(token string) context.Context {
	return grpcmd.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+token,
		"cookie", someCookies[0], "x-request-id", requestID[0], "traceparent", traceParent[0])
}

// rpcVariants are calls of a server that has the interceptor and of one that has not.
// Both are sent the same.
func rpcVariants(n int, transport string) (variants []variant, stop func()) {
	tokens := tokensOf(n)
	calls := callsOf(tokens, outgoing)
	auth := newAuth(verify, cache.Policy{TTL: ttl, MaxEntries: 2 * n})
	bare, stopBare := serve(transport)
	with, stopWith := serve(transport, auth.ServerOptions()...)
	call := func(name string, client grpc_testing.TestServiceClient) variant {
		return variant{name, func(i int) {
			_, err := client.UnaryCall(calls[i], &grpc_testing.SimpleRequest{})
			must(err)
		}}
	}
	variants = []variant{call(bareRPC, bare), call(interceptedRPC, with)}
	fill(variants, n)
	return variants, func() {
		stopBare()
		stopWith()
	}
}

func measureRPC(s scale, transport string) series {
	variants, stop := rpcVariants(s.few, transport)
	defer stop()
	return turns{s.few, 1, s.rpcRounds, s.slice}.take(variants)
}
