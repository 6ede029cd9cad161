package main

import (
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// tracing keeps the spans in memory, to print the trace of one verification.
type tracing struct {
	*sdktrace.TracerProvider

	spans *tracetest.SpanRecorder
}

func newTracing() tracing {
	spans := tracetest.NewSpanRecorder()
	return tracing{sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), spans}
}

// print prints the first trace in which a span of this name ended well, as a tree.
func (t tracing) print(out io.Writer, name string) error {
	for _, span := range t.spans.Ended() {
		if span.Name() == name && span.Status().Code != codes.Error {
			t.printBelow(out, span.SpanContext().TraceID(), trace.SpanID{}, "   ")
			return nil
		}
	}
	return fmt.Errorf("there is no trace with a span %q", name)
}

func (t tracing) printBelow(out io.Writer, id trace.TraceID, parent trace.SpanID, indent string) {
	for _, span := range t.spans.Ended() {
		if span.SpanContext().TraceID() != id || span.Parent().SpanID() != parent {
			continue
		}
		took := span.EndTime().Sub(span.StartTime()).Round(time.Microsecond)
		fmt.Fprintf(out, "%s%s (%v)\n", indent, span.Name(), took)
		for _, attribute := range span.Attributes() {
			fmt.Fprintf(out, "%s  · %s = %s\n", indent, attribute.Key, attribute.Value.String())
		}
		t.printBelow(out, id, span.SpanContext().SpanID(), indent+"    ")
	}
}
