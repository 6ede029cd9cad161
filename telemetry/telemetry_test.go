package telemetry_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

func newInstruments(t *testing.T) (*telemetry.Instruments, *tracetest.SpanRecorder, *sdkmetric.ManualReader, trace.Tracer) {
	t.Helper()
	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	i, err := telemetry.New(tracers, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	return i, spans, reader, tracers.Tracer("test")
}

func collect(t *testing.T, reader *sdkmetric.ManualReader) map[string]metricdata.Metrics {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	found := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		if scope.Scope.Name != telemetry.ScopeName || scope.Scope.Version != telemetry.Version {
			t.Errorf("scope %v", scope.Scope)
		}
		for _, m := range scope.Metrics {
			found[m.Name] = m
		}
	}
	return found
}

func TestVerification(t *testing.T) {
	i, spans, reader, tracer := newInstruments(t)
	ctx, rpc := tracer.Start(t.Context(), "rpc")
	good, v := i.Start(ctx)
	v.End(good, telemetry.NoError)
	bad, v := i.Start(ctx)
	telemetry.RecordException(bad, telemetry.Exception{Type: "*errors.errorString", Message: "no row", Stack: "main.go"})
	v.End(bad, telemetry.InvalidSession)
	rpc.End()

	ended := spans.Ended()
	if len(ended) != 3 {
		t.Fatalf("%d spans", len(ended))
	}
	for _, span := range ended[:2] {
		if span.Name() != telemetry.SpanVerify || span.Parent().SpanID() != rpc.SpanContext().SpanID() {
			t.Errorf("span %s below %s", span.Name(), span.Parent().SpanID())
		}
	}
	if s := ended[0]; len(s.Attributes()) != 0 || s.Status().Code != codes.Unset || len(s.Events()) != 0 {
		t.Errorf("a good one: %v %v %v", s.Attributes(), s.Status(), s.Events())
	}
	s := ended[1]
	if !slices.Contains(s.Attributes(), attribute.String("error.type", "invalid_session")) ||
		s.Status() != (sdktrace.Status{Code: codes.Error, Description: "invalid_session"}) {
		t.Errorf("a bad one: %v %v", s.Attributes(), s.Status())
	}
	want := []attribute.KeyValue{
		attribute.String("exception.type", "*errors.errorString"), attribute.String("exception.message", "no row"),
		attribute.String("exception.stacktrace", "main.go"),
	}
	if len(s.Events()) != 1 || s.Events()[0].Name != "exception" || !slices.Equal(s.Events()[0].Attributes, want) {
		t.Errorf("events %v", s.Events())
	}

	m := collect(t, reader)[telemetry.MetricDuration]
	h, _ := m.Data.(metricdata.Histogram[float64])
	if m.Unit != "s" || len(h.DataPoints) != 2 {
		t.Fatalf("%s in %s with %d points", m.Name, m.Unit, len(h.DataPoints))
	}
	for _, point := range h.DataPoints {
		if point.Count != 1 {
			t.Errorf("%v: %d", point.Attributes.ToSlice(), point.Count)
		}
	}
}

