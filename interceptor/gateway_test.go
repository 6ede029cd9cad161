package interceptor_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

const gatewaySecret = "0123456789abcdef0123456789abcdef"

func TestGatewayTelemetry(t *testing.T) {
	tests := map[string]struct {
		header http.Header
		want   []attribute.KeyValue
		cause  string
	}{
		"an identity": {
			http.Header{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}},
			[]attribute.KeyValue{telemetry.KeyResult.String("verified")}, "",
		},
		"nobody": {
			http.Header{"X-Gateway-Secret": {gatewaySecret}},
			[]attribute.KeyValue{telemetry.KeyResult.String("anonymous")}, "",
		},
		"an untrusted caller": {
			http.Header{"X-Gateway-Secret": {"s3cr3t"}, "X-Auth-Subject": {"ann"}},
			[]attribute.KeyValue{telemetry.KeyResult.String("rejected"), telemetry.KeyErrorType.String("untrusted_caller")}, "",
		},
		"a malformed identity": {
			http.Header{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}, "X-Auth-Roles": {"s3cr3t"}},
			[]attribute.KeyValue{telemetry.KeyResult.String("rejected"), telemetry.KeyErrorType.String("malformed_identity")},
			"authcontext: x-auth-roles: not JSON",
		},
		"an expired one": {
			http.Header{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}, "X-Auth-Expires-At": {"2001-01-01T00:00:00Z"}},
			[]attribute.KeyValue{telemetry.KeyResult.String("rejected"), telemetry.KeyErrorType.String("session_expired")}, "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
			tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			g, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(gatewaySecret), interceptor.WithOptionalAuth(),
				interceptor.WithTracerProvider(tracers), interceptor.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
			if err != nil {
				t.Fatal(err)
			}
			ctx, span := tracers.Tracer("test").Start(t.Context(), "rpc")
			_, _ = g.Authenticate(ctx, test.header)
			span.End()
			ended := spans.Ended()
			if len(ended) != 1 || !slices.Equal(ended[0].Attributes(), test.want) {
				t.Errorf("%d spans with %v", len(ended), ended[0].Attributes())
			}
			cause := ""
			for _, event := range ended[0].Events() {
				cause += event.Attributes[1].Value.AsString()
			}
			if cause != test.cause {
				t.Errorf("cause %q", cause)
			}
			var all metricdata.ResourceMetrics
			if err := reader.Collect(t.Context(), &all); err != nil {
				t.Fatal(err)
			}
			counted := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64]).DataPoints
			if len(counted) != 1 || counted[0].Value != 1 || counted[0].Attributes.Len() != len(test.want) {
				t.Errorf("counted %v", counted)
			}
		})
	}
}

func BenchmarkGateway(b *testing.B) {
	g, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(gatewaySecret))
	if err != nil {
		b.Fatal(err)
	}
	encoded, err := authcontext.EncodeHeader(&authcontext.AuthContext{
		Subject: "user-1", Type: "session", Roles: []string{"user"}, Scopes: []string{"read"}, ExpiresAt: time.Now().Add(time.Hour),
	})
	if err != nil {
		b.Fatal(err)
	}
	md := benchMetadata()
	for name, value := range encoded {
		md.Set(name, value)
	}
	md.Set("x-gateway-secret", gatewaySecret)
	ctx := grpcmd.NewIncomingContext(b.Context(), md)
	intercept, info := g.UnaryServerInterceptor(), &grpc.UnaryServerInfo{FullMethod: "/a.B/C"}
	handler := func(context.Context, any) (any, error) { return nil, nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := intercept(ctx, nil, info, handler); err != nil {
			b.Fatal(err)
		}
	}
}
