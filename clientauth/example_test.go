package clientauth_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/local"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/demo"
)

// dialOrders connects a service to the orders service, in the name of its callers.
func dialOrders(target, secret string, secure credentials.TransportCredentials) (*grpc.ClientConn, error) {
	onward, err := clientauth.NewForwarder(
		clientauth.WithSharedSecret(secret),
		clientauth.WithForwardedClaims("org"))
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(target, append(onward.DialOptions(), grpc.WithTransportCredentials(secure))...)
}

// newOrders returns the server of the orders service.
func newOrders(secrets []string, secure credentials.TransportCredentials) (*grpc.Server, error) {
	auth, err := interceptor.NewGatewayAuth(
		interceptor.WithSharedSecrets(secrets...),
		interceptor.WithTrustedPeers("spiffe://trust.example/ns/prod/*", "gateway.internal"))
	if err != nil {
		return nil, err
	}
	return grpc.NewServer(append(auth.ServerOptions(), grpc.Creds(secure))...), nil
}

// dialAsCourier connects to a service with a session's token of one's own.
func dialAsCourier(target string, secure credentials.TransportCredentials) (*grpc.ClientConn, error) {
	session, err := clientauth.NewBearer(clientauth.TokenFunc(freshToken))
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(target, grpc.WithPerRPCCredentials(session), grpc.WithTransportCredentials(secure))
}

// freshToken would ask for another token when the one it has is about to expire.
func freshToken(context.Context) (string, error) { return "token-of-ada", nil }

// callerHealth is a service that says who calls it.
type callerHealth struct {
	healthpb.UnimplementedHealthServer
}

func (callerHealth) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Println(caller.Subject, caller.Roles, caller.Claims)
	return &healthpb.HealthCheckResponse{}, nil
}

// listenForExample serves on a Unix socket, which is as good as TLS on one machine.
func listenForExample(server *grpc.Server) (target string, stop func()) {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return "unix:" + path, func() {
		server.Stop()
		if err := <-served; err != nil {
			log.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			log.Fatal(err)
		}
	}
}

// One service carries the identity of its caller on to another, which believes nobody
// but services that know the secret or have a certificate.
func Example_onward() {
	const secret = "c2bd1e9a66c1a1c70a49e0d9f0b3f9ab" // from openssl rand -hex 16, say
	orders, err := newOrders([]string{secret}, local.NewCredentials())
	if err != nil {
		log.Fatal(err)
	}
	healthpb.RegisterHealthServer(orders, callerHealth{})
	target, stop := listenForExample(orders)
	defer stop()

	// In a handler, ctx comes from NewSessionAuth's interceptors.
	ctx := authcontext.NewContext(context.Background(), &authcontext.AuthContext{
		Subject: "ada", Roles: []string{"admin"}, Claims: map[string]any{"org": "acme", "token": "not for others"},
	})
	for _, known := range []string{secret, "another-secret-of-somebody-else-"} {
		conn, err := dialOrders(target, known, local.NewCredentials())
		if err != nil {
			log.Fatal(err)
		}
		if _, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			fmt.Println(demo.Describe("", err))
		}
		if err := conn.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// ada [admin] map[org:acme]
	// Unauthenticated: untrusted caller
}

// A client that has a session of its own.
func Example_credentials() {
	auth, err := interceptor.NewSessionAuth(demo.Verify, demo.MapSession)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(slices.Concat(auth.ServerOptions(), []grpc.ServerOption{grpc.Creds(local.NewCredentials())})...)
	healthpb.RegisterHealthServer(server, callerHealth{})
	target, stop := listenForExample(server)
	defer stop()

	conn, err := dialAsCourier(target, local.NewCredentials())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{}); err != nil {
		fmt.Println(demo.Describe("", err))
	}
	if err := conn.Close(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// ada [admin] map[]
}
