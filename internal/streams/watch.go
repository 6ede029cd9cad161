package streams

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

const (
	// retryBusy is after how long, and at most twice that, a stream asks again that could
	// not be verified for want of a slot.
	retryBusy = 250 * time.Millisecond
	// defaultPatience is how long a stream stays open whose session is to be verified and
	// could not be.
	defaultPatience = 10 * time.Second
	// jitter is the part of an interval by which rechecks are early, at most: streams that
	// began together would be verified together for ever.
	jitter = 0.2
)

// errReturned is for those who go on to use a stream after its handler.
var errReturned = status.Error(codes.Canceled, "the handler has returned")

// Found is what a verification found out about a session.
type Found struct {
	*authcontext.Identity

	Tags []Tag // by which it can be forgotten
}

// Session is how the session of an open stream is verified again.
type Session struct {
	Again    func(context.Context) (Found, *refusal.Refusal) // nil: nobody can be asked
	Recheck  time.Duration                                   // how often to; 0: only after a Forget
	Patience time.Duration                                   // a bound on how long it may take; 0: 10 s
	Streams  *Set                                            // to be found in; nil: in none
	Tags     []Tag                                           // of the request; those of what is found come to them
	Identity *authcontext.Renewable                          // what carries the identity already; nil: nothing
}

// Watch ends a stream with its session. It has no goroutine of its own: a timer starts one
// for as long as a verification takes.
type Watch struct {
	again    func(context.Context) (Found, *refusal.Refusal)
	recheck  time.Duration
	patience time.Duration
	streams  *Set
	own      int    // of the links, those of the stream itself and its request
	links    []link // guarded by the lock of streams

	identity *authcontext.Renewable
	carrier  authcontext.Renewable // what identity is unless there is one already
	ctx      context.Context       //nolint:containedctx // of the stream, for the verifications
	cancel   context.CancelCauseFunc

	mu        sync.Mutex
	timer     *time.Timer
	life      lifetime
	next      instant       // of the next verification
	limit     instant       // by when the one that is due must have succeeded; zero: none is due
	verifying bool          // one is under way or waits for its turn, and the next for that one
	closed    bool          // the session has ended or the handler has returned
	over      chan struct{} // closed with it; nil: nobody waits for that
	failure   error         // a status: why the session has ended
}

// Start starts to watch the session of a stream. The context it returns carries the
// identity, always the newest, and is cancelled when the session ends, with the status as
// its cause. The watch must be closed. ctx is the stream's; it need not be gRPC's.
func Start(ctx context.Context, id Found, s Session) (context.Context, *Watch) {
	w := &Watch{
		again: s.Again, recheck: s.Recheck, patience: s.Patience, streams: s.Streams, own: 1 + len(s.Tags),
	}
	if w.patience <= 0 {
		w.patience = defaultPatience
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	if w.identity = s.Identity; w.identity == nil {
		w.identity = &w.carrier
		_ = w.identity.Renew(id.Identity) // nobody is told yet
	}
	w.timer = time.AfterFunc(forever, w.due)
	// Found first and verified later: a verification may replace the tags.
	w.streams.add(w, append(append([]Tag{{}}, s.Tags...), id.Tags...)...)
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.life.renew(id.AuthContext().ExpiresAt)
	w.schedule(now)
	w.timer.Reset(w.untilDue(now))
	return w.identity.NewContext(w.ctx), w
}

// Close stops the watch when the handler has returned, as often as it is called. It
// returns why the session has ended, which does not change any more; nil if it has not.
func (w *Watch) Close() error {
	w.streams.remove(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.shut(nil)
	}
	return w.failure
}

// end ends the session of the stream. w.mu is held, and it is not over.
func (w *Watch) end(failure error) {
	w.failure = failure
	w.shut(failure)
}

func (w *Watch) shut(cause error) {
	w.closed = true
	w.timer.Stop()
	w.cancel(cause)
	if w.over != nil {
		close(w.over)
	}
}

// Check returns an error when the stream is over.
func (w *Watch) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed && w.life.over() {
		w.end(refusal.SessionExpired)
	}
	if w.closed && w.failure == nil {
		return errReturned
	}
	return w.failure
}

// tags are those that the stream can be found by. The lock of streams is held.
func (w *Watch) tags() []Tag {
	tags := make([]Tag, len(w.links))
	for i := range w.links {
		tags[i] = w.links[i].tag
	}
	return tags
}

