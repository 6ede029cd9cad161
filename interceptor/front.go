package interceptor

import (
	"sync/atomic"

	"github.com/grpc-sessionauth/sessionauth/internal/method"
)

// front is what authz.Audit looks at.
type front struct {
	skip      method.Set
	optional  bool
	installed struct{ unary, stream atomic.Bool } // which interceptors were asked for
}

// SkipPatterns returns the patterns of [WithSkipMethods].
func (f *front) SkipPatterns() []string { return f.skip.Patterns }

// Skips reports whether calls of a method are let through unseen.
func (f *front) Skips(fullMethod string) bool { return f.skip.Match(fullMethod) }

// Optional reports whether [WithOptionalAuth] was given.
func (f *front) Optional() bool { return f.optional }

// Installed reports which interceptors were asked for.
func (f *front) Installed() (unary, stream bool) {
	return f.installed.unary.Load(), f.installed.stream.Load()
}

// Name is how an audit calls it.
func (a *Authenticator) Name() string { return "Authenticator" }

// Name is how an audit calls it.
func (g *GatewayAuth) Name() string { return "GatewayAuth" }
