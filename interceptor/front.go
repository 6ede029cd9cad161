package interceptor

import "sync/atomic"

// ServerAuth says who calls: it is an [*Authenticator] or a [*GatewayAuth].
type ServerAuth interface{ audited() *front }

// front is what [Audit] looks at.
type front struct {
	skip      methodSet
	optional  bool
	installed installed
}

func (f *front) audited() *front { return f }

// installed remembers which interceptors were asked for.
type installed struct{ unary, stream atomic.Bool }
