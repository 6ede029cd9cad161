package extauthz_test

import (
	"context"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// browserHeaders are those of a request that came from a browser through Envoy.
func browserHeaders(token string) []string {
	return []string{
		"content-type", "application/grpc-web+proto", "cookie", "theme=dark; sid=" + token + "; _ga=GA1.2.1234567890.1700000000",
		"accept", "*/*", "accept-encoding", "gzip, deflate, br, zstd", "accept-language", "en-GB,en;q=0.9,de;q=0.8", "origin", "https://app.example",
		"referer", "https://app.example/", "sec-fetch-dest", "empty", "sec-fetch-mode", "cors", "sec-fetch-site", "same-site",
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"x-forwarded-for", "203.0.113.7", "x-forwarded-proto", "https", "x-grpc-web", "1", "x-request-id", "776c904d-c866-449b-b2da-8aa88ff2d41f",
	}
}

// BenchmarkCheck answers from memory, without a network.
func BenchmarkCheck(b *testing.B) {
	var o owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada", Name: "Ada", Roles: []string{"user"}, ExpiresAt: time.Now().Add(time.Hour)})
	auth := newAuth(b, &o, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	rules, err := authz.New(authz.WithRules(authz.Rule{Name: "all", Effect: authz.Allow, Roles: []string{"user"}, Methods: []string{"*"}}))
	if err != nil {
		b.Fatal(err)
	}
	s := newServer(b, auth, extauthz.WithAuthorizer(rules))
	for name, in := range map[string]*authv3.CheckRequest{
		"hit by bearer":             ask("POST", unaryCall, "content-type", grpcType, "user-agent", "grpc-go/1.85.0", "authorization", "Bearer "+token, "te", "trailers"),
		"hit by cookie, of browser": ask("POST", unaryCall, browserHeaders(token)...),
		"the same, raw":             askRaw("POST", unaryCall, browserHeaders(token)...),
		"refused":                   ask("POST", unaryCall, "content-type", grpcType),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			for b.Loop() {
				if out, err := s.Check(ctx, in); err != nil || allowed(out, err) == (name == "refused") {
					b.Fatal(out, err)
				}
			}
		})
	}
}

// stub allows everything.
type stub struct {
	authv3.UnimplementedAuthorizationServer
}

func (stub) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				{Header: &corev3.HeaderValue{Key: "x-auth-subject", Value: "ada"}}, {Header: &corev3.HeaderValue{Key: "x-gateway-secret", Value: secret}},
			},
		}},
	}, nil
}

// BenchmarkThroughEnvoy makes calls through Envoy, one after the other, which asks a Server that
// answers from memory, or a stub that allows everything, by turns.
func BenchmarkThroughEnvoy(b *testing.B) {
	var o owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"user"}})
	asked := newServer(b, newAuth(b, &o, interceptor.WithCache(cache.Policy{TTL: time.Hour}), skipsEmptyCall))
	fronts := []struct {
		name  string
		front *front
		took  []time.Duration
	}{{name: "server", front: newFront(b, asked)}, {name: "stub", front: newFront(b, stub{})}}
	ctx := authtest.WithBearer(b.Context(), token)
	for b.Loop() {
		for i := range fronts {
			f := &fronts[i]
			start := time.Now()
			if _, err := f.front.rpc.UnaryCall(ctx, &grpc_testing.SimpleRequest{}); err != nil {
				b.Fatal(err)
			}
			f.took = append(f.took, time.Since(start))
		}
	}
	for _, f := range fronts {
		slices.Sort(f.took)
		b.ReportMetric(float64(f.took[len(f.took)/2].Microseconds()), f.name+"-p50-µs")
		b.ReportMetric(float64(f.took[len(f.took)*99/100].Microseconds()), f.name+"-p99-µs")
	}
}
