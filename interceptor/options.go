package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/cache"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Option configures an [Authenticator]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// CommonOption is an option of [NewSessionAuth] and of [NewGatewayAuth].
type CommonOption interface {
	Option
	GatewayOption
}

type commonFunc func(*common)

func (f commonFunc) apply(c *config) { f(&c.common) }

func (f commonFunc) applyGateway(c *gatewayConfig) { f(&c.common) }

type common struct {
	skip      []string
	optional  bool
	unbounded bool
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
}

type config struct {
	common

	policy     *cache.Policy
	extractors []authmd.Extractor
	keyHeaders []string
	restricted bool // the verifier gets only what is in the key
	carry      func(from, to context.Context) (context.Context, string)
	origins    []string // nil: any
	recheck    time.Duration
	broadcast  Broadcast
	errs       []error
}

func newConfig(opts []Option) config {
	c := config{extractors: []authmd.Extractor{authmd.Bearer(), authmd.CookieHeader()}}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	if c.unbounded && c.recheck != 0 {
		c.errs = append(c.errs, errors.New("interceptor: WithStreamRecheck and WithUnboundedStreams contradict each other"))
	}
	return c
}

// WithCache keeps verified sessions in memory. By default there is no cache and
// every call is verified. An invalid policy makes [NewSessionAuth] fail.
func WithCache(policy cache.Policy) Option {
	return optionFunc(func(c *config) { c.policy = &policy })
}

// WithExtractors says where to look for credentials. They are asked in order, and
// the first to find a token decides which one the verifier gets. By default
// [authmd.Bearer], then [authmd.CookieHeader]. An empty list, a nil extractor, or
// one built from bad input makes [NewSessionAuth] fail.
func WithExtractors(extractors ...authmd.Extractor) Option {
	extractors = slices.Clone(extractors)
	return optionFunc(func(c *config) { c.extractors = extractors })
}

// WithKeyHeaders names the request headers, besides the credentials, that the
// verifier may look at: they become part of the cache key, and the verifier
// receives the headers of the credentials and these, nothing else. Then no cached
// answer can depend on anything outside its key. No names is a good choice: only
// the credentials. Names are in any case; "Host" names the :authority of the
// call. By default the verifier receives the whole header.
//
// A name that can never be there, such as one that begins with "grpc-", makes
// [NewSessionAuth] fail.
func WithKeyHeaders(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) {
		c.restricted = true // by no names, too
		c.keyHeaders = slices.Concat(c.keyHeaders, names)
	})
}

// WithKeyContext does for context values what [WithKeyHeaders] does for headers.
// carry copies what the callbacks need from the context of the call to a fresh
// one, and returns the result with a text that stands for everything it
// copied: that text becomes part of the cache key. It runs on every call, so it
// must be cheap, and be safe to call concurrently. Deadlines and cancellation do
// not carry over.
//
// By default a verification behind a cache sees no value of the call that started
// it but its trace and baggage. Without a cache, callbacks run on the context of
// the call and carry is not used.
func WithKeyContext(carry func(from, to context.Context) (context.Context, string)) Option {
	return optionFunc(func(c *config) {
		if carry != nil {
			c.carry = carry
		}
	})
}

// WithSkipMethods lets calls of these methods through without a look at their
// credentials: "pkg.Service/Method", "pkg.Service/*" or "*", with or without a
// leading "/". Their handlers find no identity, and no x-auth-* metadata either.
// By default none is skipped. Anything else makes the constructor fail.
func WithSkipMethods(patterns ...string) CommonOption {
	patterns = slices.Clone(patterns)
	return commonFunc(func(c *common) { c.skip = slices.Concat(c.skip, patterns) })
}

// WithOptionalAuth lets a call without any credential through, without an
// identity. A credential that is there must be good all the same, and one that is
// malformed is refused. By default a call without one is Unauthenticated. For a
// [GatewayAuth] the credential is the identity: its callers must be trusted all the same.
func WithOptionalAuth() CommonOption {
	return commonFunc(func(c *common) { c.optional = true })
}

