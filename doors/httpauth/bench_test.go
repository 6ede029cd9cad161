package httpauth_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// hits are the ways to answer a request from memory, each with one of 10,000 sessions.
type hits struct {
	grpc, http, withContext func(i int)
}

const sessions = 10_000

// nothing is a handler of which the compiler does not know what it does with a request.
var nothing http.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// newHits returns them. withContext is what a middleware that puts a value into the context of
// a request costs, whatever it does besides.
func newHits(b *testing.B) hits {
	auth, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (*string, error) {
		return &token, nil
	}, func(_ context.Context, s *string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: (*s)[:12], Roles: []string{"user"}, ExpiresAt: time.Now().Add(24 * time.Hour)}, nil
	}, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		b.Fatal(err)
	}
	tokens := make([]string, sessions)
	for i := range tokens {
		tokens[i] = fmt.Sprintf("Bearer user-%07d-0123456789abcdefghijklmnopqrst", i)
	}
	// What a transport has just read is in the CPU's cache, of which session it is not.
	token := []string{""}
	md := grpcmd.MD{
		":authority":           {"api.example.test:443"},
		"content-type":         {"application/grpc"},
		"user-agent":           {"grpc-go/1.85.0"},
		"grpc-accept-encoding": {"gzip"},
		"authorization":        token,
		"cookie":               {"theme=dark; _ga=GA1.1.1234567890.1700000000"},
		"x-request-id":         {"7b0c2a52-6d3e-4f0e-9b0a-5f3c9d1e2a77"},
		"traceparent":          {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	}
	ctx := grpcmd.NewIncomingContext(b.Context(), md)
	r := newRequest(b, http.MethodGet, "http://api.example.test/", nil)
	for name, values := range md {
		if name[0] != ':' {
			r.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	intercept, info := auth.UnaryServerInterceptor(), &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/UnaryCall"}
	unary := func(context.Context, any) (any, error) { return nil, nil }
	handler, w := protect(b, auth, nothing), &discard{http.Header{}}
	type key struct{}
	return hits{
		grpc: func(i int) {
			token[0] = tokens[i]
			if _, err := intercept(ctx, nil, info, unary); err != nil {
				b.Fatal(err)
			}
		},
		http: func(i int) {
			token[0] = tokens[i]
			if handler.ServeHTTP(w, r); len(w.header) > 0 {
				b.Fatal(w.header)
			}
		},
		withContext: func(int) {
			nothing.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, w)))
		},
	}
}

// BenchmarkHit is a request that is answered from memory, as a unary call and here.
func BenchmarkHit(b *testing.B) {
	h := newHits(b)
	for name, hit := range map[string]func(int){"grpc": h.grpc, "http": h.http, "with-context": h.withContext} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				hit(i * stride % sessions)
			}
		})
	}
}

// stride leads through all sessions in an order that no prefetcher follows.
const stride = 7919

// BenchmarkHitBesideGRPC compares the two in short slices that take turns: what else the machine
// does hits both. http/grpc is the median of their ratios; own/grpc that without what any middleware with
// a context costs.
func BenchmarkHitBesideGRPC(b *testing.B) {
	h := newHits(b)
	ways := []func(int){h.grpc, h.http, h.withContext}
	const calls = 500
	var walked [3]int
	slice := func(way int) float64 {
		start := time.Now()
		for range calls {
			ways[way](walked[way] * stride % sessions)
			walked[way]++
		}
		return float64(time.Since(start).Nanoseconds()) / calls
	}
	for way := range ways {
		for range 2 * sessions / calls { // to verify, and to warm up
			slice(way)
		}
	}
	order := []int{0, 1, 2}
	var took [3]float64
	var ns [3][]float64
	var whole, own []float64
	for b.Loop() {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, way := range order {
			took[way] = slice(way)
			ns[way] = append(ns[way], took[way])
		}
		whole = append(whole, took[1]/took[0])
		own = append(own, (took[1]-took[2])/took[0])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ns[0]), "grpc-ns")
	b.ReportMetric(median(ns[1]), "http-ns")
	b.ReportMetric(median(ns[2]), "with-context-ns")
	b.ReportMetric(median(whole), "http/grpc")
	b.ReportMetric(median(own), "own/grpc")
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}
