package main

import (
	"context"
	"errors"
	"io"
	"slices"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// greeter is a service that greets its caller. It has no line about authentication
// but the one that asks who is calling. The service definition ships with grpc-go,
// so that nothing needs to be generated.
type greeter struct {
	grpc_testing.UnimplementedTestServiceServer
}

func greeting(ctx context.Context) (*grpc_testing.Payload, error) {
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	return &grpc_testing.Payload{Body: []byte("hello, " + caller.Subject)}, nil
}

// EmptyCall is for admins.
func (greeter) EmptyCall(context.Context, *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	return &grpc_testing.Empty{}, nil
}

// UnaryCall greets once.
func (greeter) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	payload, err := greeting(ctx)
	return &grpc_testing.SimpleResponse{Payload: payload}, err
}

// FullDuplexCall greets for every message of the client.
func (greeter) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		payload, err := greeting(stream.Context())
		if err != nil {
			return err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload}); err != nil {
			return err
		}
	}
}

// reflectionMethods let tools such as grpcurl list the services. It needs no session here.
var reflectionMethods = []string{"grpc.reflection.v1.ServerReflection/*", "grpc.reflection.v1alpha.ServerReflection/*"}

// rules say who may call what. What they do not name is denied.
var rules = []authz.Rule{
	{
		Name: "greetings", Roles: []string{"user"}, Effect: authz.Allow,
		Methods: []string{"grpc.testing.TestService/UnaryCall", "grpc.testing.TestService/FullDuplexCall"},
	},
	{
		Name: "maintenance", Roles: []string{"admin"}, Effect: authz.Allow,
		Methods: []string{"grpc.testing.TestService/EmptyCall"},
	},
}

// newServer returns a server that lets nobody in but those whose session the store
// confirms.
func newServer(s *store, tracers trace.TracerProvider, policy cache.Policy) (*grpc.Server, *interceptor.Authenticator, error) {
	auth, err := interceptor.NewSessionAuth(s.verify, identify,
		interceptor.WithCache(policy),
		interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid")),
		interceptor.WithSkipMethods(reflectionMethods...),
		interceptor.WithTracerProvider(tracers),
	)
	if err != nil {
		return nil, nil, err
	}
	rules, err := authz.New(authz.WithRules(rules...), authz.WithPublicMethods(reflectionMethods...))
	if err != nil {
		return nil, nil, err
	}
	server := grpc.NewServer(slices.Concat(auth.ServerOptions(), rules.ServerOptions(), []grpc.ServerOption{
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(tracers))),
	})...)
	grpc_testing.RegisterTestServiceServer(server, greeter{})
	reflection.Register(server)
	// The service has more methods than this program: that no rule names them is fine.
	if err := authz.Audit(server, auth, rules).Without(authz.NoRule).Err(); err != nil {
		return nil, nil, err
	}
	return server, auth, nil
}