func TestRecord(t *testing.T) {
	i, spans, reader, tracer := newInstruments(t)
	by := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	tests := map[string]struct {
		result telemetry.Result
		err    telemetry.ErrorType
		link   bool
		event  bool
	}{
		"hit":                           {telemetry.Hit, telemetry.NoError, false, false},
		"miss":                          {telemetry.Miss, telemetry.NoError, false, false},
		"shared":                        {telemetry.Shared, telemetry.NoError, true, false},
		"shared invalid_session":        {telemetry.Shared, telemetry.InvalidSession, true, false},
		"stale":                         {telemetry.Stale, telemetry.NoError, false, true},
		"negative invalid_session":      {telemetry.Negative, telemetry.InvalidSession, false, false},
		"rejected missing_credentials":  {telemetry.Rejected, telemetry.MissingCredentials, false, false},
		"verified":                      {telemetry.Verified, telemetry.NoError, false, false},
		"anonymous":                     {telemetry.Anonymous, telemetry.NoError, false, false},
		"miss verification_unavailable": {telemetry.Miss, telemetry.VerificationUnavailable, false, false},
	}
	for name, test := range tests {
		ctx, span := tracer.Start(t.Context(), name)
		i.Record(ctx, test.result, test.err, by)
		span.End()
		ended := spans.Ended()[len(spans.Ended())-1]
		want := []attribute.KeyValue{telemetry.KeyResult.String(test.result.String())}
		if test.err != telemetry.NoError {
			want = append(want, telemetry.KeyErrorType.String(test.err.String()))
		}
		if !slices.Equal(ended.Attributes(), want) {
			t.Errorf("%s: %v", name, ended.Attributes())
		}
		if links := ended.Links(); len(links) > 0 != test.link || test.link && links[0].SpanContext.SpanID() != by.SpanID() {
			t.Errorf("%s: links %v", name, links)
		}
		if events := ended.Events(); len(events) > 0 != test.event {
			t.Errorf("%s: events %v", name, events)
		}
	}
	i.Record(t.Context(), telemetry.Hit, telemetry.NoError, trace.SpanContext{}) // no span at all
	m := collect(t, reader)[telemetry.MetricAuthentications]
	sum, _ := m.Data.(metricdata.Sum[int64])
	if m.Unit != "{request}" || !sum.IsMonotonic || len(sum.DataPoints) != len(tests) {
		t.Fatalf("%s in %s with %d points", m.Name, m.Unit, len(sum.DataPoints))
	}
	for _, point := range sum.DataPoints {
		result, _ := point.Attributes.Value(telemetry.KeyResult)
		if want := map[bool]int64{true: 2, false: 1}[result.AsString() == "hit"]; point.Value != want {
			t.Errorf("%v: %d, want %d", point.Attributes.ToSlice(), point.Value, want)
		}
	}
}

func TestEntriesOfSeveralCachesAddUp(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	for n := range 2 {
		i, err := telemetry.New(nil, meters)
		if err != nil {
			t.Fatal(err)
		}
		registration, err := i.ObserveEntries(func() (sessions, refusals int) { return 10 * (n + 1), n + 1 })
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := registration.Unregister(); err != nil {
				t.Error(err)
			}
		}()
	}
	m := collect(t, reader)[telemetry.MetricEntries]
	sum, _ := m.Data.(metricdata.Sum[int64])
	if m.Unit != "{entry}" || len(sum.DataPoints) != 2 {
		t.Fatalf("%s in %s: %v", m.Name, m.Unit, m.Data)
	}
	for _, point := range sum.DataPoints {
		kind, _ := point.Attributes.Value(telemetry.KeyEntry)
		if want := map[string]int64{"session": 30, "refusal": 3}[kind.AsString()]; point.Value != want {
			t.Errorf("%s: %d, want %d", kind.AsString(), point.Value, want)
		}
	}
}

func TestNilProvidersMeanTheGlobalOnes(t *testing.T) {
	i, err := telemetry.New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, v := i.Start(t.Context())
	v.End(ctx, telemetry.VerificationFailed)
	i.Record(ctx, telemetry.Hit, telemetry.NoError, trace.SpanContext{})
	telemetry.RecordException(ctx, telemetry.Exception{Type: "x"})
}

func TestNamesOfEveryValue(t *testing.T) {
	seen := map[string]bool{}
	for r := telemetry.Rejected; r <= telemetry.Negative; r++ {
		seen[r.String()] = true
	}
	for e := telemetry.NoError; e <= telemetry.CallerGone; e++ {
		seen[e.String()] = true
	}
	if want := int(telemetry.Negative) + int(telemetry.CallerGone) + 2; len(seen) != want || seen["unknown"] {
		t.Errorf("%d names, want %d: %v", len(seen), want, seen)
	}
	if telemetry.Result(99).String() != "unknown" || telemetry.ErrorType(99).String() != "unknown" {
		t.Error("a value of no meaning has a name")
	}
}

func ExampleInstruments() {
	spans := tracetest.NewSpanRecorder()
	i, err := telemetry.New(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, verification := i.Start(context.Background())
	verification.End(ctx, telemetry.SessionExpired)
	fmt.Println(spans.Ended()[0].Name(), "failed:", spans.Ended()[0].Status().Description)
	// Output: verify session failed: session_expired
}
