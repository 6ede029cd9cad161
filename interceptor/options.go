package interceptor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
	"github.com/grpc-sessionauth/sessionauth/internal/origin"
	"github.com/grpc-sessionauth/sessionauth/internal/peers"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Option configures an [Authenticator] or a [GatewayAuth]. A nil Option is ignored. One
// that means nothing to what is made makes its constructor fail.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

// config is what the options say. The two ways to identify callers embed it.
type config struct {
	skip      []string
	optional  bool
	unbounded bool // streams outlive their sessions
	tracers   trace.TracerProvider
	meters    metric.MeterProvider
	logger    *slog.Logger

	// Of an Authenticator alone.
	ofSession  []string // the options that were given
	policy     *cache.Policy
	extractors []authmd.Extractor
	keyHeaders []string
	restricted bool // the verifier gets only what is in the key
	carry      func(from, to context.Context) (context.Context, string)
	origins    origin.Set // nil: any
	outage     func(error) bool
	recheck    time.Duration // 0: not
	bus        fleet.Bus     // nil: none
	busSecrets []string
	lag        time.Duration
	lagGiven   bool
	store      fleet.Store // nil: none
	codec      fleet.Codec

	// Of a GatewayAuth alone.
	ofGateway    []string
	trusting     bool // some trust was asked for, if only of nobody
	secretHeader string
	secrets      []string
	peers        []peers.Trust

	errs []error
}

func newConfig(opts []Option) config {
	c := config{
		extractors:   []authmd.Extractor{authmd.Bearer(), authmd.CookieHeader()},
		secretHeader: secret.DefaultHeader,
	}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	if c.unbounded && c.recheck != 0 {
		c.fail(errors.New("interceptor: WithStreamRecheck and WithUnboundedStreams contradict each other"))
	}
	c.checkFleet()
	return c
}

func (c *config) fail(err error) { c.errs = append(c.errs, err) }

// misplaced returns an error for each option that is for the other constructor.
func misplaced(names []string, constructor, other string) error {
	errs := make([]error, 0, len(names))
	for _, name := range names {
		errs = append(errs, fmt.Errorf("interceptor: %s: %s is for %s", constructor, name, other))
	}
	return errors.Join(errs...)
}

// ofSession is an option of NewSessionAuth alone.
func ofSession(name string, f func(*config)) Option {
	return optionFunc(func(c *config) {
		c.ofSession = append(c.ofSession, name)
		f(c)
	})
}

// ofGateway is an option of NewGatewayAuth alone.
func ofGateway(name string, f func(*config)) Option {
	return optionFunc(func(c *config) {
		c.ofGateway = append(c.ofGateway, name)
		f(c)
	})
}

// WithSkipMethods lets calls of these methods through without a look at their
// credentials: "pkg.Service/Method", "pkg.Service/*" or "*", with or without a
// leading "/". Their handlers find no identity, and no x-auth-* metadata either.
// By default none is skipped. Anything else makes the constructor fail.
func WithSkipMethods(patterns ...string) Option {
	patterns = slices.Clone(patterns)
	return optionFunc(func(c *config) { c.skip = slices.Concat(c.skip, patterns) })
}

// WithOptionalAuth lets a call without any credential through, without an
// identity. A credential that is there must be good all the same, and one that is
// malformed is refused. By default a call without one is Unauthenticated. For a
// [GatewayAuth] the credential is the identity: its callers must be trusted all the same.
func WithOptionalAuth() Option { return optionFunc(func(c *config) { c.optional = true }) }

// WithUnboundedStreams lets a stream go on when its session has ended: it is
// authenticated when it starts and never again. By default it ends with its
// session.
func WithUnboundedStreams() Option { return optionFunc(func(c *config) { c.unbounded = true }) }

// WithTracerProvider says where the spans go. By default, and for nil, to the
// global provider.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return optionFunc(func(c *config) {
		if !nils.Is(provider) {
			c.tracers = provider
		}
	})
}

// WithMeterProvider says where the metrics go. By default, and for nil, to the
// global provider.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return optionFunc(func(c *config) {
		if !nils.Is(provider) {
			c.meters = provider
		}
	})
}

// WithLogger says where to log why calls are refused: a line for each verification that
// failed, with its cause, credentials cut out, and one for each call that was refused
// before any. Of many within a second only some are logged, and how many were not. By
// default, and for nil, nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	return optionFunc(func(c *config) { c.logger = logger })
}
