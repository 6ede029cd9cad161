package interceptor_test

import (
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

func TestAnAuditLearnsWhatWasAskedFor(t *testing.T) {
	a := newBenchAuth(t)
	want := func(unary, stream bool) {
		t.Helper()
		if gotUnary, gotStream := a.Installed(); gotUnary != unary || gotStream != stream {
			t.Errorf("got %t, %t, want %t, %t", gotUnary, gotStream, unary, stream)
		}
	}
	want(false, false)
	a.StreamServerInterceptor()
	want(false, true)
	a.UnaryServerInterceptor()
	want(true, true)
}

// TestBothKindsOfEntryAreCounted for as long as there is somebody to have them.
func TestBothKindsOfEntryAreCounted(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	a := newBenchAuth(t, interceptor.WithCache(cache.Policy{TTL: 1e12, NegativeTTL: 1e12}), interceptor.WithMeterProvider(provider))
	for _, token := range []string{benchToken, "junk", "more-junk"} {
		_, _ = a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + token}})
	}
	entries := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		got := map[string]int64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == telemetry.MetricEntries {
					for _, point := range sum.DataPoints {
						kind, _ := point.Attributes.Value(telemetry.KeyEntry)
						got[kind.AsString()] = point.Value
					}
				}
			}
		}
		return got
	}
	if got := entries(); got["session"] != 1 || got["refusal"] != 2 {
		t.Errorf("got %v", got)
	}
	runtime.KeepAlive(a)
	for len(entries()) > 0 {
		runtime.GC()
	}
}

// TestBoundsHoldWhateverTheNameLooksLike: a header may have names as metadata has them, and
// a call's :authority is bounded as "Host".
func TestBoundsHoldWhateverTheNameLooksLike(t *testing.T) {
	long := strings.Repeat("a", 64<<10+1)
	a := newBenchAuth(t, interceptor.WithKeyHeaders("Host"))
	_, err := a.Authenticate(t.Context(), http.Header{"cookie": {long}, "Authorization": {"Bearer " + benchToken}})
	if status.Code(err) != codes.Unauthenticated || status.Convert(err).Message() != "invalid session" {
		t.Errorf("a cookie in lower case: %v", err)
	}
	for size, want := range map[int]codes.Code{100: codes.OK, len(long): codes.Unauthenticated} {
		ctx := grpcmd.NewIncomingContext(t.Context(), grpcmd.MD{":authority": {long[:size]}, "authorization": {"Bearer " + benchToken}})
		if _, err := a.AuthFunc(ctx); status.Code(err) != want {
			t.Errorf("an authority of %d bytes: %v", size, err)
		}
	}
}

// TestAWholeHeaderIsHandedOnUpToItsBound is about the numbers themselves.
func TestAWholeHeaderIsHandedOnUpToItsBound(t *testing.T) {
	const values, size = 1024, 256 << 10
	token := "Bearer " + benchToken
	custom := authmd.ExtractorFunc(func(h http.Header) (string, bool) { return benchToken, h.Get("Authorization") != "" })
	a := newBenchAuth(t, interceptor.WithExtractors(custom))
	rest := size - len("Authorization") - len(token) - len("X-A")
	for name, test := range map[string]struct {
		header http.Header
		want   codes.Code
	}{
		"as many values":  {http.Header{"Authorization": {token}, "X-A": make([]string, values-1)}, codes.OK},
		"one more":        {http.Header{"Authorization": {token}, "X-A": make([]string, values)}, codes.Unauthenticated},
		"as many bytes":   {http.Header{"Authorization": {token}, "X-A": {strings.Repeat("a", rest)}}, codes.OK},
		"one more of one": {http.Header{"Authorization": {token}, "X-A": {strings.Repeat("a", rest+1)}}, codes.Unauthenticated},
	} {
		if _, err := a.Authenticate(t.Context(), test.header); status.Code(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestNobodysHeaderForHandlers: nobody names somebody either.
func TestNobodysHeaderForHandlers(t *testing.T) {
	a := newBenchAuth(t, interceptor.WithOptionalAuth())
	header := http.Header{"X-Auth-Subject": {"x"}, "Accept": {"a"}}
	found, err := a.Authenticate(t.Context(), header)
	if got := found.HandlerHeader(header); err != nil || found.Identity != nil || len(got) != 1 || got.Get("Accept") != "a" {
		t.Errorf("%v, %v, %v", got, found, err)
	}
}

// TestTheHeaderForHandlers: without what is not theirs, and otherwise as it came.
func TestTheHeaderForHandlers(t *testing.T) {
	g, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ header, want http.Header }{
		"nothing to hide": {http.Header{"Accept": {"a", "b"}}, http.Header{"Accept": {"a", "b"}}},
		"an identity":     {http.Header{"Accept": {"a"}, "X-Auth-Subject": {"x"}}, http.Header{"Accept": {"a"}}},
		"the secret":      {http.Header{"Accept": {"a"}, "X_gateway_secret": {"x"}}, http.Header{"Accept": {"a"}}},
		"no header":       {nil, nil},
	} {
		before := test.header.Clone()
		if got := g.HandlerHeader(test.header); !reflect.DeepEqual(got, test.want) || !reflect.DeepEqual(test.header, before) {
			t.Errorf("%s: %v of %v, want %v", name, got, test.header, test.want)
		}
	}
}
