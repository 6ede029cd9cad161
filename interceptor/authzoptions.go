package interceptor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

// AuthzOption configures an [Authorizer]. A nil AuthzOption is ignored.
type AuthzOption interface{ applyAuthz(*authzConfig) }

type authzOptionFunc func(*authzConfig)

func (f authzOptionFunc) applyAuthz(c *authzConfig) { f(c) }

type authzConfig struct {
	public    []string
	files     *protoregistry.Files
	internal  func(ctx context.Context, caller *authcontext.AuthContext) bool
	rules     []Rule
	authorize AuthorizeFunc
	policy    Effect
	errs      []error
}

func newAuthzConfig(opts []AuthzOption) authzConfig {
	c := authzConfig{policy: EffectDeny}
	for _, opt := range opts {
		if opt != nil {
			opt.applyAuthz(&c)
		}
	}
	if c.authorize != nil && c.policy == EffectAllow {
		c.errs = append(c.errs, errors.New(
			"interceptor: WithAuthorize decides every call that nothing else does: WithDefaultPolicy(EffectAllow) would never apply"))
	}
	return c
}

// WithRules adds rules. They are tried in the order in which they are given, and the
// first that names the method and whose requirements the caller meets decides. By
// default there are none. A rule that is not valid makes [NewAuthz] fail.
func WithRules(rules ...Rule) AuthzOption {
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].Methods = slices.Clone(rules[i].Methods)
		rules[i].Roles = slices.Clone(rules[i].Roles)
		rules[i].Scopes = slices.Clone(rules[i].Scopes)
	}
	return authzOptionFunc(func(c *authzConfig) { c.rules = slices.Concat(c.rules, rules) })
}

// WithAuthorize has calls that neither .proto options nor rules decide about decided by
// authorize; see [AuthorizeFunc]. By default, and for nil, the policy of
// [WithDefaultPolicy] decides about them.
func WithAuthorize(authorize AuthorizeFunc) AuthzOption {
	return authzOptionFunc(func(c *authzConfig) {
		if authorize != nil {
			c.authorize = authorize
		}
	})
}

// WithDefaultPolicy says what happens to a call that nothing else decides about.
// EffectAllow lets every caller with an identity through. By default it is EffectDeny.
// Anything but these two, or EffectAllow together with [WithAuthorize], makes [NewAuthz]
// fail.
func WithDefaultPolicy(policy Effect) AuthzOption {
	return authzOptionFunc(func(c *authzConfig) {
		c.policy = policy
		if policy != EffectAllow && policy != EffectDeny {
			c.errs = append(c.errs, fmt.Errorf(
				"interceptor: WithDefaultPolicy: effect %d: want EffectAllow or EffectDeny", policy))
		}
	})
}

// WithPublicMethods lets calls of these methods through, whoever makes them and without
// a look at the rules: "pkg.Service/Method", "pkg.Service/*" or "*". The Authenticator
// has to let them through, too: give it [Authorizer.PublicMethods] by [WithSkipMethods].
// By default none is public. Anything else makes [NewAuthz] fail.
func WithPublicMethods(patterns ...string) AuthzOption {
	patterns = slices.Clone(patterns)
	return authzOptionFunc(func(c *authzConfig) { c.public = slices.Concat(c.public, patterns) })
}

// WithProtoOptions reads the options of connectum/auth/v1/options.proto from the
// descriptors in files, and has them decide before the rules. Nil means
// [protoregistry.GlobalFiles], where generated code registers its own. They are read by
// [NewAuthz], once: a file that is registered later is not seen. Options that are not
// valid, or contradict one another, make NewAuthz fail, whichever file they are in. By
// default the options are not read.
func WithProtoOptions(files *protoregistry.Files) AuthzOption {
	if files == nil {
		files = protoregistry.GlobalFiles
	}
	return authzOptionFunc(func(c *authzConfig) { c.files = files })
}

// WithInternalCallers says which callers are other services of yours, and so may call a
// method that its .proto file marks as internal. trusted can look at the identity, such
// as its Type if a mapper of yours sets it for services alone, and at the call, such as
// the verified certificate in its peer. It must be safe to call concurrently, and a panic
// is a no. By default, and for nil, nobody is, and internal methods are denied to all.
func WithInternalCallers(trusted func(ctx context.Context, caller *authcontext.AuthContext) bool) AuthzOption {
	return authzOptionFunc(func(c *authzConfig) {
		if trusted != nil {
			c.internal = trusted
		}
	})
}
