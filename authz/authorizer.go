package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/ratelog"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// AuthorizeFunc decides about a call that no rule and no .proto option decides about.
// True allows it, false denies it. fullMethod is "/pkg.Service/Method". caller is
// shared and must not be modified.
//
// ctx is a child of the call's, bounded by 5 s. An error, a panic, or an answer that comes
// too late refuses the call: an error that wraps interceptor.ErrUnavailable, one with which
// connections and drivers fail, a context's, or a status with code Unavailable,
// DeadlineExceeded or ResourceExhausted is Unavailable to the client; another status is
// passed on as it is; anything else, one that wraps interceptor.ErrInvalidSession too, is
// PermissionDenied "authorization failed". Its text goes to the span of the call and to the
// log, so it must hold no secret. Implementations must be safe to call concurrently, and
// should return soon after ctx ends: they are abandoned then.
type AuthorizeFunc func(ctx context.Context, caller *authcontext.AuthContext, fullMethod string) (bool, error)

// timeout bounds a callback.
const timeout = 5 * time.Second

// Authorizer decides who may call what. It is made by [New], is safe for
// concurrent use, and needs no closing. It remembers no decision.
type Authorizer struct {
	public      method.Set
	rules       ruleSet
	annotations annotations
	internal    func(ctx context.Context, caller *authcontext.AuthContext) bool
	authorize   AuthorizeFunc
	policy      Effect
	decisions   *telemetry.Decisions
	log         *ratelog.Logger                     // may be nil
	installed   struct{ unary, stream atomic.Bool } // which interceptors were asked for
}

// New returns an Authorizer. It belongs behind an [Authenticator], which says who
// calls: a call without an identity is Unauthenticated. Without options every call is
// denied. The error names every rule and option that is not valid.
//
// A call is decided by the first of these that has an answer: [WithPublicMethods]; the
// options of its .proto file, with [WithProtoOptions]; the first rule of [WithRules]
// that names its method and whose requirements the caller meets; the func of
// [WithAuthorize]; the policy of [WithDefaultPolicy]. A method name of another form than
// "/pkg.Service/Method", which only an UnknownServiceHandler could ever see, is denied
// before any of them.
func New(opts ...Option) (*Authorizer, error) {
	c := newConfig(opts)
	a := &Authorizer{internal: c.internal, authorize: c.authorize, policy: c.policy, log: ratelog.New(c.logger)}
	var errs [5]error
	errs[0] = errors.Join(c.errs...)
	if a.public, errs[1] = method.NewSet(c.public); errs[1] != nil {
		errs[1] = fmt.Errorf("authz: %w", errs[1])
	}
	a.rules, errs[2] = newRuleSet(c.rules)
	if c.files != nil {
		a.annotations, errs[3] = readAnnotations(c.files)
	}
	if a.decisions, errs[4] = telemetry.NewDecisions(c.meters); errs[4] != nil {
		errs[4] = fmt.Errorf("authz: %w", errs[4])
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return a, nil
}

// Format implements [fmt.Formatter]: a fixed text.
func (*Authorizer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Authorizer")) }

// Authorize returns nil if the caller that ctx carries may call fullMethod,
// "/pkg.Service/Method". It is what the interceptors do, without gRPC. The error is a
// gRPC status: Unauthenticated without an identity, a [*DeniedError], or what came of
// the func of [WithAuthorize].
func (a *Authorizer) Authorize(ctx context.Context, fullMethod string) error {
	return a.decide(ctx, &decision{fullMethod: fullMethod})
}

// decision is what is known of a call that is being decided.
type decision struct {
	fullMethod, service, method string

	again      bool // a stream that was allowed before
	caller     *authcontext.AuthContext
	annotation *annotation // that decided, if one did
	rule       *Rule       // the same
	cause      error       // why a callback could not tell
}

func (a *Authorizer) decide(ctx context.Context, d *decision) error {
	var ok bool
	if d.service, d.method, ok = splitMethod(d.fullMethod); !ok {
		return a.refuse(ctx, d, RuleMethodName)
	}
	if a.isPublic(d.fullMethod) {
		return a.end(ctx, d, Allow, RulePublic)
	}
	if d.caller, ok = authcontext.FromContext(ctx); !ok || d.caller.Subject == "" {
		a.record(ctx, d, telemetry.Decision{Rule: RuleNoIdentity, Error: telemetry.MissingCredentials})
		return refusal.MissingCredentials
	}
	if annotated := a.annotations.methods[d.fullMethod]; annotated != nil {
		if effect := a.annotated(ctx, annotated, d); effect != 0 {
			d.annotation = annotated
			return a.end(ctx, d, effect, RuleProto)
		}
	}
	if rule := a.rules.first(d.service, d.method, d.caller); rule != nil {
		d.rule = rule
		return a.end(ctx, d, rule.Effect, rule.Name)
	}
	if a.authorize == nil {
		return a.end(ctx, d, a.policy, RuleDefaultPolicy)
	}
	caller, fullMethod := d.caller, d.fullMethod // so that d need not be on the heap
	allowed, err := ask(ctx, func(ctx context.Context) (bool, error) { return a.authorize(ctx, caller, fullMethod) })
	switch {
	case err != nil:
		d.cause = err
		return a.failed(ctx, d)
	case allowed:
		return a.end(ctx, d, Allow, RuleAuthorize)
	}
	return a.end(ctx, d, Deny, RuleAuthorize)
}

// end carries a decision out. Anything but Allow denies.
func (a *Authorizer) end(ctx context.Context, d *decision, effect Effect, by string) error {
	if effect != Allow {
		return a.refuse(ctx, d, by)
	}
	a.record(ctx, d, telemetry.Decision{Allowed: true, Rule: by})
	return nil
}

// annotated returns what the options of a method's .proto file say; 0 if nothing.
func (a *Authorizer) annotated(ctx context.Context, options *annotation, d *decision) Effect {
	switch {
	case options.internal && !a.trusts(ctx, d):
		return Deny
	case options.required && !options.needs.met(d.caller):
		return Deny
	case options.internal, options.required:
		return Allow
	}
	return options.policy
}

// trusts reports whether the caller is another service.
func (a *Authorizer) trusts(ctx context.Context, d *decision) bool {
	if a.internal == nil {
		return false
	}
	caller := d.caller
	trusted, err := ask(ctx, func(ctx context.Context) (bool, error) { return a.internal(ctx, caller), nil })
	d.cause = err
	return trusted && err == nil
}

// ask runs a callback for at most as long as it may take. A Goexit in it must not end the
// goroutine of the call, which would never be answered.
func ask(ctx context.Context, callback func(context.Context) (bool, error)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return catch.Call(ctx, callback)
}

// isPublic reports whether anybody may call a method.
func (a *Authorizer) isPublic(fullMethod string) bool {
	options := a.annotations.methods[fullMethod]
	return options != nil && options.public || a.public.Match(fullMethod)
}

// isInternal reports whether a method is for other services.
func (a *Authorizer) isInternal(fullMethod string) bool {
	options := a.annotations.methods[fullMethod]
	return options != nil && options.internal
}

// splitMethod takes "/pkg.Service/Method" apart. A name of any other form is none: a
// rule that denies must not be got round by a name that something behind an
// UnknownServiceHandler reads as the one that it names.
func splitMethod(fullMethod string) (service, name string, ok bool) {
	rest, ok := strings.CutPrefix(fullMethod, "/")
	if !ok {
		return "", "", false
	}
	service, name, _ = strings.Cut(rest, "/")
	return service, name, method.IsName(service) && method.IsName(name)
}
