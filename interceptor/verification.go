package interceptor

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/extractor"
	"github.com/grpc-sessionauth/sessionauth/internal/forget"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// find returns the identity behind the credentials of a call, from memory if it is
// there.
func (a *Authenticator) find(ctx context.Context, r *request, recheck bool) (*identity, telemetry.Result, *refusal.Refusal) {
	if a.cache == nil {
		id, refused := a.verifyAlone(ctx, r, recheck)
		return id, telemetry.Verified, refused
	}
	if id, ok := a.cache.Get(r.key); ok {
		r.done = true
		return id, telemetry.Hit, nil
	}
	if a.cache.Refused(r.key) {
		return nil, telemetry.Negative, answered(ctx, cache.ErrNotFound)
	}
	tags, err := a.tagsBounded(ctx, r)
	if err != nil {
		return nil, telemetry.Rejected, a.notFound(ctx)
	}
	load := func(fresh context.Context) (*identity, time.Time, error) {
		id, err := a.resolveShared(r.responding(carryOver(fresh, ctx, r.carried)), r, tags)
		if err != nil {
			return nil, time.Time{}, err
		}
		return id, id.AuthContext().ExpiresAt, nil
	}
	do := a.cache.Do
	if recheck {
		do = a.cache.Recheck
	}
	id, how, err := do(ctx, r.key, load, tags...)
	result := results[how]
	if err != nil {
		return nil, result, answered(ctx, err)
	}
	if how == cache.Miss && id.verified != nil {
		result = telemetry.Fetched
	}
	return id, result, nil
}

// tagsBounded is tags, whatever the code of users does that names sessions.
func (a *Authenticator) tagsBounded(ctx context.Context, r *request) ([]cache.Tag, error) {
	if !slices.ContainsFunc(a.extractors, func(e extractor.Extractor) bool { return e.Naming }) {
		return a.tags(r), nil
	}
	bounded, cancel := context.WithTimeout(ctx, cache.DefaultVerifyTimeout)
	defer cancel()
	return catch.Call(bounded, func(context.Context) ([]cache.Tag, error) { return a.tags(r), nil })
}

// notFound is the refusal of a call whose credentials, or the names of whose session, the
// code of users has not come back with.
func (a *Authenticator) notFound(ctx context.Context) *refusal.Refusal {
	if ctx.Err() != nil {
		return refusal.CallerGone(ctx.Err())
	}
	return a.extractorFailed(ctx)
}

// results are those of the cache as they are counted.
var results = [...]telemetry.Result{
	cache.Miss: telemetry.Miss, cache.Hit: telemetry.Hit, cache.Shared: telemetry.Shared, cache.Stale: telemetry.Stale, cache.Negative: telemetry.Negative,
}

// uncached is what an Authenticator without a cache knows of its verifications.
type uncached struct {
	*forget.Log

	calls, rechecks chan struct{} // a place for each verification that runs
}

// The bounds of an Authenticator without a cache.
const (
	maxMarks    = 1 << 20
	maxRechecks = cache.DefaultMaxVerifies / 4
	// maxAttempts is how often a call is verified whose answer was forgotten meanwhile.
	maxAttempts = 3
)

func newUncached() *uncached {
	return &uncached{
		forget.New(cache.DefaultVerifyTimeout, maxMarks),
		make(chan struct{}, cache.DefaultMaxVerifies), make(chan struct{}, maxRechecks),
	}
}

// Forget marks a tag as forgotten.
func (u *uncached) Forget(tag cache.Tag) { u.Mark(tag) }

// ForgetAll marks everything as forgotten.
func (u *uncached) ForgetAll() { u.MarkAll() }

