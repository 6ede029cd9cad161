package interceptor

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// verifyAlone verifies for one call, on a context of its own making.
func (a *Authenticator) verifyAlone(ctx context.Context, r *request) (*identity, *refusal.Refusal) {
	bounded, cancel := context.WithTimeout(ctx, cache.DefaultVerifyTimeout)
	defer cancel()
	id, err := cache.Call(r.responding(bounded), func(ctx context.Context) (*identity, error) { return a.resolve(ctx, r) })
	if err != nil {
		return nil, answered(ctx, err)
	}
	return id, nil
}

// resolve runs the callbacks in a span. Every error is a *refusal.Refusal.
func (a *Authenticator) resolve(ctx context.Context, r *request) (id *identity, err error) {
	ctx, span := a.instruments.Start(ctx)
	refused, cause := refusal.VerificationFailed, cache.ErrGoexit // unless a callback returns
	defer func() {
		if refused == nil {
			span.End(ctx, telemetry.NoError, telemetry.Exception{})
			return
		}
		span.End(ctx, refused.Type, redact.Exception(cause, a.secrets(r)))
	}()
	id, refused, cause = a.run(ctx, r)
	by := span.SpanContext()
	if refused != nil {
		return nil, refusedLoad{refused.VerifiedBy(by)}
	}
	id.traceID, id.spanID, id.flags = by.TraceID(), by.SpanID(), by.TraceFlags()
	return id, nil
}

// run runs the callbacks.
func (a *Authenticator) run(ctx context.Context, r *request) (id *identity, refused *refusal.Refusal, cause error) {
	session, err := protect(func() (any, error) { return a.verify(ctx, r.token, a.header(r)) })
	if err != nil {
		return nil, refusal.Classify(err, refusal.VerificationFailed, nil), err
	}
	auth, err := protect(func() (*authcontext.AuthContext, error) { return a.mapSession(ctx, session) })
	switch {
	case err != nil:
		return nil, refusal.Classify(err, refusal.MappingFailed, nil), err
	case auth == nil:
		return nil, refusal.InvalidSession, errors.New("the map callback returned no AuthContext")
	case auth.Subject == "":
		return nil, refusal.InvalidSession, errors.New("the map callback returned an AuthContext without a Subject")
	case !auth.ExpiresAt.IsZero() && !auth.ExpiresAt.After(time.Now()):
		return nil, refusal.SessionExpired, errors.New("the session's ExpiresAt has passed")
	}
	auth = auth.Clone()
	if auth.Type == "" {
		auth.Type = authcontext.TypeSession
	}
	return &identity{Identity: authcontext.NewIdentity(auth, session)}, nil, nil
}

// protect turns a panic into an error.
func protect[T any](callback func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &cache.PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	return callback()
}

// carriedContext is the context of a shared verification: it ends with one
// context and has the values of another.
type carriedContext struct {
	context.Context //nolint:containedctx // it is one

	values context.Context //nolint:containedctx // see above
}

func (c carriedContext) Value(key any) any {
	if value := c.Context.Value(key); value != nil {
		return value // a deadline's own bookkeeping
	}
	return c.values.Value(key)
}

// carryOver gives a shared verification the trace and the baggage of the call that
// started it, and of its other values those that WithKeyContext chose.
func carryOver(fresh, call, carried context.Context) context.Context {
	if carried != nil {
		fresh = carriedContext{fresh, carried}
	}
	fresh = trace.ContextWithSpanContext(fresh, trace.SpanContextFromContext(call))
	return baggage.ContextWithBaggage(fresh, baggage.FromContext(call))
}
