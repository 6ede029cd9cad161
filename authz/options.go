package authz

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
)

// Option configures an [Authorizer]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	public    []string
	files     *protoregistry.Files
	internal  func(ctx context.Context, caller *authcontext.AuthContext) bool
	rules     []Rule
	authorize AuthorizeFunc
	policy    Effect
	meters    metric.MeterProvider
	logger    *slog.Logger
	errs      []error
}

func newConfig(opts []Option) config {
	c := config{policy: Deny}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	if c.authorize != nil && c.policy == Allow {
		c.errs = append(c.errs, errors.New(
			"authz: WithAuthorize decides every call that nothing else does: WithDefaultPolicy(Allow) would never apply"))
	}
	return c
}

// WithRules adds rules. They are tried in the order in which they are given, and the
// first that names the method and whose requirements the caller meets decides. By
// default there are none. A rule that is not valid makes [New] fail.
func WithRules(rules ...Rule) Option {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Methods = slices.Clone(rules[i].Methods)
		rules[i].Roles = slices.Clone(rules[i].Roles)
		rules[i].Scopes = slices.Clone(rules[i].Scopes)
	}
	return optionFunc(func(c *config) { c.rules = slices.Concat(c.rules, rules) })
}

// WithAuthorize has calls that neither .proto options nor rules decide about decided by
// authorize; see [AuthorizeFunc]. By default, and for nil, the policy of
// [WithDefaultPolicy] decides about them.
func WithAuthorize(authorize AuthorizeFunc) Option {
	return optionFunc(func(c *config) {
		if authorize != nil {
			c.authorize = authorize
		}
	})
}

// WithDefaultPolicy says what happens to a call that nothing else decides about.
// Allow lets every caller with an identity through. By default it is Deny.
// Anything but these two, or Allow together with [WithAuthorize], makes [New]
// fail.
func WithDefaultPolicy(policy Effect) Option {
	return optionFunc(func(c *config) {
		c.policy = policy
		if policy != Allow && policy != Deny {
			c.errs = append(c.errs, fmt.Errorf(
				"authz: WithDefaultPolicy: effect %d: want Allow or Deny", policy))
		}
	})
}

// WithPublicMethods lets calls of these methods through, whoever makes them and without
// a look at the rules: "pkg.Service/Method", "pkg.Service/*" or "*". The Authenticator
// has to let them through, too: give it [Authorizer.PublicMethods] by [WithSkipMethods].
// By default none is public. Anything else makes [New] fail.
func WithPublicMethods(patterns ...string) Option {
	patterns = slices.Clone(patterns)
	return optionFunc(func(c *config) { c.public = slices.Concat(c.public, patterns) })
}

// WithProtoOptions reads the options of connectum/auth/v1/options.proto from the
// descriptors in files, and has them decide before the rules. Nil means
// [protoregistry.GlobalFiles], where generated code registers its own. They are read by
// [New], once, for the rules and for [Audit]: a file that is registered later is not seen
// by either. Only files that import options.proto are read: another extension
// that has taken the same number is none of these. Options that are not
// valid, or contradict one another, make New fail, whichever file they are in. By
// default the options are not read.
func WithProtoOptions(files *protoregistry.Files) Option {
	if files == nil {
		files = protoregistry.GlobalFiles
	}
	return optionFunc(func(c *config) { c.files = files })
}

// WithInternalCallers says which callers are other services of yours, and so may call a
// method that its .proto file marks as internal. trusted can look at the identity, such
// as its Type if a mapper of yours sets it for services alone, and at the call, such as
// the verified certificate in its peer. Its ctx is a child of the call's, bounded by 5 s; a
// panic, or an answer that comes too late, is a no. It must be safe to call concurrently,
// and should return soon after ctx ends: it is abandoned then. By default, and for nil,
// nobody is, and internal methods are denied to all.
func WithInternalCallers(trusted func(ctx context.Context, caller *authcontext.AuthContext) bool) Option {
	return optionFunc(func(c *config) {
		if trusted != nil {
			c.internal = trusted
		}
	})
}

// WithMeterProvider says where the counter of decisions goes. By default, and for nil, to
// the global provider.
func WithMeterProvider(provider metric.MeterProvider) Option {
	return optionFunc(func(c *config) {
		if !nils.Is(provider) {
			c.meters = provider
		}
	})
}

// WithLogger logs each call that is denied, with its method, the rule, the error.type and
// the subject of the caller: at level Info, and at Warn if a callback failed, with the cause.
// At most ten lines a second are written, and the next one says how many were not. By
// default, and for nil, nothing is logged.
func WithLogger(logger *slog.Logger) Option {
	return optionFunc(func(c *config) {
		if logger != nil {
			c.logger = logger
		}
	})
}