// Wake has the session verified after a while, if not earlier.
func (w *Watch) Wake(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.again == nil {
		return
	}
	now := time.Now()
	w.verifyAt(in(now, after))
	w.timer.Reset(w.untilDue(now))
}

// schedule notes when the next recheck is.
func (w *Watch) schedule(now time.Time) {
	if w.recheck > 0 && w.again != nil {
		early := time.Duration(rand.Float64() * jitter * float64(w.recheck)) //nolint:gosec // to spread load
		w.verifyAt(in(now, w.recheck-early))
	}
}

func (w *Watch) verifyAt(at instant) {
	if w.next == 0 || at < w.next {
		w.next = at
	}
}

// untilDue is how long there is nothing to do.
func (w *Watch) untilDue(now time.Time) time.Duration {
	wait := w.life.untilLook(now)
	if w.limit != 0 {
		wait = min(wait, w.limit.until(now))
	}
	if w.next != 0 && !w.verifying {
		wait = min(wait, w.next.until(now))
	}
	return max(wait, 0)
}

// due runs when the session may have expired, or is to be verified again.
func (w *Watch) due() {
	if w.starts() {
		w.verify()
	}
}

// starts does what is due and reports whether a verification is, and may start now.
func (w *Watch) starts() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	now, start := time.Now(), false
	switch {
	case w.life.over():
		w.end(refusal.SessionExpired)
		return false
	case w.limit.passed(now):
		w.end(refusal.VerificationUnavailable)
		return false
	case !w.verifying && w.next.passed(now):
		w.verifying = true
		w.next = 0 // a Forget meanwhile sets it again
		if w.limit == 0 {
			w.limit = in(now, w.patience)
		}
		start = w.streams.take(w)
	}
	w.timer.Reset(w.untilDue(now))
	return start
}

// verify asks whether the session is still good.
func (w *Watch) verify() {
	busy, failure := (*refusal.Refusal)(nil), error(refusal.VerificationFailed) // unless the callbacks return
	defer func() { w.verified(busy, failure) }()
	_ = catch.Protect(func() { busy, failure = w.ask() })
}

// takeTurn asks the session's owner and makes room for the next stream: funcs of
// authcontext.OnRenewal that do not return must not hold up the others.
func (w *Watch) takeTurn() (Found, *refusal.Refusal) {
	defer w.streams.done()
	if w.Check() != nil {
		return Found{}, refusal.VerificationFailed // over while it waited for its turn: nobody hears of it
	}
	return w.again(w.ctx)
}

// verified notes what came of a verification: nothing, for want of a slot; or that the
// session has ended; or else that it has not.
func (w *Watch) verified(busy *refusal.Refusal, failure error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verifying = false
	now := time.Now()
	switch {
	case w.closed || w.ctx.Err() != nil:
		return
	case busy != nil:
		wait := retryBusy + rand.N(retryBusy) //nolint:gosec // to spread load
		w.verifyAt(in(now, max(wait, busy.RetryAfter())))
	case failure != nil:
		w.end(failure)
		return
	default:
		w.limit = 0
		w.life.renew(w.identity.Identity().AuthContext().ExpiresAt)
		w.schedule(now)
	}
	w.timer.Reset(w.untilDue(now))
}

// ask verifies the session and tells those who want to know of the renewed identity.
func (w *Watch) ask() (busy *refusal.Refusal, failure error) {
	before := w.streams.forgotten()
	id, refused := w.takeTurn()
	switch {
	case refused != nil && refused.Busy():
		return refused, nil
	case refused != nil:
		return nil, refused
	}
	known, renewed := w.identity.Identity().AuthContext(), id.AuthContext()
	if renewed.Subject != known.Subject {
		return nil, refusal.InvalidSession // another's: what the stream may do was decided for this one
	}
	if renewed.SessionID != known.SessionID && w.streams.retag(w, w.own, id.Tags, before) {
		w.Wake(0)
	}
	var err error
	if panicked := catch.Protect(func() { err = w.identity.Renew(id.Identity) }); panicked != nil {
		err = panicked
	}
	return nil, refusedRenewal(err)
}

// refusedRenewal is the status by which a stream ends because of an error of a func of
// authcontext.OnRenewal.
func refusedRenewal(err error) error {
	if err == nil {
		return nil
	}
	st, ok := refusal.StatusOf(err)
	if !ok {
		return refusal.AuthorizationFailed
	}
	if _, itself := err.(interface{ GRPCStatus() *status.Status }); itself { // not one that is wrapped
		return err
	}
	return refusal.Given(st) // whose text does not reach the client with what was wrapped around it
}
