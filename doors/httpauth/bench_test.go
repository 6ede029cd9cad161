package httpauth_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// BenchmarkHit is a request that is answered from memory, as a unary call and here.
func BenchmarkHit(b *testing.B) {
	const token = "kJ8vQ2mZ0xT5rW7yB1nC4dF6gH9jL3pS_aEuIoPqRtY"
	auth, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (*string, error) {
		return &token, nil
	}, func(_ context.Context, s *string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: "user-1", Roles: []string{"user"}}, nil
	}, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		b.Fatal(err)
	}
	md := grpcmd.MD{
		":authority":           {"api.example.test:443"},
		"content-type":         {"application/grpc"},
		"user-agent":           {"grpc-go/1.85.0"},
		"grpc-accept-encoding": {"gzip"},
		"authorization":        {"Bearer " + token},
		"cookie":               {"theme=dark; better-auth.session_token=9f8e7d6c5b4a39281706f5e4d3c2b1a0; _ga=GA1.1.1234567890.1700000000"},
		"x-request-id":         {"7b0c2a52-6d3e-4f0e-9b0a-5f3c9d1e2a77"},
		"traceparent":          {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	b.Run("grpc", func(b *testing.B) {
		intercept := auth.UnaryServerInterceptor()
		info := &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/UnaryCall"}
		handler := func(context.Context, any) (any, error) { return nil, nil }
		ctx := grpcmd.NewIncomingContext(b.Context(), md)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := intercept(ctx, nil, info, handler); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("http", func(b *testing.B) {
		handler := protect(b, auth, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		r := newRequest(b, http.MethodGet, "http://api.example.test/", nil)
		for name, values := range md {
			if name[0] != ':' {
				r.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		w := &discard{http.Header{}}
		b.ReportAllocs()
		for b.Loop() {
			handler.ServeHTTP(w, r)
		}
		if len(w.header) > 0 {
			b.Fatal(w.header)
		}
	})
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
