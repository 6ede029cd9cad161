package interceptor

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

const (
	// retryBusy is after how long a stream asks again that found the owner busy.
	retryBusy = 250 * time.Millisecond
	// spread is over how long the streams spread their verifications after
	// everything was forgotten.
	spread = time.Second
)

// openStreams are the open streams of an Authenticator, to be found by what their
// sessions can be forgotten by.
type openStreams struct {
	mu    sync.Mutex
	byTag map[tag]map[*watch]struct{}
	all   map[*watch]struct{}
}

func (s *openStreams) add(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.byTag, s.all = map[tag]map[*watch]struct{}{}, map[*watch]struct{}{}
	}
	s.all[w] = struct{}{}
	for _, tag := range w.tags {
		if s.byTag[tag] == nil {
			s.byTag[tag] = map[*watch]struct{}{}
		}
		s.byTag[tag][w] = struct{}{}
	}
}

func (s *openStreams) remove(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, w)
	for _, tag := range w.tags {
		if delete(s.byTag[tag], w); len(s.byTag[tag]) == 0 {
			delete(s.byTag, tag)
		}
	}
}

func (s *openStreams) wake(tag tag) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.byTag[tag] {
		w.wake(0)
	}
}

func (s *openStreams) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.all {
		w.wake(rand.N(spread)) //nolint:gosec // to spread load, not to hide anything
	}
}

// watch ends a stream with its session. It has no goroutine of its own: a timer
// starts one for as long as a verification takes.
type watch struct {
	again   func(context.Context) (*identity, *refusal.Refusal) // verifies the session
	recheck time.Duration                                       // how often to; 0: when woken
	streams *openStreams                                        // to be found in by tags; nil: in none
	tags    []tag
	ctx     context.Context //nolint:containedctx // of the stream, for the verifications
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when the session has ended

	mu        sync.Mutex
	timer     *time.Timer
	expires   time.Time        // of the session, with a monotonic reading; zero: none
	next      time.Time        // of the next verification; zero: none
	verifying bool             // one is running, and the next waits for it
	failure   *refusal.Refusal // why the session has ended
	closed    bool             // the handler has returned, or the session has ended
}

// tag is what an open stream can be forgotten by.
type tag = cache.Tag

// watched says how the session of a stream is verified again.
type watched struct {
	again   func(ctx context.Context) (*identity, *refusal.Refusal) // nil: not
	recheck time.Duration
	streams *openStreams // nil: in none
	tags    []tag
}

// watch starts to watch the session of a stream. The context it returns is
// cancelled when the session ends.
func newWatch(ctx context.Context, id *identity, s watched) (context.Context, *watch) {
	w := &watch{again: s.again, recheck: s.recheck, streams: s.streams, tags: s.tags}
	return w.start(ctx, id), w
}

func (w *watch) start(ctx context.Context, id *identity) context.Context {
	w.ctx, w.ended = ctx, make(chan struct{})
	ctx, w.cancel = context.WithCancelCause(id.NewContext(ctx))
	w.renew(id)
	if w.recheck > 0 {
		w.next = time.Now().Add(w.recheck)
	}
	w.mu.Lock()
	w.timer = time.AfterFunc(w.untilDue(), w.due)
	w.mu.Unlock()
	if w.streams != nil {
		w.streams.add(w)
	}
	return ctx
}

// close stops the watch when the handler has returned. From then on failure, why the
// session has ended, does not change; it is nil if the handler ended by itself.
func (w *watch) close() {
	if w.streams != nil {
		w.streams.remove(w)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.timer.Stop()
	w.cancel(nil)
}

// renew notes until when the session is known to last.
func (w *watch) renew(id *identity) {
	w.expires = time.Time{}
	if at := id.AuthContext().ExpiresAt; !at.IsZero() {
		now := time.Now()
		w.expires = now.Add(at.Sub(now)) // by the monotonic clock from now on
	}
}

// forever is as good as no timer at all.
const forever = 100 * 365 * 24 * time.Hour

// untilDue is how long there is nothing to do.
func (w *watch) untilDue() time.Duration {
	wait := forever
	if !w.expires.IsZero() {
		wait = min(wait, time.Until(w.expires))
	}
	if !w.next.IsZero() && !w.verifying {
		wait = min(wait, time.Until(w.next))
	}
	return max(wait, 0)
}

// wake has the session verified after a while, if not earlier.
func (w *watch) wake(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	if at := time.Now().Add(after); w.next.IsZero() || at.Before(w.next) {
		w.next = at
	}
	w.timer.Reset(w.untilDue())
}

// due runs when the session expires, or is to be verified again.
func (w *watch) due() {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	now := time.Now()
	if !w.expires.IsZero() && !now.Before(w.expires) {
		w.end(refusal.SessionExpired)
		w.mu.Unlock()
		return
	}
	verify := !w.verifying && !w.next.IsZero() && !now.Before(w.next)
	if verify {
		w.verifying = true
		w.next = time.Time{} // a Forget meanwhile sets it again
		if w.recheck > 0 {
			w.next = now.Add(w.recheck)
		}
	}
	w.timer.Reset(w.untilDue())
	w.mu.Unlock()
	if verify {
		w.verify()
	}
}

// verify asks, through the cache, whether the session is still good.
func (w *watch) verify() {
	id, refused := w.again(w.ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verifying = false
	switch {
	case w.closed || w.ctx.Err() != nil:
	case refused == nil:
		w.renew(id)
		w.timer.Reset(w.untilDue())
	case refused.Busy():
		if at := time.Now().Add(retryBusy + rand.N(retryBusy)); w.next.IsZero() || at.Before(w.next) { //nolint:gosec // to spread load
			w.next = at
		}
		w.timer.Reset(w.untilDue())
	default:
		w.end(refused)
	}
}

// end ends the stream. w.mu is held.
func (w *watch) end(f *refusal.Refusal) {
	w.failure, w.closed = f, true
	w.timer.Stop()
	w.cancel(f)
	close(w.ended)
}
