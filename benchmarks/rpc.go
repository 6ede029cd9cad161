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
	handRolledRPC  = "with the hand-rolled interceptor"
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

// rpcVariants are calls of servers that differ in their interceptor. All are sent the same.
func rpcVariants(n int, transport string) (variants []variant, stop func()) {
	tokens := tokensOf(n)
	calls := callsOf(tokens, outgoing)
	auth := newAuth(verify, cache.Policy{TTL: ttl, MaxEntries: 2 * n})
	var handLoads loads
	var stops []func()
	call := func(name string, check func() error, opts ...grpc.ServerOption) {
		client, stop := serve(transport, opts...)
		stops = append(stops, stop)
		variants = append(variants, variant{name, func(i int) {
			_, err := client.UnaryCall(calls[i], &grpc_testing.SimpleRequest{})
			must(err)
		}, check})
	}
	call(bareRPC, nil)
	call(interceptedRPC, allHits(auth.Stats, n, false), auth.ServerOptions()...)
	call(handRolledRPC, handLoads.one(n), grpc.UnaryInterceptor(newHandRolled(handLoads.verify)))
	fill(variants, n)
	return variants, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func measureRPC(s scale, transport string, selected selection) series {
	variants, stop := rpcVariants(s.few, transport)
	defer stop()
	return turns{s.few, 1, max(10, s.rounds*3/2), s.slice}.take(selected.of(variants))
}
