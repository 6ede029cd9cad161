package authtest

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/authz"
)

// bufferSize is that of the connection in memory, in bytes.
const bufferSize = 1 << 20

// Server is a server in memory and a connection to it.
type Server struct {
	// Conn is a connection to the server. A test may close it, and so may it stop the
	// server.
	Conn *grpc.ClientConn
	// Server is the server, which is serving: for [Audit], or to stop it.
	Server *grpc.Server

	tb       TB
	listener *bufconn.Listener
}

// Start starts a server with these options in memory, after register has given it its
// services. When the test ends its connections are closed and it is stopped, open
// streams included, and the test fails if it has not ended well.
func Start(tb TB, register func(*grpc.Server), opts ...grpc.ServerOption) *Server {
	tb.Helper()
	s := &Server{Server: grpc.NewServer(opts...), tb: tb, listener: bufconn.Listen(bufferSize)}
	register(s.Server)
	served := make(chan error, 1)
	go func() { served <- s.Server.Serve(s.listener) }()
	tb.Cleanup(func() {
		s.Server.Stop()
		// A test that makes no call may end before Serve has begun, which then says so.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			tb.Errorf("authtest: the server ended with: %v", err)
		}
	})
	s.Conn = s.Dial()
	return s
}

// Dial returns another connection to the server, by a client with these options, such as
// those of a clientauth.Forwarder. It is closed when the test ends. Nothing of it leaves
// the process, but grpc knows it as one that is not encrypted: see
// clientauth.WithInsecureTransport.
func (s *Server) Dial(opts ...grpc.DialOption) *grpc.ClientConn {
	s.tb.Helper()
	conn, err := grpc.NewClient("passthrough:///bufconn", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.listener.DialContext(ctx) }),
	}, opts...)...)
	if err != nil {
		s.tb.Fatalf("authtest: %v", err)
	}
	s.tb.Cleanup(func() {
		if err := conn.Close(); err != nil && status.Code(err) != codes.Canceled { // Canceled: the test has closed it
			s.tb.Errorf("authtest: closing the connection: %v", err)
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
