package sessionauth_test

import (
	"context"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// patterns are the ways a stream can be served, for comparison.
func streamOptions(b *testing.B) map[string][]grpc.ServerOption {
	b.Helper()
	verify := func(_ context.Context, token string, _ http.Header) (*record, error) {
		return &record{User: token, Expires: time.Now().Add(time.Hour)}, nil
	}
	// An interceptor that does nothing has the stack of a stream grow, as it happens, by
	// 4 KiB: the difference to bare is grpc's own.
	passing := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, stream)
	}
	options := map[string][]grpc.ServerOption{"bare": nil, "passing": {grpc.ChainStreamInterceptor(passing)}}
	for name, opts := range map[string][]interceptor.Option{
		"unbounded": {interceptor.WithUnboundedStreams()}, "bound": nil, "rechecked": {interceptor.WithStreamRecheck(time.Minute)},
	} {
		a, err := interceptor.NewSessionAuth(verify, mapRecord, append(opts, interceptor.WithCache(cache.Policy{TTL: time.Minute}))...)
		if err != nil {
			b.Fatal(err)
		}
		options[name] = a.ServerOptions()
	}
	return options
}

// startBench is serve for a benchmark.
func startBench(b *testing.B, opts ...grpc.ServerOption) (client grpc_testing.TestServiceClient, stop func()) {
	b.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(opts...)
	grpc_testing.RegisterTestServiceServer(server, newPatient())
	go func() { _ = server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		b.Fatal(err)
	}
	return grpc_testing.NewTestServiceClient(conn), func() {
		_ = conn.Close()
		server.Stop()
	}
}

// BenchmarkStreamMessage is a message there and back on an open stream.
func BenchmarkStreamMessage(b *testing.B) {
	options := streamOptions(b)
	for _, name := range []string{"bare", "passing", "unbounded", "bound", "rechecked"} {
		b.Run(name, func(b *testing.B) {
			client, stop := startBench(b, options[name]...)
			defer stop()
			stream, err := client.FullDuplexCall(bearerCtx("t1"))
			if err != nil {
				b.Fatal(err)
			}
			request := &grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: make([]byte, 100)}}
			b.ReportAllocs()
			for b.Loop() {
				if err := stream.Send(request); err != nil {
					b.Fatal(err)
				}
				if _, err := stream.Recv(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpenStreams reports what an open stream holds in memory, stacks included:
// on the server and the client, which is the same in each case.
func BenchmarkOpenStreams(b *testing.B) {
	const streams = 10_000
	options := streamOptions(b)
	for _, kind := range []string{"server stream", "bidi stream"} {
		for _, name := range []string{"bare", "passing", "unbounded", "bound", "rechecked"} {
			b.Run(kind+"/"+name, func(b *testing.B) {
				for b.Loop() {
					client, stop := startBench(b, options[name]...)
					ctx, cancel := context.WithCancel(bearerCtx("t1"))
					_ = openStreams[kind](ctx, client) // whatever is made only once
					before := inUse()
					for range streams {
						openStreams[kind](ctx, client)
					}
					b.ReportMetric(float64(inUse()-before)/streams, "B/stream")
					cancel()
					stop()
				}
			})
		}
	}
}

// inUse is the memory of heap and stacks, when all is quiet.
func inUse() int64 {
	for range 3 {
		runtime.GC()
		time.Sleep(50 * time.Millisecond)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
