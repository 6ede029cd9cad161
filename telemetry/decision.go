package telemetry

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// maxUnmet bounds the events of one denied call.
const maxUnmet = 16

// Decision is whether a caller may call a method, and why.
type Decision struct {
	Allowed bool
	Rule    string    // that decided
	Error   ErrorType // why not, unless allowed
	Unmet   []Unmet   // the rules that would have allowed it
}

// Unmet is a rule whose requirements a caller does not meet.
type Unmet struct {
	Rule          string
	Roles, Scopes []string // what is missing: any of the roles, all of the scopes
}

// MetricDecisions counts calls, in {request}, by KeyDecision and, where one was denied,
// KeyErrorType. A stream that is denied after it was allowed is counted for both.
const MetricDecisions = "sessionauth.decisions"

// Decisions records decisions. It is safe for concurrent use.
type Decisions struct {
	counter metric.Int64Counter

	// Built once: making an attribute set costs more than counting.
	allowed []metric.AddOption
	denied  [errorTypes][]metric.AddOption
}

// NewDecisions returns what records to this provider; a nil one means the global one. The
// error is that of the meter.
func NewDecisions(meters metric.MeterProvider) (*Decisions, error) {
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	d := &Decisions{allowed: []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(allow))}}
	for e := range errorTypes {
		d.denied[e] = []metric.AddOption{metric.WithAttributeSet(attribute.NewSet(append(errorAttributes(e), deny)...))}
	}
	var err error
	d.counter, err = meters.Meter(ScopeName, metric.WithInstrumentationVersion(Version)).Int64Counter(MetricDecisions,
		metric.WithUnit("{request}"), metric.WithDescription("Calls by whether their callers might make them."))
	return d, err
}

var allow, deny = KeyDecision.String("allow"), KeyDecision.String("deny")

// Record counts a decision, and puts it on the RPC's span, if ctx carries one that is
// recording, with the first 16 of its unmet rules.
func (r *Decisions) Record(ctx context.Context, d Decision) {
	if r.counter.Enabled(ctx) {
		r.counter.Add(ctx, 1, r.attributes(d)...)
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if d.Allowed {
		span.SetAttributes(allow, KeyRule.String(d.Rule))
		return
	}
	span.SetAttributes(deny, KeyRule.String(d.Rule))
	span.SetAttributes(errorAttributes(d.Error)...)
	for _, unmet := range d.Unmet[:min(len(d.Unmet), maxUnmet)] {
		attributes := []attribute.KeyValue{KeyRule.String(unmet.Rule)}
		if len(unmet.Roles) > 0 {
			attributes = append(attributes, KeyMissingRoles.StringSlice(unmet.Roles))
		}
		if len(unmet.Scopes) > 0 {
			attributes = append(attributes, KeyMissingScopes.StringSlice(unmet.Scopes))
		}
		span.AddEvent(EventUnmet, trace.WithAttributes(attributes...))
	}
}

func (r *Decisions) attributes(d Decision) []metric.AddOption {
	if d.Allowed {
		return r.allowed
	}
	return r.denied[d.Error]
}
