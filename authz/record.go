package authz

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// record tells the operator of a decision: in the metric, on the call's span and, if it
// is a denial, in the log. That a stream is allowed once more is nothing to tell.
func (a *Authorizer) record(ctx context.Context, d *decision, r telemetry.Decision) {
	if d.again && r.Allowed {
		return
	}
	if d.cause != nil && trace.SpanFromContext(ctx).IsRecording() {
		telemetry.RecordException(ctx, redact.Exception(d.cause, nil))
	}
	a.decisions.Record(ctx, r)
	if r.Allowed || a.log == nil {
		return
	}
	fullMethod, cause := d.fullMethod, d.cause // so that d need not be on the heap
	attrs := []slog.Attr{
		slog.Any("method", text(func() string { return redact.Text(fullMethod, nil) })), // a client wrote it
		slog.String("rule", r.Rule),
		slog.String(string(telemetry.KeyErrorType), r.Error.String()),
	}
	if d.caller != nil {
		attrs = append(attrs, slog.String("subject", d.caller.Subject))
	}
	level := slog.LevelInfo
	if cause != nil {
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("cause", text(func() string { return redact.Exception(cause, nil).Message })))
	}
	a.log.Log(ctx, level, "call denied", attrs...)
}

// text is an attribute that is made only if its line is written.
type text func() string

// LogValue implements [slog.LogValuer].
func (f text) LogValue() slog.Value { return slog.StringValue(f()) }
