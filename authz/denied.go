package authz

import (
	"context"

	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// What can decide about a call besides a [Rule], as a [DeniedError] and spans name it.
// No rule can have such a name.
const (
	RulePublic        = "(public method)"
	RuleProto         = "(proto options)"
	RuleAuthorize     = "(authorize callback)"
	RuleDefaultPolicy = "(default policy)"
	RuleMethodName    = "(malformed method name)"
	RuleNoIdentity    = "(no identity)" // on spans only: the call is Unauthenticated
)

// DeniedError is the error of a call that was denied. Clients get PermissionDenied
// "access denied" with the reason ACCESS_DENIED and nothing else of it; an interceptor
// that runs before the [Authorizer]'s finds the rest with [errors.As], to log it. It
// belongs to the call and may be kept.
type DeniedError struct {
	// Method is the full name of the method, "/pkg.Service/Method".
	Method string
	// Rule is the name of the rule that denied the call, or one of the Rule constants.
	Rule string
	// Unmet are the rules, in order, that would have allowed the call if the caller had
	// what they require. Nil if there is no such rule.
	Unmet []UnmetRule
}

// UnmetRule is a rule whose requirements a caller does not meet.
type UnmetRule struct {
	// Rule is the name of the rule; RuleProto for the options of a .proto file.
	Rule string
	// AnyRole are the roles that the rule asks for, of which the caller has none. It is
	// nil if the caller has one, or the rule asks for none.
	AnyRole []string
	// Scopes are those scopes that the rule asks for and the caller does not have.
	Scopes []string
}

// Error returns the text of the status, which says nothing of the rule.
func (*DeniedError) Error() string { return refusal.AccessDenied.Error() }

// GRPCStatus makes it a gRPC status.
func (*DeniedError) GRPCStatus() *status.Status { return refusal.AccessDenied.GRPCStatus() }

// refuse returns the error of a denied call, and says why on the call's span.
func (a *Authorizer) refuse(ctx context.Context, d *decision, by string) error {
	denied := &DeniedError{Method: d.fullMethod, Rule: by}
	switch {
	case d.annotation != nil:
		if o := d.annotation; o.required && !o.needs.met(d.caller) {
			denied.Unmet = []UnmetRule{o.needs.unmet(RuleProto, d.caller)}
		}
	case d.caller != nil:
		denied.Unmet = a.rules.unmet(d.service, d.method, d.caller, d.rule)
	}
	record := telemetry.Decision{Rule: by, Error: telemetry.AccessDenied}
	for _, u := range denied.Unmet {
		record.Unmet = append(record.Unmet, telemetry.Unmet{Rule: u.Rule, Roles: u.AnyRole, Scopes: u.Scopes})
	}
	a.record(ctx, d, record)
	return denied
}

// failed returns the error of a call about which the func of WithAuthorize could not
// decide.
func (a *Authorizer) failed(ctx context.Context, d *decision) error {
	f := refusal.AuthorizationFailed
	unavailable, delay := refusal.Unavailable(d.cause)
	st, given := refusal.StatusOf(d.cause)
	switch {
	case ctx.Err() != nil:
		f = refusal.CallerGone(ctx.Err())
	case unavailable:
		f = refusal.AuthorizationUnavailable.Delayed(delay)
	case given:
		f = refusal.Given(st)
	}
	a.record(ctx, d, telemetry.Decision{Rule: RuleAuthorize, Error: f.Type})
	return f
}
