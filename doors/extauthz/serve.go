package extauthz

import (
	"context"
	"errors"
	"net"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// stopTimeout bounds how long Serve waits for Checks when its context has ended. No
// verification takes as long unless its policy says so.
const stopTimeout = 10 * time.Second

// Serve answers Envoy on listener until ctx ends, beside grpc.health.v1.Health, whose answers
// are SERVING for "" and "envoy.service.auth.v3.Authorization". When ctx ends, they become
// NOT_SERVING, Envoy is told to open no more calls, and those under way are answered, within
// 10 s. It then returns nil; before that, what the listener failed with. listener is closed.
//
// opts are for the grpc.Server: credentials that ask for Envoy's certificate, stats handlers.
// An interceptor that authenticates callers by x-auth-* or a session has no place there.
func (s *Server) Serve(ctx context.Context, listener net.Listener, opts ...grpc.ServerOption) error {
	server, state := grpc.NewServer(opts...), health.NewServer()
	authv3.RegisterAuthorizationServer(server, s)
	healthpb.RegisterHealthServer(server, state)
	state.SetServingStatus(authv3.Authorization_ServiceDesc.ServiceName, healthpb.HealthCheckResponse_SERVING)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		server.Stop()
		return err
	case <-ctx.Done():
	}
	state.Shutdown()
	hurry := time.AfterFunc(stopTimeout, server.Stop)
	defer hurry.Stop()
	server.GracefulStop()
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) { // before it began
		return err
	}
	return nil
}
