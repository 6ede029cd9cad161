package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// session is what the owner of the sessions knows of somebody who is signed in.
type session struct {
	user, role string
	expires    time.Time
}

// sessions is their owner: what better-auth, Lucia or a database is in production.
type sessions struct {
	away atomic.Bool // it cannot be asked

	mu  sync.Mutex
	all map[string]session // by token; a real one keeps digests
}

func newSessions() *sessions { return &sessions{all: map[string]session{}} }

func (s *sessions) signIn(user, role string, lasts time.Duration) (token string) {
	token = rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[token] = session{user, role, time.Now().Add(lasts)}
	return token
}

func (s *sessions) signOut(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, token)
}

func (s *sessions) verify(_ context.Context, token string, _ http.Header) (*session, error) {
	if s.away.Load() {
		return nil, interceptor.ErrUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, ok := s.all[token]; ok {
		return &one, nil
	}
	return nil, interceptor.ErrInvalidSession
}

func identify(_ context.Context, s *session) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s.user, Roles: []string{s.role}, ExpiresAt: s.expires}, nil
}

// greeter greets whom Envoy says it is. It has never heard of sessions.
type greeter struct {
	grpc_testing.UnimplementedTestServiceServer
}

// newService returns the gRPC server behind Envoy.
func newService(guard *interceptor.GatewayAuth) *grpc.Server {
	server := grpc.NewServer(guard.ServerOptions()...)
	grpc_testing.RegisterTestServiceServer(server, greeter{})
	reflection.Register(server)
	return server
}

func greeting(ctx context.Context) (*grpc_testing.Payload, error) {
	caller, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	return &grpc_testing.Payload{Body: fmt.Appendf(nil, "hello, %s %v", caller.Subject, caller.Roles)}, nil
}

// EmptyCall is for admins.
func (greeter) EmptyCall(context.Context, *grpc_testing.Empty) (*grpc_testing.Empty, error) {
	return &grpc_testing.Empty{}, nil
}

func (greeter) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	payload, err := greeting(ctx)
	return &grpc_testing.SimpleResponse{Payload: payload}, err
}

func (greeter) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		if _, err := stream.Recv(); err != nil {
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

// newWebsite returns the HTTP server behind Envoy.
func newWebsite(guard *interceptor.GatewayAuth) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, err := guard.Authenticate(r.Context(), r.Header)
		if err != nil {
			http.Error(w, "not through Envoy", http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "a file for %s", found.AuthContext().Subject)
	})
}