// verifyAlone verifies for one call, on a context of its own making. An answer that was
// forgotten meanwhile is found out anew, but not for ever.
func (a *Authenticator) verifyAlone(ctx context.Context, r *request, recheck bool) (*identity, *refusal.Refusal) {
	bounded, cancel := context.WithTimeout(ctx, cache.DefaultVerifyTimeout)
	defer cancel()
	tags, err := a.tagsBounded(ctx, r)
	if err != nil {
		return nil, a.notFound(ctx)
	}
	places := a.uncached.calls
	if recheck {
		places = a.uncached.rechecks
	}
	for range maxAttempts {
		select {
		case places <- struct{}{}:
		case <-bounded.Done():
			if ctx.Err() != nil {
				return nil, refusal.CallerGone(ctx.Err())
			}
			return nil, refusal.TooBusy
		}
		began := a.uncached.Clock()
		id, err := catch.Call(r.responding(bounded), func(ctx context.Context) (*identity, error) {
			defer func() { <-places }() // not before: one that was abandoned still runs
			return a.resolve(ctx, r)
		})
		about := tags
		if id != nil {
			about = append(about, id.Tags()...)
		}
		switch {
		case ctx.Err() == nil && a.uncached.Since(began, about...):
			continue
		case err != nil:
			return nil, answered(ctx, err)
		}
		return id, nil
	}
	return nil, refusal.VerificationUnavailable
}

// resolveShared is resolve, unless another has found out already.
func (a *Authenticator) resolveShared(ctx context.Context, r *request, tags []cache.Tag) (*identity, error) {
	resolve := func(ctx context.Context) (*identity, error) { return a.resolve(ctx, r) }
	if a.shared == nil {
		return resolve(ctx)
	}
	return a.shared.Resolve(ctx, r.key, tags, resolve)
}

// resolve runs the callbacks in a span. Every error is a refusedLoad.
func (a *Authenticator) resolve(ctx context.Context, r *request) (id *identity, err error) {
	ctx, span := a.instruments.Start(ctx)
	refused, cause := refusal.VerificationFailed, catch.ErrGoexit // unless a callback returns
	defer func() {
		if refused == nil {
			span.End(ctx, telemetry.NoError)
			return
		}
		a.report(ctx, refused, cause, func() []string { return a.secrets(r) })
		span.End(ctx, refused.Type)
	}()
	id, refused, cause = a.run(ctx, r)
	by := span.SpanContext()
	if refused != nil {
		return nil, refusedLoad{refused.VerifiedBy(by)}
	}
	if by.IsSampled() {
		id.traceID, id.spanID = by.TraceID(), by.SpanID()
	} else {
		id.provenance = &a.here
	}
	return id, nil
}

// run runs the callbacks.
func (a *Authenticator) run(ctx context.Context, r *request) (id *identity, refused *refusal.Refusal, cause error) {
	header, ok := a.header(r)
	if !ok {
		return nil, refusal.InvalidSession, errors.New("the header is too large to be handed on; see WithKeyHeaders")
	}
	session, err := protect(func() (any, error) { return a.verify(ctx, r.token(), header) })
	if err != nil {
		return nil, refusal.Classify(err, refusal.VerificationFailed, a.outage), err
	}
	auth, err := protect(func() (*authcontext.AuthContext, error) { return a.mapSession(ctx, session) })
	switch {
	case err != nil:
		return nil, refusal.Classify(err, refusal.MappingFailed, a.outage), err
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
	return a.newIdentity(auth, session), nil, nil
}

// newIdentity takes over auth and session.
func (a *Authenticator) newIdentity(auth *authcontext.AuthContext, session any) *identity {
	return &identity{*authcontext.NewIdentity(auth, session), &provenance{tagger: &a.taggers[0]}}
}

// protect turns a panic into an error.
func protect[T any](callback func() (T, error)) (v T, err error) {
	if panicked := catch.Protect(func() { v, err = callback() }); panicked != nil {
		var zero T
		return zero, panicked
	}
	return v, err
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

// carryOver gives a shared verification the trace of the call that started it, and of
// its other values those that WithKeyContext chose.
func carryOver(fresh, call, carried context.Context) context.Context {
	if carried != nil {
		fresh = carriedContext{fresh, carried}
	}
	return trace.ContextWithSpanContext(fresh, trace.SpanContextFromContext(call))
}
