package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"
	"weak"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// VerifyFunc asks the session's owner about a credential. It returns the session;
// or an error that wraps [ErrInvalidSession], when there is no such session, or
// [ErrUnavailable], when it could not find out. A nil session with a nil error
// means that there is none.
//
// token is the credential that the first successful extractor found, header the
// header of the request; see [WithKeyHeaders] for how much of it. Both belong to
// the callback. Behind a cache ctx is not that of the call: it ends after
// Policy.VerifyTimeout and carries the trace and the baggage of the call, and what
// [WithKeyContext] carries over. Without a cache it is a child of the call's, bounded
// by cache.DefaultVerifyTimeout. Implementations must be safe to call
// concurrently, should return soon after ctx ends (they are abandoned then), and
// must not put the token in an error.
type VerifyFunc[S any] func(ctx context.Context, token string, header http.Header) (S, error)

// MapFunc turns a verified session into an identity, which is copied. Its errors
// mean what those of [VerifyFunc] mean. A nil AuthContext, one without a Subject,
// or one whose ExpiresAt has passed refuses the call. ctx is as for VerifyFunc,
// and implementations must be safe to call concurrently.
type MapFunc[S any] func(ctx context.Context, session S) (*authcontext.AuthContext, error)

// Authenticator authenticates calls by their session. It is made by
// [NewSessionAuth], is safe for concurrent use, and needs no closing.
type Authenticator struct {
	front

	// The callbacks, their type forgotten: an Authenticator is not generic.
	verify     func(ctx context.Context, token string, header http.Header) (any, error)
	mapSession func(ctx context.Context, session any) (*authcontext.AuthContext, error)

	cache       *cache.Cache[*identity] // nil: none
	extractors  []extractor
	keyHeaders  []headerName
	restricted  bool // the verifier gets only what is in the key
	carry       func(from, to context.Context) (context.Context, string)
	origins     []string // nil: any
	instruments *telemetry.Instruments
	unbounded   bool          // streams outlive their sessions
	recheck     time.Duration // 0: not
	streams     openStreams
	forgotten   atomic.Uint64 // counts what was forgotten
	broadcast   Broadcast     // nil: none
}

// identity is what one verification found out. It is shared and never modified.
type identity struct {
	*authcontext.Identity

	// The verification's span, for links to it, in 25 bytes: a cache holds many.
	traceID trace.TraceID
	spanID  trace.SpanID
	flags   trace.TraceFlags
}

