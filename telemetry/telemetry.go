// Package telemetry holds the OpenTelemetry instruments of session
// authentication and the names of what they record.
//
// A run of the verify and map callbacks is one span, SpanVerify, below the RPC
// that started it, and one measurement of MetricDuration. A call that is answered
// by somebody else's run gets a link to that span; one answered from memory makes
// no span at all and sets KeyResult on the RPC's own, where a stats handler such
// as otelgrpc's has put one that is recording.
//
// # Security
//
// No token, subject or claim is recorded. The text of a callback's error goes on
// the span, with every form of the credential that the interceptor knows of cut
// out.
package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// Instruments makes the spans and metrics. It is safe for concurrent use.
type Instruments struct {
	tracer          trace.Tracer
	meter           metric.Meter
	duration        metric.Float64Histogram
	authentications *authentications
	entries         metric.Int64ObservableUpDownCounter

	// Built once: making an attribute set costs more than measuring.
	measured [errorTypes][]metric.RecordOption
}

// New returns instruments of these providers; a nil one means the global one. The
// error is that of the meter.
func New(tracers trace.TracerProvider, meters metric.MeterProvider) (*Instruments, error) {
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	i := &Instruments{
		tracer: tracers.Tracer(ScopeName, trace.WithInstrumentationVersion(Version)),
		meter:  meters.Meter(ScopeName, metric.WithInstrumentationVersion(Version)),
	}
	var errs [3]error
	i.duration, errs[0] = i.meter.Float64Histogram(MetricDuration, metric.WithUnit("s"),
		metric.WithDescription("Duration of the verification of a session."),
		metric.WithExplicitBucketBoundaries(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10))
	i.authentications, errs[1] = newAuthentications(i.meter)
	i.entries, errs[2] = i.meter.Int64ObservableUpDownCounter(MetricEntries, metric.WithUnit("{entry}"),
		metric.WithDescription("Entries in the cache of verified sessions."))
	for e := range errorTypes {
		i.measured[e] = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(errorAttributes(e)...))}
	}
	return i, errors.Join(errs[:]...)
}

func errorAttributes(e ErrorType) []attribute.KeyValue {
	if e == NoError {
		return nil
	}
	return []attribute.KeyValue{KeyErrorType.String(e.String())}
}

// ObserveEntries reports what count returns as MetricEntries at every collection,
// until the registration is undone.
func (i *Instruments) ObserveEntries(count func() (sessions, refusals int)) (metric.Registration, error) {
	session := metric.WithAttributeSet(attribute.NewSet(KeyEntry.String("session")))
	refusal := metric.WithAttributeSet(attribute.NewSet(KeyEntry.String("refusal")))
	return i.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		sessions, refusals := count()
		o.ObserveInt64(i.entries, int64(sessions), session)
		o.ObserveInt64(i.entries, int64(refusals), refusal)
		return nil
	}, i.entries)
}

// Record counts one call, and says on the RPC's span, if ctx carries one that is
// recording, how it was authenticated. by is the verification that another call
// started and this one was answered by; otherwise it is not valid.
func (i *Instruments) Record(ctx context.Context, r Result, e ErrorType, by trace.SpanContext) {
	i.authentications.count(r, e)
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(KeyResult.String(r.String()))
	span.SetAttributes(errorAttributes(e)...)
	if r == Stale {
		span.AddEvent(EventStale)
	}
	if r == Shared && by.IsValid() {
		span.AddLink(trace.Link{SpanContext: by})
	}
}

// RecordException puts the cause of a failure on the span that ctx carries, a
// verification's or, for a failure outside of any, the RPC's.
func RecordException(ctx context.Context, x Exception) {
	x.addTo(trace.SpanFromContext(ctx))
}

// Verification is one run of the callbacks. It belongs to the goroutine that
// started it.
type Verification struct {
	instruments *Instruments
	span        trace.Span
	start       time.Time
}

// Start begins the span of a verification and returns a context that carries it.
func (i *Instruments) Start(ctx context.Context) (context.Context, Verification) {
	ctx, span := i.tracer.Start(ctx, SpanVerify)  //nolint:spancheck // Verification.End ends it
	return ctx, Verification{i, span, time.Now()} //nolint:spancheck // Verification.End ends it
}

// SpanContext identifies the verification, for the calls that share its answer.
func (v Verification) SpanContext() trace.SpanContext { return v.span.SpanContext() }

// End ends the span and measures the run. ctx is the one that Start returned.
func (v Verification) End(ctx context.Context, e ErrorType) {
	if v.instruments.duration.Enabled(ctx) {
		v.instruments.duration.Record(ctx, time.Since(v.start).Seconds(), v.instruments.measured[e]...)
	}
	if e != NoError {
		v.span.SetAttributes(errorAttributes(e)...)
		v.span.SetStatus(codes.Error, e.String())
	}
	v.span.End()
}

// Exception is the cause of a failure, with every secret cut out of it. The zero
// value is none.
type Exception struct {
	Type, Message, Stack string
}

func (x Exception) addTo(span trace.Span) {
	if x.Type == "" || !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{
		attribute.String("exception.type", x.Type),
		attribute.String("exception.message", x.Message),
	}
	if x.Stack != "" {
		attributes = append(attributes, attribute.String("exception.stacktrace", x.Stack))
	}
	span.AddEvent("exception", trace.WithAttributes(attributes...))
}
