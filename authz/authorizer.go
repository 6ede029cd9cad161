package authz

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// AuthorizeFunc decides about a call that no rule and no .proto option decides about.
// True allows it, false denies it. fullMethod is "/pkg.Service/Method". caller is
// shared and must not be modified.
//
// ctx is a child of the call's, bounded by 5 s. An error, a panic,
// or an answer that comes too late refuses the call: an error that wraps [ErrUnavailable],
// a net.Error, a context.DeadlineExceeded, or a status with code Unavailable,
// DeadlineExceeded or ResourceExhausted is Unavailable to the client; another status is
// passed on as it is; anything else is PermissionDenied "authorization failed". Its text
// goes to the span of the call, so it must hold no secret. Implementations must be safe
// to call concurrently, and should return soon after ctx ends: they are abandoned then.
type AuthorizeFunc func(ctx context.Context, caller *authcontext.AuthContext, fullMethod string) (bool, error)

// timeout bounds a callback.
const timeout = 5 * time.Second

// Authorizer decides who may call what. It is made by [New], is safe for
// concurrent use, and needs no closing. It remembers no decision.
type Authorizer struct {
	public      method.Set
	rules       ruleSet
	annotations map[string]*annotation // by "/pkg.Service/Method"
	described   func(service string) bool
	vocabulary  *vocabulary
	internal    func(ctx context.Context, caller *authcontext.AuthContext) bool
	authorize   AuthorizeFunc
	policy      Effect
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
	a := &Authorizer{vocabulary: newVocabulary(), internal: c.internal, authorize: c.authorize, policy: c.policy}
	var errs [4]error
	errs[0] = errors.Join(c.errs...)
	if a.public, errs[1] = method.NewSet(c.public); errs[1] != nil {
		errs[1] = fmt.Errorf("authz: %w", errs[1])
	}
	a.rules, errs[2] = newRuleSet(c.rules, a.vocabulary)
	if c.files != nil {
		a.annotations, errs[3] = readAnnotations(c.files, a.vocabulary)
		a.described = describedBy(c.files)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return a, nil
}

// ServerOptions returns both interceptors, so that neither is forgotten, as options
// for grpc.NewServer. They run after those of options that come before: give it after
// the options of the Authenticator.
func (a *Authorizer) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(a.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(a.StreamServerInterceptor()),
	}
}

// UnaryServerInterceptor returns the interceptor for unary calls. It must run after
// one that authenticates. Use it together with [Authorizer.StreamServerInterceptor], or
// any stream is open to every caller with a session.
func (a *Authorizer) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	a.installed.unary.Store(true)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if err := a.Authorize(ctx, info.FullMethod); err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

// StreamServerInterceptor returns the interceptor for streams of all kinds. A stream is
// authorized once, before its handler runs; its client learns of a refusal from its
// first Recv.
func (a *Authorizer) StreamServerInterceptor() grpc.StreamServerInterceptor {
	a.installed.stream.Store(true)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if err := a.Authorize(stream.Context(), info.FullMethod); err != nil {
			return err
		}
		return handler(srv, stream)
	}
}

// Format implements [fmt.Formatter]: a fixed text.
func (*Authorizer) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Authorizer")) }

// Authorize returns nil if the caller that ctx carries may call fullMethod,
// "/pkg.Service/Method". It is what the interceptors do, without gRPC. The error is a
// gRPC status: Unauthenticated without an identity, a [*DeniedError], or what came of
// the func of [WithAuthorize].
func (a *Authorizer) Authorize(ctx context.Context, fullMethod string) error {
	d := decision{fullMethod: fullMethod}
	var ok bool
	if d.service, d.method, ok = splitMethod(fullMethod); !ok {
		return a.refuse(ctx, &d, nil, RuleMethodName)
	}
	annotated := a.annotations[fullMethod]
	if a.isPublic(fullMethod) {
		telemetry.RecordDecision(ctx, telemetry.Decision{Allowed: true, Rule: RulePublic})
		return nil
	}
	if d.caller, ok = authcontext.FromContext(ctx); !ok || d.caller.Subject == "" {
		telemetry.RecordDecision(ctx, telemetry.Decision{Rule: RuleNoIdentity, Error: telemetry.MissingCredentials})
		return refusal.MissingCredentials
	}
	var space heldSpace
	have := a.vocabulary.held(d.caller, &space)
	if annotated != nil {
		if effect := a.annotated(ctx, annotated, d.caller, have); effect != 0 {
			d.annotation = annotated
			return a.end(ctx, &d, have, effect, RuleProto)
		}
	}
	if rule := a.rules.first(d.service, d.method, have); rule != nil {
		d.rule = rule
		return a.end(ctx, &d, have, rule.Effect, rule.Name)
	}
	if a.authorize == nil {
		return a.end(ctx, &d, have, a.policy, RuleDefaultPolicy)
	}
	allowed, err := a.ask(ctx, d.caller, fullMethod)
	switch {
	case err != nil:
		return a.failed(ctx, err)
	case allowed:
		return a.end(ctx, &d, have, Allow, RuleAuthorize)
	}
	return a.end(ctx, &d, have, Deny, RuleAuthorize)
}

// decision is what is known of a call that is being decided.
type decision struct {
	fullMethod, service, method string

	caller     *authcontext.AuthContext
	annotation *annotation   // that decided, if one did
	rule       *compiledRule // the same
}

// end carries a decision out. Anything but Allow denies.
func (a *Authorizer) end(ctx context.Context, d *decision, have held, effect Effect, by string) error {
	if effect != Allow {
		return a.refuse(ctx, d, have, by)
	}
	telemetry.RecordDecision(ctx, telemetry.Decision{Allowed: true, Rule: by})
	return nil
}

// annotated returns what the options of a method's .proto file say; 0 if nothing.
func (a *Authorizer) annotated(
	ctx context.Context, options *annotation, caller *authcontext.AuthContext, have held,
) Effect {
	switch {
	case options.internal && !a.trusts(ctx, caller):
		return Deny
	case options.required && !options.needs.met(have):
		return Deny
	case options.internal, options.required:
		return Allow
	}
	return options.policy
}

// trusts reports whether the caller is another service.
func (a *Authorizer) trusts(ctx context.Context, caller *authcontext.AuthContext) (trusted bool) {
	if a.internal == nil {
		return false
	}
	defer func() {
		if r := recover(); r != nil {
			trusted = false
			telemetry.RecordException(ctx, redact.Exception(&catch.PanicError{Value: r, Stack: debug.Stack()}, nil))
		}
	}()
	return a.internal(ctx, caller)
}

// ask runs the func of WithAuthorize. A Goexit in it must not end the goroutine of the
// call, which would never be answered.
func (a *Authorizer) ask(ctx context.Context, caller *authcontext.AuthContext, fullMethod string) (bool, error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return catch.Call(bounded, func(ctx context.Context) (bool, error) { return a.authorize(ctx, caller, fullMethod) })
}

// isPublic reports whether anybody may call a method.
func (a *Authorizer) isPublic(fullMethod string) bool {
	options := a.annotations[fullMethod]
	return options != nil && options.public || a.public.Match(fullMethod)
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
