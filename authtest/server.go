package authtest

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/authz"
)

// bufferSize is that of the connection in memory, in bytes.
const bufferSize = 1 << 20

// Serve starts a server with these options in memory, after register has given it its
// services, and returns a connection to it. When the test ends, both are closed, open streams
// included, and the test fails if the server did not end well.
func Serve(tb TB, register func(*grpc.Server), opts ...grpc.ServerOption) *grpc.ClientConn {
	tb.Helper()
	return ServeTo(tb, register, opts)
}

// ServeTo is [Serve] for a client with these options, such as those of an
// clientauth.Forwarder. Nothing of the connection leaves the process, but grpc knows it as
// one that is not encrypted: see clientauth.WithInsecureTransport.
func ServeTo(
	tb TB, register func(*grpc.Server), serverOpts []grpc.ServerOption, dialOpts ...grpc.DialOption,
) *grpc.ClientConn {
	tb.Helper()
	server := grpc.NewServer(serverOpts...)
	register(server)
	listener := bufconn.Listen(bufferSize)
	conn, err := grpc.NewClient("passthrough:///bufconn", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	}, dialOpts...)...)
	if err != nil {
		tb.Fatalf("authtest: %v", err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	tb.Cleanup(func() {
		if err := conn.Close(); err != nil {
			tb.Errorf("authtest: closing the connection: %v", err)
		}
		server.Stop()
		if err := <-served; err != nil {
			tb.Errorf("authtest: the server ended with: %v", err)
		}
	})
	return conn
}

// Audit fails a test for everything that authz.Audit finds but for findings of the
// excepted kinds. Either authn or rules may be nil.
func Audit(
	tb TB, server authz.ServiceInfoProvider, authn authz.Authn, rules *authz.Authorizer,
	except ...authz.FindingKind,
) {
	tb.Helper()
	for _, found := range authz.Audit(server, authn, rules).Without(except...) {
		tb.Errorf("authtest: %s", found)
	}
}
