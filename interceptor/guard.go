package interceptor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/forget"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/probe"
	"github.com/grpc-sessionauth/sessionauth/internal/ratelog"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// guard is the gRPC face of everything that says who calls, whichever way it finds that
// out.
type guard struct {
	config

	name        string
	way         way
	skipped     method.Set
	secret      secret.Set // whose header handlers do not see; of a GatewayAuth
	suspects    [256]bool  // the first bytes of keys that handlers may not be allowed to see
	instruments *telemetry.Instruments
	log         *ratelog.Logger
	here        provenance                          // of what was verified here, in no span that is sampled
	installed   struct{ unary, stream atomic.Bool } // which interceptors were asked for
}

// way is a way to find out who calls.
type way interface {
	// identify says who calls. The identity is nil for nobody, where that is allowed.
	identify(ctx context.Context, r *request) (*identity, telemetry.Result, *refusal.Refusal)
	// watched says how the session behind the identity of a stream is verified again.
	watched(ctx context.Context, r *request) (streams.Session, *refusal.Refusal)
	// clock moves with everything that is forgotten.
	clock() uint64
}

// identity is what one verification found out. It is shared and never modified.
type identity struct {
	authcontext.Identity
	*provenance // a pointer, since a cache holds many identities
}

// provenance is where an identity comes from: most have it in common.
type provenance struct {
	tagger   *forget.Tagger // for the tags by which it can be forgotten; nil: by none
	verified *time.Time     // by another replica; nil: here
	// The verification's span, for links to it, if it is sampled.
	traceID trace.TraceID
	spanID  trace.SpanID
}

func (id *identity) verifiedBy() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id.traceID, SpanID: id.spanID, TraceFlags: trace.FlagsSampled})
}

// init prepares the guard of a way. The error names every option that is not valid.
func (g *guard) init(c config, name string, w way) error {
	g.config, g.name, g.way = c, name, w
	errs := c.errs
	var err error
	if g.skipped, err = method.NewSet(c.skip); err != nil {
		errs = append(errs, prefixed("", err))
	}
	if g.instruments, err = telemetry.New(c.tracers, c.meters); err != nil {
		errs = append(errs, err)
	}
	g.log = ratelog.New(c.logger)
	for _, prefix := range []string{headername.IdentityPrefix, headername.GatewayPrefix} {
		g.suspects[prefix[0]] = true
	}
	return errors.Join(errs...)
}

// ServerOptions returns both interceptors, so that neither is forgotten, as
// options for grpc.NewServer. They run after those of options that come before.
func (g *guard) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(g.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(g.StreamServerInterceptor()),
	}
}

// UnaryServerInterceptor returns the interceptor for unary calls. A handler behind
// it finds the identity with authcontext.FromContext. Use it together with
// StreamServerInterceptor, or streams are open to anyone.
func (g *guard) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	g.installed.unary.Store(true)
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if p := probe.From(ctx); p != nil {
			if err := p.Meet(g.way); err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}
		ctx, id, r, err := g.admit(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		r.release()
		if id != nil {
			ctx = id.NewContext(ctx)
		}
		return handler(ctx, req)
	}
}

// StreamServerInterceptor returns the interceptor for streams of all kinds. It
// authenticates before the handler runs; the client of a stream that is refused
// learns of it from its first Recv.
//
// A stream ends with its session, unless [WithUnboundedStreams] is given: with
// SESSION_EXPIRED when ExpiresAt passes, and with what a new verification finds out
// after a Forget, or at the intervals of [WithStreamRecheck]. It ends with Unavailable
// when the session could not be verified within 10 seconds, or twice the VerifyTimeout,
// and with INVALID_SESSION when it is another subject's by then. The handler's context is
// cancelled, with the status that the client will get as its [context.Cause]; its calls of
// SendMsg and RecvMsg fail with that status. The client gets it as soon as the handler
// returns. ExpiresAt is compared with the wall clock and the monotonic one, so that no step
// of the clock prolongs a stream; an idle one notices a step forward within 10 seconds.
//
// The identity is that of the newest verification: authcontext.FromContext returns it,
// and authcontext.OnRenewal tells of it.
//
// A RecvMsg that waits for a silent client is cut short, if it receives into a
// generated protobuf message. Any other (a dynamic message, the raw frame of a proxy,
// the type of a custom codec) is received in place and not cut short. A panic under
// RecvMsg comes out of the handler's RecvMsg. A SendMsg that waits for a client to read
// is not cut short: it returns when the client reads, at the call's deadline, or when
// the connection ends.
//
// Interceptors that are registered after this one are never called beyond their
// handler's return. Those registered before it may have one RecvMsg return later: the
// one that waited when the session ended. None is begun after the release, and the
// handler's message is not touched. What such an interceptor changes after RecvMsg has
// returned must therefore be safe for concurrent use.
func (g *guard) StreamServerInterceptor() grpc.StreamServerInterceptor {
	g.installed.stream.Store(true)
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if p := probe.From(stream.Context()); p != nil {
			if err := p.Meet(g.way); err != nil {
				return err
			}
			return handler(srv, stream)
		}
		before := g.way.clock()
		ctx, id, r, err := g.admit(stream.Context(), info.FullMethod)
		if err != nil {
			return err
		}
		if id == nil || g.unbounded {
			return serveUnbound(ctx, id, srv, stream, handler)
		}
		session, refused := g.way.watched(ctx, r)
		if refused != nil {
			return refused
		}
		ctx, w := streams.Start(ctx, id.found(), session)
		if g.way.clock() != before {
			w.Wake(0) // by a Forget that did not find this stream yet
		}
		return w.Serve(ctx, srv, stream, info, handler)
	}
}

