package authcontext

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// Renewable is the identity of a stream whose session is verified again while the stream
// is open. It is for interceptors: what they put into a context with
// [Renewable.NewContext] is found by [FromContext], [Require] and [SessionFromContext],
// which return the newest identity from the moment [Renewable.Renew] is called. The zero
// Renewable carries no identity. It is safe for concurrent use and must not be copied.
type Renewable struct {
	current  atomic.Pointer[Identity]
	renewing sync.Mutex // held by Renew

	mu      sync.Mutex
	watcher *renewalWatcher // the one that registered last
}

// renewalWatcher is one that OnRenewal registered.
type renewalWatcher struct {
	f       func(*AuthContext) error
	stopped bool
	next    *renewalWatcher // registered before this one
}

// NewRenewable returns a Renewable that carries id.
func NewRenewable(id *Identity) *Renewable {
	r := &Renewable{}
	r.Begin(id)
	return r
}

// Begin makes id the identity of a zero Renewable of which nobody else knows yet: nobody is
// told, and nothing is waited for.
func (r *Renewable) Begin(id *Identity) { r.current.Store(id) }

// Identity returns the newest identity. It is nil if there is none.
func (r *Renewable) Identity() *Identity { return r.current.Load() }

// NewContext returns a context that carries the identity of r as it is when it is asked
// for.
func (r *Renewable) NewContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// Renew replaces the identity and then calls what [OnRenewal] has registered, in the
// order of registration, in the goroutine of the caller. It returns the first error, by
// which the stream must end; those that were registered later are not called then. Calls
// of Renew run one after the other. It must not be called by a func that it calls. A panic
// goes on into the caller.
func (r *Renewable) Renew(id *Identity) error {
	r.renewing.Lock()
	defer r.renewing.Unlock()
	r.current.Store(id)
	for _, w := range r.watchers() {
		if r.has(w) {
			if err := w.f(id.AuthContext()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Format implements [fmt.Formatter]: that of the newest Identity.
func (r *Renewable) Format(f fmt.State, verb rune) {
	if r == nil {
		(*Identity)(nil).Format(f, verb)
		return
	}
	r.Identity().Format(f, verb)
}

// OnRenewal registers f to be called with each renewed identity of the stream that ctx
// belongs to: each time its session has been verified again and is still good, whether or
// not anything about it has changed. Interceptors and handlers use it to decide again what
// they decided when the stream began. ok is false, and f is never called, when ctx belongs
// to no such stream: it is that of a unary call, of a stream without an identity, or it
// carries an identity that somebody else has put there.
//
// The calls of f come one at a time, from another goroutine than the handler's. f is told
// what [FromContext] returns from then on, must not modify it, and should return soon: the
// stream's next verification waits for it. An error from f ends the stream: with that error
// if it is a status, else with PermissionDenied "authorization failed"; so does a panic.
//
// Register first and look at [FromContext] afterwards, or a renewal that comes between
// the two is missed. stop unregisters f, as often as it is called: no call of f begins
// after it has returned; one that is under way goes on. There is no need to call it when
// the stream ends.
func OnRenewal(ctx context.Context, f func(*AuthContext) error) (stop func(), ok bool) {
	r, ok := ctx.Value(contextKey{}).(*Renewable)
	if !ok {
		return func() {}, false
	}
	w := &renewalWatcher{f: f}
	r.mu.Lock()
	defer r.mu.Unlock()
	w.next, r.watcher = r.watcher, w
	return func() { r.remove(w) }, true
}

// watchers returns those that are registered, in the order of registration.
func (r *Renewable) watchers() []*renewalWatcher {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for w := r.watcher; w != nil; w = w.next {
		n++
	}
	if n == 0 {
		return nil
	}
	all := make([]*renewalWatcher, n)
	for w := r.watcher; w != nil; w = w.next {
		n--
		all[n] = w
	}
	return all
}

func (r *Renewable) has(w *renewalWatcher) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !w.stopped
}

func (r *Renewable) remove(w *renewalWatcher) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.stopped = true
	for at := &r.watcher; *at != nil; at = &(*at).next {
		if *at == w {
			*at = w.next
			return
		}
	}
}

// identityOf returns the identity that ctx carries; nil: none.
func identityOf(ctx context.Context) *Identity {
	switch carried := ctx.Value(contextKey{}).(type) {
	case *Identity:
		return carried
	case *Renewable:
		return carried.Identity()
	}
	return nil
}
