package interceptor

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"
	"weak"

	"go.opentelemetry.io/otel/metric"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/extractor"
	"github.com/grpc-sessionauth/sessionauth/internal/forget"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
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
// Policy.VerifyTimeout and carries the trace of the call, and what
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
	guard

	// The callbacks, their type forgotten: an Authenticator is not generic.
	verify     func(ctx context.Context, token string, header http.Header) (any, error)
	mapSession func(ctx context.Context, session any) (*authcontext.AuthContext, error)

	cache        *cache.Cache[*identity] // nil: none
	uncached     *uncached               // nil with a cache
	forgotten    forgotten
	extractors   []extractor.Extractor
	keyHeaders   []incoming.Name
	reads        []incoming.Name           // that are read besides Authorization and Cookie, each once
	readsCookies bool                      // an extractor reads the Cookie header
	readsAll     bool                      // an extractor reads the whole header
	taggers      []forget.Tagger           // one for each secret; sessions here have the names that the first gives
	member       *member.Member            // nil: it stands alone
	shared       *member.Shared[*identity] // nil: nothing is
	streams      streams.Set
	patience     time.Duration // with the verification of a stream's session
}

// NewSessionAuth returns an Authenticator that verifies sessions with verify and
// makes identities of them with mapSession. Without options every call must carry
// a bearer token or a cookie, and each one is verified. The error names every
// option that is not valid.
func NewSessionAuth[S any](verify VerifyFunc[S], mapSession MapFunc[S], opts ...Option) (*Authenticator, error) {
	a := &Authenticator{}
	c := newConfig(opts)
	errs := []error{misplaced(c.ofGateway, "NewSessionAuth", "NewGatewayAuth")}
	if verify == nil || mapSession == nil {
		errs = append(errs, errors.New("interceptor: NewSessionAuth needs a verify and a map callback"))
	}
	errs = append(errs, a.init(c, "Authenticator", a), a.prepare())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	a.verify = func(ctx context.Context, token string, header http.Header) (any, error) {
		session, err := verify(ctx, token, header)
		if err == nil && nils.Is(session) {
			err = ErrInvalidSession
		}
		return session, err
	}
	a.mapSession = func(ctx context.Context, session any) (*authcontext.AuthContext, error) {
		s, _ := session.(S) // it came from verify
		return mapSession(ctx, s)
	}
	if err := errors.Join(a.join(), a.observe()); err != nil {
		return nil, err
	}
	return a, nil
}

// prepare works out what every call needs. The error names every option that is not valid.
func (a *Authenticator) prepare() error {
	var errs [4]error
	a.extractors, errs[0] = extractor.Parse(a.config.extractors)
	a.keyHeaders, errs[1] = parseKeyHeaders(a.config.keyHeaders)
	for i := range a.extractors {
		e := &a.extractors[i]
		a.readsAll = a.readsAll || e.Source == nil
		a.readsCookies = a.readsCookies || e.Header.Is == incoming.IsCookie
		if e.Source != nil {
			a.reads = append(a.reads, e.Header)
		}
	}
	a.reads = slices.Concat(a.reads, a.keyHeaders)
	slices.SortFunc(a.reads, func(x, y incoming.Name) int { return strings.Compare(x.Key, y.Key) })
	a.reads = slices.DeleteFunc(slices.Compact(a.reads), func(h incoming.Name) bool { return h.Is == incoming.IsAuthorization || h.Is == incoming.IsCookie })
	if a.taggers, errs[2] = forget.NewTaggers(a.busSecrets); errs[2] == nil {
		a.here.tagger = &a.taggers[0]
	}
	a.patience = 2 * cache.DefaultVerifyTimeout
	if a.policy == nil {
		a.uncached = newUncached()
		a.forgotten = a.uncached
		return errors.Join(errs[:]...)
	}
	a.patience = max(a.patience, 2*min(a.policy.VerifyTimeout, maxPatience))
	a.cache, errs[3] = cache.New[*identity](*a.policy)
	a.forgotten = a.cache
	return errors.Join(errs[:]...)
}

// maxPatience bounds a policy's timeout that is doubled.
const maxPatience = time.Hour

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

// Authenticate authenticates a request by its header: that of an HTTP request, or
// one that authmd.Header made. It is what the interceptors do, without gRPC, and
// knows no skipped methods. header is not modified; its values, though not the map, are
// kept until the Session is closed.
//
// The errors are those of the interceptors.
func (a *Authenticator) Authenticate(ctx context.Context, header http.Header) (Authentication, error) {
	return a.authentication(ctx, header)
}

// identify implements way.
func (a *Authenticator) identify(ctx context.Context, r *request) (*identity, telemetry.Result, *refusal.Refusal) {
	refused := a.read(ctx, r)
	switch {
	case refused != nil:
		return nil, telemetry.Rejected, refused
	case r.token() == "" && a.optional:
		return nil, telemetry.Anonymous, nil
	case r.token() == "":
		return nil, telemetry.Rejected, refusal.MissingCredentials
	}
	id, result, refused := a.find(ctx, r, false)
	if result == telemetry.Miss || result == telemetry.Verified || result == telemetry.Stale {
		r.respond(ctx)
	}
	return id, result, refused
}

// watched implements way. A stream that could not be found by a Forget is not opened.
func (a *Authenticator) watched(ctx context.Context, r *request) (streams.Session, *refusal.Refusal) {
	tags, err := a.tagsBounded(ctx, r)
	if err != nil {
		return streams.Session{}, a.notFound(ctx)
	}
	return streams.Session{
		Again: func(ctx context.Context) (streams.Found, *refusal.Refusal) {
			id, refused := a.again(ctx, r)
			return id.found(), refused
		},
		Recheck: a.recheck, Patience: a.patience, Streams: &a.streams, Tags: tags,
	}, nil
}

// clock implements way.
func (a *Authenticator) clock() uint64 { return a.forgotten.Clock() }

// again verifies the session of an open stream, which is counted once only.
func (a *Authenticator) again(ctx context.Context, r *request) (*identity, *refusal.Refusal) {
	id, _, refused := a.shielded(ctx, func() (*identity, telemetry.Result, *refusal.Refusal) { return a.find(ctx, r, true) })
	return id, refused
}