// serveUnbound runs the handler of a stream that no session ends. There may be no
// identity.
func serveUnbound(ctx context.Context, id *identity, srv any, stream grpc.ServerStream, handler grpc.StreamHandler) error {
	if id != nil {
		ctx = id.NewContext(ctx)
	}
	wrapped := middleware.WrapServerStream(stream)
	wrapped.WrappedContext = ctx
	return handler(srv, wrapped)
}

// AuthFunc authenticates the call that ctx belongs to and returns a context with
// its identity. It is an auth.AuthFunc of go-grpc-middleware, for its interceptors
// and for a service's AuthFuncOverride. [WithSkipMethods] applies to it, too. A stream
// that is authenticated by it alone is verified when it starts and not again.
func (g *guard) AuthFunc(ctx context.Context) (context.Context, error) {
	if p := probe.From(ctx); p != nil {
		return ctx, p.Meet(g.way)
	}
	fullMethod, _ := grpc.Method(ctx)
	ctx, id, r, err := g.admit(ctx, fullMethod)
	if err != nil {
		return nil, err
	}
	r.release()
	if id != nil {
		ctx = id.NewContext(ctx)
	}
	return ctx, nil
}

// admit lets a call pass or not. It returns the context for its handler, without the
// identity, which is nil for a call that needs none.
func (g *guard) admit(ctx context.Context, fullMethod string) (context.Context, *identity, *request, error) {
	var call incoming.Call
	ctx, ok := call.Receive(ctx, &g.suspects, g.hides)
	if !ok {
		g.record(ctx, telemetry.Rejected, nil, refusal.InvalidSession)
		return nil, nil, nil, refusal.InvalidSession
	}
	if g.skipped.Match(fullMethod) {
		return ctx, nil, nil, nil
	}
	r, _ := requests.Get().(*request)
	r.call, r.headers = call, &r.call
	id, refused := g.authenticate(ctx, r)
	if refused != nil {
		return nil, nil, nil, refused
	}
	return ctx, id, r, nil
}

// authenticate returns the identity behind a request, or why it is refused. Without a
// credential, where that is allowed, both are nil.
func (g *guard) authenticate(ctx context.Context, r *request) (*identity, *refusal.Refusal) {
	id, result, refused := g.shielded(ctx, func() (*identity, telemetry.Result, *refusal.Refusal) { return g.way.identify(ctx, r) })
	g.record(ctx, result, id, refused)
	return id, refused
}

// shielded is what identify returns, if it does. What panics there is an Extractor or the
// func of WithKeyContext, and what it said may hold the credential.
func (g *guard) shielded(
	ctx context.Context, identify func() (*identity, telemetry.Result, *refusal.Refusal),
) (id *identity, result telemetry.Result, refused *refusal.Refusal) {
	returned := false
	defer func() {
		if p := recover(); p != nil || !returned {
			id, result, refused = nil, telemetry.Rejected, g.extractorFailed(ctx)
		}
	}()
	id, result, refused = identify()
	returned = true
	return id, result, refused
}

// record counts a call, and logs one that was refused before any verification.
func (g *guard) record(ctx context.Context, result telemetry.Result, id *identity, refused *refusal.Refusal) {
	switch {
	case refused != nil:
		g.instruments.Record(ctx, result, refused.Type, refused.By)
		if result == telemetry.Rejected {
			g.log.Log(ctx, slog.LevelInfo, "call refused", slog.String(string(telemetry.KeyErrorType), refused.Type.String()))
		}
	case result == telemetry.Shared:
		g.instruments.Record(ctx, result, telemetry.NoError, id.verifiedBy())
	default:
		g.instruments.Record(ctx, result, telemetry.NoError, trace.SpanContext{})
	}
}

// report puts the cause of a refusal on the span that ctx carries, and in the log,
// where there are any.
func (g *guard) report(ctx context.Context, refused *refusal.Refusal, cause error, secrets func() []string) {
	recording := trace.SpanFromContext(ctx).IsRecording()
	if !recording && !g.log.Enabled() {
		return // what is not recorded is not redacted, which costs more than all the rest
	}
	var all []string
	if secrets != nil {
		all = secrets()
	}
	x := redact.Exception(cause, all)
	if recording {
		telemetry.RecordException(ctx, x)
	}
	g.log.Log(ctx, slog.LevelWarn, "verification failed", slog.String(string(telemetry.KeyErrorType), refused.Type.String()),
		slog.String("exception.type", x.Type), slog.String("exception.message", x.Message))
}

// SkipPatterns returns the patterns of [WithSkipMethods], for an audit.
func (g *guard) SkipPatterns() []string { return g.skipped.Patterns }

// Skips reports whether calls of a method, "/pkg.Service/Method", are let through unseen.
func (g *guard) Skips(fullMethod string) bool { return g.skipped.Match(fullMethod) }

// Optional reports whether [WithOptionalAuth] was given.
func (g *guard) Optional() bool { return g.optional }

// Installed reports which of the interceptors were asked for.
func (g *guard) Installed() (unary, stream bool) {
	return g.installed.unary.Load(), g.installed.stream.Load()
}

// Name is how an audit calls it.
func (g *guard) Name() string { return g.name }

// Format implements [fmt.Formatter]: a fixed text, since what is in here is in use
// and holds sessions or secrets.
func (g *guard) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(g.name)) }
