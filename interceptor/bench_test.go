package interceptor_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// The metadata of an ordinary call: 8 keys, a 43-byte bearer token, 3 cookies.
const benchToken = "kJ8vQ2mZ0xT5rW7yB1nC4dF6gH9jL3pS_aEuIoPqRtY"

func benchMetadata() grpcmd.MD {
	return grpcmd.MD{
		":authority":           {"api.example.test:443"},
		"content-type":         {"application/grpc"},
		"user-agent":           {"grpc-go/1.85.0"},
		"grpc-accept-encoding": {"gzip"},
		"authorization":        {"Bearer " + benchToken},
		"cookie":               {"theme=dark; better-auth.session_token=9f8e7d6c5b4a39281706f5e4d3c2b1a0; _ga=GA1.1.1234567890.1700000000"},
		"x-request-id":         {"7b0c2a52-6d3e-4f0e-9b0a-5f3c9d1e2a77"},
		"traceparent":          {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
}

type benchSession struct{ userID string }

func benchVerify(_ context.Context, token string, _ http.Header) (*benchSession, error) {
	if token != benchToken {
		return nil, interceptor.ErrInvalidSession
	}
	return &benchSession{"user-1"}, nil
}

func benchMap(_ context.Context, s *benchSession) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s.userID, Roles: []string{"user"}}, nil
}

// benchMapExpiring gives sessions an end.
func benchMapExpiring(ctx context.Context, s *benchSession) (*authcontext.AuthContext, error) {
	ac, err := benchMap(ctx, s)
	if err == nil {
		ac.ExpiresAt = time.Now().Add(24 * time.Hour)
	}
	return ac, err
}

func newBenchAuth(tb testing.TB, opts ...interceptor.Option) *interceptor.Authenticator {
	tb.Helper()
	return newBenchAuthOf(tb, benchMap, opts...)
}

func newBenchAuthOf(
	tb testing.TB, mapSession interceptor.MapFunc[*benchSession], opts ...interceptor.Option,
) *interceptor.Authenticator {
	tb.Helper()
	a, err := interceptor.NewSessionAuth(benchVerify, mapSession, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func benchInterceptor(b *testing.B, intercept grpc.UnaryServerInterceptor) {
	b.Helper()
	info := &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/UnaryCall"}
	handler := func(context.Context, any) (any, error) { return struct{}{}, nil }
	ctx := grpcmd.NewIncomingContext(context.Background(), benchMetadata())
	if _, err := intercept(ctx, nil, info, handler); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := intercept(ctx, nil, info, handler); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUnary compares what one call costs: bare, and on a hit (module benchmarks has what
// others write beside it), with an expiry, with every feature on, after a Forget, with named
// cookies, with the SDK's counter, and without a cache.
func BenchmarkUnary(b *testing.B) {
	policy := interceptor.WithCache(cache.Policy{TTL: time.Hour})
	b.Run("bare", func(b *testing.B) {
		benchInterceptor(b, func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			return h(ctx, req)
		})
	})
	b.Run("hit", func(b *testing.B) { benchInterceptor(b, newBenchAuth(b, policy).UnaryServerInterceptor()) })
	b.Run("hit-expiring", func(b *testing.B) {
		benchInterceptor(b, newBenchAuthOf(b, benchMapExpiring, policy).UnaryServerInterceptor())
	})
	b.Run("hit-full-policy", func(b *testing.B) {
		full := interceptor.WithCache(cache.Policy{
			TTL: time.Hour, RefreshAfter: time.Hour / 2, StaleIfError: time.Hour, NegativeTTL: time.Hour, MaxVerifies: 100,
		})
		benchInterceptor(b, newBenchAuthOf(b, benchMapExpiring, full, interceptor.WithStreamRecheck(time.Minute)).UnaryServerInterceptor())
	})
	b.Run("hit-after-forget", func(b *testing.B) {
		a := newBenchAuth(b, policy)
		intercept := a.UnaryServerInterceptor()
		forgetful := true
		benchInterceptor(b, func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			reply, err := intercept(ctx, req, info, h)
			if forgetful { // of another token, once this one is in memory
				forgetful = false
				_ = a.Forget(context.Background(), "another")
			}
			return reply, err
		})
	})
	b.Run("hit-cookie", func(b *testing.B) {
		extractors := interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("better-auth.session_token"))
		benchInterceptor(b, newBenchAuth(b, policy, extractors).UnaryServerInterceptor())
	})
	b.Run("hit-metrics", func(b *testing.B) {
		meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
		benchInterceptor(b, newBenchAuth(b, policy, interceptor.WithMeterProvider(meters)).UnaryServerInterceptor())
	})
	b.Run("uncached", func(b *testing.B) { benchInterceptor(b, newBenchAuth(b).UnaryServerInterceptor()) })
}