// NewSessionAuth returns an Authenticator that verifies sessions with verify and
// makes identities of them with mapSession. Without options every call must carry
// a bearer token or a cookie, and each one is verified. The error names every
// option that is not valid.
func NewSessionAuth[S any](verify VerifyFunc[S], mapSession MapFunc[S], opts ...Option) (*Authenticator, error) {
	c := newConfig(opts)
	a := &Authenticator{carry: c.carry, restricted: c.restricted, origins: c.origins}
	a.optional, a.unbounded, a.recheck, a.broadcast = c.optional, c.unbounded, c.recheck, c.broadcast
	var errs [7]error
	errs[6] = errors.Join(c.errs...)
	if verify == nil || mapSession == nil {
		errs[0] = errors.New("interceptor: NewSessionAuth needs a verify and a map callback")
	}
	a.extractors, errs[1] = parseExtractors(c.extractors)
	a.keyHeaders, errs[2] = parseKeyHeaders(c.keyHeaders)
	if a.skip, errs[3] = method.NewSet(c.skip); errs[3] != nil {
		errs[3] = prefixed(errs[3])
	}
	a.instruments, errs[4] = telemetry.New(c.tracers, c.meters)
	if c.policy != nil {
		a.cache, errs[5] = cache.New[*identity](*c.policy)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	a.verify = func(ctx context.Context, token string, header http.Header) (any, error) {
		session, err := verify(ctx, token, header)
		if err == nil && isNil(session) {
			err = ErrInvalidSession
		}
		return session, err
	}
	a.mapSession = func(ctx context.Context, session any) (*authcontext.AuthContext, error) {
		s, _ := session.(S) // it came from verify
		return mapSession(ctx, s)
	}
	if a.broadcast != nil {
		a.broadcast.Subscribe(a.apply)
	}
	return a, a.observe()
}

// observe reports the cache's size for as long as the cache is in use: there is
// nothing to close, and a meter provider may live longer.
func (a *Authenticator) observe() error {
	if a.cache == nil {
		return nil
	}
	ref := weak.Make(a.cache)
	registration, err := a.instruments.ObserveEntries(func() (sessions, refusals int) {
		if c := ref.Value(); c != nil {
			stats := c.Stats()
			return stats.Entries, stats.NegativeEntries
		}
		return 0, 0
	})
	if err == nil {
		runtime.AddCleanup(a.cache, func(r metric.Registration) { _ = r.Unregister() }, registration)
	}
	return err
}

// Stats returns a snapshot of the cache. It is zero without one.
func (a *Authenticator) Stats() cache.Stats {
	if a.cache == nil {
		return cache.Stats{}
	}
	return a.cache.Stats()
}

// Format implements [fmt.Formatter]: a fixed text, since what is in here is in use
// and holds sessions.
func (*Authenticator) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Authenticator")) }

// Authenticate authenticates a request by its header: that of an HTTP request, or
// one that [authmd.Header] made. It is what the interceptors do, without gRPC, and
// knows no skipped methods. header is not modified or retained.
//
// The errors are those of the interceptors. The identity, which is shared and must
// not be modified, is nil with a nil error only with [WithOptionalAuth], when
// header carries no credential.
func (a *Authenticator) Authenticate(ctx context.Context, header http.Header) (*authcontext.AuthContext, error) {
	id, err := a.authenticate(ctx, &request{
		headers: &supplied{authmd.Clean(header), append([]string(nil), header["Host"]...)},
	})
	if id == nil {
		return nil, err
	}
	return id.AuthContext(), nil
}

// authenticate returns the identity of a call, or why it is refused. Without a
// credential, where that is allowed, both are nil.
func (a *Authenticator) authenticate(ctx context.Context, r *request) (*identity, error) {
	id, result, refused := a.decide(ctx, r)
	if result == telemetry.Miss || result == telemetry.Verified || result == telemetry.Stale {
		r.respond(ctx)
	}
	switch {
	case refused != nil:
		a.instruments.Record(ctx, result, refused.Type, refused.By)
		return nil, refused
	case result == telemetry.Shared:
		a.instruments.Record(ctx, result, telemetry.NoError, id.verifiedBy())
	default:
		a.instruments.Record(ctx, result, telemetry.NoError, trace.SpanContext{})
	}
	return id, nil
}

// decide is authenticate with how the answer was come by.
func (a *Authenticator) decide(ctx context.Context, r *request) (id *identity, result telemetry.Result, refused *refusal.Refusal) {
	defer func() {
		if r := recover(); r != nil {
			id, result, refused = nil, telemetry.Rejected, a.panicked(ctx)
		}
	}()
	refused = a.read(ctx, r)
	switch {
	case refused != nil:
		return nil, telemetry.Rejected, refused
	case r.token == "" && a.optional:
		return nil, telemetry.Anonymous, nil
	case r.token == "":
		return nil, telemetry.Rejected, refusal.MissingCredentials
	}
	return a.identify(ctx, r)
}

// again is identify for an open stream, which is counted once only.
func (a *Authenticator) again(ctx context.Context, r *request) (id *identity, refused *refusal.Refusal) {
	defer func() {
		if r := recover(); r != nil {
			id, refused = nil, a.panicked(ctx)
		}
	}()
	id, _, refused = a.identify(ctx, r)
	return id, refused
}

// panicked is the failure of a call in which an Extractor or the func of
// WithKeyContext panicked. What it said may hold the credential.
func (a *Authenticator) panicked(ctx context.Context) *refusal.Refusal {
	telemetry.RecordException(ctx, redact.Exception(&cache.PanicError{Value: "not shown", Stack: debug.Stack()}, nil))
	return refusal.VerificationFailed
}

// identify returns the identity behind the credentials of a call.
func (a *Authenticator) identify(ctx context.Context, r *request) (*identity, telemetry.Result, *refusal.Refusal) {
	if a.cache == nil {
		id, refused := a.verifyAlone(ctx, r)
		return id, telemetry.Verified, refused
	}
	if id, ok := a.cache.Get(r.key); ok {
		return id, telemetry.Hit, nil
	}
	id, how, err := a.cache.Do(ctx, r.key, func(fresh context.Context) (*identity, time.Time, error) {
		id, err := a.resolve(r.responding(carryOver(fresh, ctx, r.carried)), r)
		if err != nil {
			return nil, time.Time{}, err
		}
		return id, id.AuthContext().ExpiresAt, nil
	}, a.tags(r)...)
	if err != nil {
		return nil, resultOf(how), answered(ctx, err)
	}
	return id, resultOf(how), nil
}

func (id *identity) verifiedBy() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id.traceID, SpanID: id.spanID, TraceFlags: id.flags})
}

func resultOf(r cache.Result) telemetry.Result {
	switch r {
	case cache.Hit:
		return telemetry.Hit
	case cache.Shared:
		return telemetry.Shared
	case cache.Stale:
		return telemetry.Stale
	case cache.Negative:
		return telemetry.Negative
	case cache.Miss:
	}
	return telemetry.Miss
}

// isNil reports whether v is nil: an interface, or a pointer, map, slice, channel
// or func in one.
func isNil(v any) bool {
	switch value := reflect.ValueOf(v); value.Kind() { //nolint:exhaustive // the others cannot be nil
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return value.IsNil()
	}
	return false
}
