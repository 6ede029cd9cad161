package main

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	accountv1 "github.com/grpc-sessionauth/sessionauth/examples/betterauth/account/v1"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

// account is the service. It has no line about authentication but those that ask who
// is calling.
type account struct {
	accountv1.UnimplementedAccountServiceServer

	verifications atomic.Uint32   // how often better-auth was asked
	closing       <-chan struct{} // closed when the server shuts down
}

// counting counts the calls of a verify callback.
func (a *account) counting(verify interceptor.VerifyFunc[*betterauth.Session]) interceptor.VerifyFunc[*betterauth.Session] {
	return func(ctx context.Context, token string, header http.Header) (*betterauth.Session, error) {
		a.verifications.Add(1)
		return verify(ctx, token, header)
	}
}

// WhoAmI says who is calling.
func (a *account) WhoAmI(ctx context.Context, _ *accountv1.WhoAmIRequest) (*accountv1.WhoAmIResponse, error) {
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	email, _ := caller.Claims["email"].(string)
	return &accountv1.WhoAmIResponse{
		Subject: caller.Subject, Name: caller.Name, Email: email, Roles: caller.Roles,
		ExpiresAt:     timestamppb.New(caller.ExpiresAt),
		AnsweredBy:    answeredBy(ctx),
		Verifications: a.verifications.Load(),
	}, nil
}

// Watch ticks until its context ends: with the client, or with the session.
func (a *account) Watch(_ *accountv1.WatchRequest, stream grpc.ServerStreamingServer[accountv1.WatchResponse]) error {
	ctx := stream.Context()
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	now := time.Now()
	for tick := uint32(1); ; tick++ {
		if err := stream.Send(&accountv1.WatchResponse{Tick: tick, At: timestamppb.New(now), Name: caller.Name}); err != nil {
			return err
		}
		select {
		case now = <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.closing:
			return nil
		}
	}
}

// answeredBy says who confirmed the session of this very call, by the attribute that
// the interceptor leaves on the call's span.
func answeredBy(ctx context.Context) accountv1.AnsweredBy {
	span, ok := trace.SpanFromContext(ctx).(sdktrace.ReadOnlySpan)
	if !ok {
		return accountv1.AnsweredBy_ANSWERED_BY_UNSPECIFIED
	}
	for _, attr := range span.Attributes() {
		if attr.Key != telemetry.KeyResult {
			continue
		}
		switch attr.Value {
		case attribute.StringValue(telemetry.Hit.String()), attribute.StringValue(telemetry.Stale.String()):
			return accountv1.AnsweredBy_ANSWERED_BY_MEMORY
		default:
			return accountv1.AnsweredBy_ANSWERED_BY_OWNER
		}
	}
	return accountv1.AnsweredBy_ANSWERED_BY_UNSPECIFIED
}
