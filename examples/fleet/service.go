package main

import (
	"context"
	"net/http"
	"strconv"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// forgetBegan is the trailer of a sign-out that says, in nanoseconds since 1970, when the session had
// ended at its owner and the replica began to forget it.
const forgetBegan = "forget-began"

// notes is the service, by the methods of gRPC's own test service: UnaryCall says who is calling,
// StreamingOutputCall ticks for as long as the session lasts, and EmptyCall signs out.
type notes struct {
	grpc_testing.UnimplementedTestServiceServer

	name, owner string
	client      http.Client
	auth        *interceptor.Authenticator
	closing     chan struct{} // closed when the server shuts down
}

// UnaryCall says who is calling, and in its payload how the session was confirmed.
func (n *notes) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	return &grpc_testing.SimpleResponse{Username: caller.Subject, ServerId: n.name, Payload: &grpc_testing.Payload{Body: []byte(confirmedBy(ctx))}}, nil
}

// confirmedBy reads the attribute that the interceptor leaves on the call's span.
func confirmedBy(ctx context.Context) string {
	if span, ok := trace.SpanFromContext(ctx).(sdktrace.ReadOnlySpan); ok {
		for _, attr := range span.Attributes() {
			if attr.Key == telemetry.KeyResult {
				return attr.Value.AsString()
			}
		}
	}
	return ""
}

// StreamingOutputCall ticks until its context ends: with the client, or with the session.
func (n *notes) StreamingOutputCall(_ *grpc_testing.StreamingOutputCallRequest, stream grpc.ServerStreamingServer[grpc_testing.StreamingOutputCallResponse]) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return context.Cause(stream.Context())
		case <-n.closing:
			return status.Error(codes.Unavailable, "the server is closing")
		}
	}
}

// EmptyCall signs out: the session is ended at its owner, then forgotten here and by the others.
func (n *notes) EmptyCall(ctx context.Context, _ *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	token, _ := authmd.Bearer().Extract(authmd.IncomingHeader(ctx))
	response, err := n.ask(ctx, http.MethodDelete, token)
	if err != nil {
		return nil, status.Error(codes.Unavailable, "the session's owner cannot be reached")
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, status.Error(codes.Unavailable, "the session's owner has not ended it")
	}
	if err := grpc.SetTrailer(ctx, grpcmd.Pairs(forgetBegan, strconv.FormatInt(time.Now().UnixNano(), 10))); err != nil {
		return nil, err
	}
	if err := n.auth.Forget(ctx, token); err != nil {
		return nil, status.Error(codes.Unavailable, "signed out; the other replicas could not be told yet")
	}
	return &grpc_testing.Empty{}, nil
}
