package telemetry_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

func TestDecisions(t *testing.T) {
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	d, err := telemetry.NewDecisions(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	var unmet []telemetry.Unmet
	for range 20 {
		unmet = append(unmet, telemetry.Unmet{Rule: "admins", Roles: []string{"admin"}, Scopes: []string{"write"}})
	}
	for _, one := range []telemetry.Decision{
		{Allowed: true, Rule: "readers"},
		{Rule: "(default policy)", Error: telemetry.AccessDenied, Unmet: unmet},
		{Rule: "(no identity)", Error: telemetry.MissingCredentials},
	} {
		ctx, span := tracer.Start(t.Context(), "rpc")
		d.Record(ctx, one)
		span.End()
		d.Record(t.Context(), one) // no span at all
	}
	m := collect(t, reader)[telemetry.MetricDecisions]
	sum, _ := m.Data.(metricdata.Sum[int64])
	if m.Unit != "{request}" || !sum.IsMonotonic {
		t.Errorf("%s in %s", m.Name, m.Unit)
	}
	got := map[string]int64{}
	for _, point := range sum.DataPoints {
		got[point.Attributes.Encoded(attribute.DefaultEncoder())] = point.Value
	}
	if want := (map[string]int64{
		"sessionauth.decision=allow": 2, "error.type=access_denied,sessionauth.decision=deny": 2,
		"error.type=missing_credentials,sessionauth.decision=deny": 2,
	}); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
	ended := spans.Ended()
	for i, want := range []string{
		"[{sessionauth.decision allow} {sessionauth.rule readers}]",
		"[{sessionauth.decision deny} {sessionauth.rule (default policy)} {error.type access_denied}]",
		"[{sessionauth.decision deny} {sessionauth.rule (no identity)} {error.type missing_credentials}]",
	} {
		var attributes []string
		for _, a := range ended[i].Attributes() {
			attributes = append(attributes, fmt.Sprintf("{%s %s}", a.Key, a.Value.AsString()))
		}
		if got := fmt.Sprint(attributes); got != want {
			t.Errorf("span %d: %s, want %s", i, got, want)
		}
	}
	events := ended[1].Events()
	want := []attribute.KeyValue{
		telemetry.KeyRule.String("admins"), telemetry.KeyMissingRoles.StringSlice([]string{"admin"}),
		telemetry.KeyMissingScopes.StringSlice([]string{"write"}),
	}
	if len(events) != 16 || events[0].Name != telemetry.EventUnmet || !slices.EqualFunc(events[0].Attributes, want, func(a, b attribute.KeyValue) bool { return a.Key == b.Key && a.Value.String() == b.Value.String() }) {
		t.Errorf("%d events: %v", len(events), events[0])
	}
}

func TestDecisionsGoToTheGlobalProviderByDefault(t *testing.T) {
	d, err := telemetry.NewDecisions(nil)
	if err != nil {
		t.Fatal(err)
	}
	d.Record(t.Context(), telemetry.Decision{Allowed: true})
}