// WithAllowedOrigins refuses a call whose credential is a cookie and that a browser
// sent for a page of any origin but these, with PermissionDenied: a browser sends
// cookies along whoever's page asks it to. An origin is written "https://host" or
// "https://host:port"; anything else makes [NewSessionAuth] fail. With none, no page
// is let in. A call that carries no Origin passes: it is not from a page, or is a
// plain GET, which must change nothing; and so does one by a bearer token, which no
// page of others can make a browser send. By default any origin will do.
//
// It is needed where browsers reach the server, through grpc-gateway or gRPC-Web, and
// their cookie is not SameSite=Strict. Origin is looked for under that name and
// as grpcgateway-origin.
func WithAllowedOrigins(origins ...string) Option {
	return optionFunc(func(c *config) {
		c.origins = append([]string{}, c.origins...) // not nil, by none
		for _, s := range origins {
			allowed, err := parseOrigin(s)
			if err != nil {
				c.errs = append(c.errs, err)
			}
			c.origins = append(c.origins, allowed)
		}
	})
}

// WithStreamRecheck has the session of every open stream verified again at this
// interval, through the cache if there is one, so that the streams of one session
// cost one verification. A stream ends with what the verification finds out:
// INVALID_SESSION soon after its session was ended at its owner, or Unavailable in
// an outage that the cache has no stale answer for. By default a stream is verified
// again only after a Forget. An interval that is not positive makes
// [NewSessionAuth] fail.
func WithStreamRecheck(every time.Duration) Option {
	return optionFunc(func(c *config) {
		c.recheck = every
		if every <= 0 {
			c.errs = append(c.errs, fmt.Errorf("interceptor: WithStreamRecheck: the interval must be positive, got %v", every))
		}
	})
}

// WithUnboundedStreams lets a stream go on when its session has ended: it is
// authenticated when it starts and never again. By default it ends with its
// session.
func WithUnboundedStreams() CommonOption {
	return commonFunc(func(c *common) { c.unbounded = true })
}

// WithBroadcast joins this Authenticator with others: what one of them is told to
// forget, all forget. By default it stands alone.
func WithBroadcast(broadcast Broadcast) Option {
	return optionFunc(func(c *config) {
		if !isNil(broadcast) {
			c.broadcast = broadcast
		}
	})
}

// WithTracerProvider says where the spans go. By default, and for nil, to the
// global provider.
func WithTracerProvider(provider trace.TracerProvider) CommonOption {
	return commonFunc(func(c *common) { c.tracers = provider })
}

// WithMeterProvider says where the metrics go. By default, and for nil, to the
// global provider.
func WithMeterProvider(provider metric.MeterProvider) CommonOption {
	return commonFunc(func(c *common) { c.meters = provider })
}

// headerName is a header in the two forms it is looked up by.
type headerName struct{ canonical, key string }

func newHeaderName(name string) headerName {
	return headerName{textproto.CanonicalMIMEHeaderKey(name), strings.ToLower(name)}
}

func parseKeyHeaders(names []string) ([]headerName, error) {
	parsed := make([]headerName, 0, len(names))
	var errs []error
	for _, name := range names {
		h := newHeaderName(name)
		switch {
		case h != host && !authmd.Forwardable(name):
			errs = append(errs, fmt.Errorf("interceptor: WithKeyHeaders: %q is never in the header of a request", name))
		case !slices.Contains(parsed, h):
			parsed = append(parsed, h)
		}
	}
	return parsed, errors.Join(errs...)
}

// extractor is an Extractor and, where it is a Source, the header it reads.
type extractor struct {
	authmd.Extractor

	source authmd.Source // nil if it is none
	header headerName
}

func parseExtractors(extractors []authmd.Extractor) ([]extractor, error) {
	if len(extractors) == 0 {
		return nil, errors.New("interceptor: WithExtractors needs at least one extractor")
	}
	parsed := make([]extractor, 0, len(extractors))
	var errs []error
	for i, e := range extractors {
		source, ok := e.(authmd.Source)
		switch {
		case isNil(e):
			errs = append(errs, fmt.Errorf("interceptor: WithExtractors: extractor %d is nil", i+1))
		case ok && !authmd.Forwardable(source.Header()):
			errs = append(errs, fmt.Errorf(
				"interceptor: WithExtractors: extractor %d has no valid header or cookie name", i+1))
		case ok:
			parsed = append(parsed, extractor{e, source, newHeaderName(source.Header())})
		default:
			parsed = append(parsed, extractor{Extractor: e})
		}
	}
	return parsed, errors.Join(errs...)
}
