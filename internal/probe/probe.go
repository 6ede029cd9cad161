// Package probe is the call with which an audit asks a server's interceptors who they
// are. It is a value in a context, so nobody can send one.
package probe

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrStopped ends a probe at the interceptor that it was looking for.
var ErrStopped = status.Error(codes.Canceled, "start-up audit")

// under is how many probes there are. While there are none, which is always but for the
// moments of an audit, calls pay for one atomic load.
var under atomic.Int64

type contextKey struct{}

// Probe is one such call. It is safe for concurrent use.
type Probe struct {
	targets []any

	mu    sync.Mutex
	found any
}

// Start begins a probe that stops at the first of targets. It must be ended by done; an
// interceptor that it is held up in may go on to have it.
func Start(ctx context.Context, targets ...any) (_ context.Context, p *Probe, done func()) {
	p = &Probe{targets: targets}
	under.Add(1)
	return context.WithValue(ctx, contextKey{}, p), p, sync.OnceFunc(func() { under.Add(-1) })
}

// From returns the probe that ctx carries; nil for a call that is none. It is what an
// interceptor asks first of all:
//
//	if p := probe.From(ctx); p != nil {
//		if err := p.Meet(a); err != nil {
//			return nil, err
//		}
//		return handler(ctx, req)
//	}
func From(ctx context.Context) *Probe {
	if under.Load() == 0 {
		return nil
	}
	p, _ := ctx.Value(contextKey{}).(*Probe)
	return p
}

// Meet notes that the probe has come to the interceptor of who, which is compared by ==.
// An error is the answer of the interceptor; nil tells it to pass the probe on as it is, and
// do nothing else.
func (p *Probe) Meet(who any) error {
	if !slices.Contains(p.targets, who) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		p.found = who
	}
	return ErrStopped
}

// Found returns the target that the probe came to first; nil for none.
func (p *Probe) Found() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.found
}
