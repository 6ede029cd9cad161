// Command instructions makes a number of calls that are answered from memory, and
// nothing else, for a tool that counts instructions: benchmarks/check.sh counts those of
// one number of calls and those of twice as many, and what is between them is the hits.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// tokens are walked through in turn: few, since instructions do not depend on how many.
const tokens = 256

func main() {
	calls := flag.Int("n", 10_000, "calls")
	flag.Parse()
	if err := run(*calls); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(calls int) error {
	type session struct{ user string }
	var verified atomic.Int64
	auth, err := interceptor.NewSessionAuth(
		func(_ context.Context, token string, _ http.Header) (*session, error) {
			verified.Add(1)
			return &session{token[:12]}, nil
		},
		func(_ context.Context, s *session) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{Subject: s.user, Roles: []string{"user"}, ExpiresAt: time.Now().Add(24 * time.Hour)}, nil
		},
		interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		return err
	}
	intercept := auth.UnaryServerInterceptor()
	info := &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/UnaryCall"}
	handler := func(context.Context, any) (any, error) { return struct{}{}, nil }
	contexts := make([]context.Context, 0, tokens)
	for i := range tokens {
		// The metadata of an ordinary call: 8 keys, a token of 43 characters, 2 cookies.
		contexts = append(contexts, grpcmd.NewIncomingContext(context.Background(), grpcmd.MD{
			":authority": {"api.example.test:443"}, "content-type": {"application/grpc"}, "user-agent": {"grpc-go/1.85.0"},
			"grpc-accept-encoding": {"gzip"}, "cookie": {"theme=dark; _ga=GA1.1.1234567890.1700000000"},
			"authorization": {fmt.Sprintf("Bearer user-%07d-0123456789abcdefghijklmnopqrst", i)},
			"x-request-id":  {"7b0c2a52-6d3e-4f0e-9b0a-5f3c9d1e2a77"},
			"traceparent":   {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		}))
		if _, err := intercept(contexts[i], nil, info, handler); err != nil {
			return err
		}
	}
	for i := range calls {
		if _, err := intercept(contexts[i%tokens], nil, info, handler); err != nil {
			return err
		}
	}
	if n := verified.Load(); n != tokens {
		return fmt.Errorf("%d of %d calls were verified; all but the first %d should be hits", n, tokens+calls, tokens)
	}
	return nil
}
