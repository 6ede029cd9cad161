//go:build !race

package interceptor_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestAHitAllocatesAContextAlone: with metrics, too. With the race detector a pool forgets.
func TestAHitAllocatesAContextAlone(t *testing.T) {
	a, err := interceptor.NewSessionAuth(benchVerify, benchMapExpiring, interceptor.WithCache(cache.Policy{TTL: time.Hour}),
		interceptor.WithExtractors(authmd.Bearer()), interceptor.WithMeterProvider(sdkmetric.NewMeterProvider()))
	if err != nil {
		t.Fatal(err)
	}
	unary := a.UnaryServerInterceptor()
	ctx := grpcmd.NewIncomingContext(t.Context(), benchMetadata())
	info := &grpc.UnaryServerInfo{FullMethod: "/s/M"}
	handler := func(context.Context, any) (any, error) { return nil, nil }
	if n := testing.AllocsPerRun(200, func() {
		if _, err := unary(ctx, nil, info, handler); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
	if s := a.Stats(); s.Hits != 200 || s.Misses != 1 {
		t.Errorf("%+v", s)
	}
}

// TestAHitOfADoorCopiesNoValues of the header: what it allocates is the Session, and a first
// time the place for names.
func TestAHitOfADoorCopiesNoValues(t *testing.T) {
	a, err := interceptor.NewSessionAuth(benchVerify, benchMapExpiring, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Authorization": {"Bearer " + benchToken}, "Accept": {"*/*"}}
	if n := testing.AllocsPerRun(200, func() {
		found, err := a.Authenticate(t.Context(), header)
		if err != nil {
			t.Fatal(err)
		}
		_ = found.Session.Close()
	}); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}
