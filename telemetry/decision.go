package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
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

// RecordDecision puts a decision on the RPC's span, if ctx carries one that is
// recording, with the first 16 of its unmet rules.
func RecordDecision(ctx context.Context, d Decision) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if d.Allowed {
		span.SetAttributes(KeyDecision.String("allow"), KeyRule.String(d.Rule))
		return
	}
	span.SetAttributes(KeyDecision.String("deny"), KeyRule.String(d.Rule))
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
