package httpauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/peers"
)

// announced is how much of a response net/http keeps back while its handler runs: there is
// nothing to end before more is written.
const announced = 2 << 10

// exchange is a request and its response: all that one costs, in one allocation. It is the context
// of the handler, which costs little while the session is not watched: it is made cancellable when
// somebody asks for that. Handlers may keep it, so that it is not used again.
type exchange struct {
	call    peers.RequestContext
	session *interceptor.Session // nil: nobody's
	writer  http.ResponseWriter
	own     interceptor.Session // what session points to
	request http.Request        // the handler's

	inner     atomic.Pointer[cancellable]
	written   atomic.Int64 // bytes of the body
	watched   atomic.Bool  // outlast has succeeded
	committed atomic.Bool  // the response has begun

	mu       sync.Mutex
	stop     func() bool // forgets end
	failure  error       // why the session has ended, or could not be watched
	conn     net.Conn    // that was hijacked; nil: none
	finished bool        // the handler has returned

	cookie bool // a Set-Cookie was handed back; the handler's goroutine alone reads it
}

// cancellable is the call with the identity and an end.
type cancellable struct {
	context.Context //nolint:containedctx // it is one

	cancel context.CancelCauseFunc
}

var _ context.Context = (*exchange)(nil)

// Deadline implements [context.Context].
func (x *exchange) Deadline() (time.Time, bool) { return x.call.Deadline() }

// Done implements [context.Context].
func (x *exchange) Done() <-chan struct{} {
	if c := x.inner.Load(); c != nil {
		return c.Done()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ending().Done()
}

// Err implements [context.Context].
func (x *exchange) Err() error {
	if c := x.inner.Load(); c != nil {
		return c.Err()
	}
	return x.call.Err()
}

// Value implements [context.Context].
func (x *exchange) Value(key any) any {
	if c := x.inner.Load(); c != nil {
		return c.Value(key) // which knows what context needs to cancel those that are made of this
	}
	if found := x.session.Value(key); found != nil {
		return found
	}
	return x.call.Value(key)
}

// Format implements [fmt.Formatter]: a fixed text.
func (*exchange) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("httpauth.Context")) }

// ending returns what cancels the handler's context. x.mu is held.
func (x *exchange) ending() *cancellable {
	c := x.inner.Load()
	if c == nil {
		c = &cancellable{}
		c.Context, c.cancel = context.WithCancelCause(x.session.NewContext(&x.call))
		x.inner.Store(c)
		if x.finished && x.conn == nil {
			c.cancel(nil)
		}
	}
	return c
}

// errReturned is for those who go on to use a writer after its handler.
var errReturned = errors.New("httpauth: the handler has returned")

// outlast has the session watched from now on. It returns why it has ended, or could not be
// watched.
func (x *exchange) outlast() error {
	if x.watched.Load() {
		return x.session.Check()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.failure != nil || x.watched.Load():
		return x.failure
	case x.finished:
		return errReturned
	}
	// Not for the request's context: that of a hijacked connection ends before it.
	ctx, err := x.session.Watch(context.WithoutCancel(x))
	if err != nil {
		x.failure = err
		x.ending().cancel(err)
		return err
	}
	x.ending()
	x.stop = context.AfterFunc(ctx, func() { x.end(context.Cause(ctx)) })
	x.watched.Store(true)
	return nil
}

// end runs when the session has ended.
func (x *exchange) end(cause error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.finished && x.conn == nil {
		return
	}
	x.failure = cause
	begun := x.committed.Load() // before those who wait for the end write on, in vain
	x.ending().cancel(cause)
	if x.conn != nil {
		_ = x.session.Close()
		_ = x.conn.Close()
		return
	}
	past := time.Unix(1, 0) // those who wait for the client are to wait no longer
	controller := http.NewResponseController(x.writer)
	_ = controller.SetReadDeadline(past)
	if begun {
		_ = controller.SetWriteDeadline(past)
	}
}

// finish is called when the handler has returned, as often as it is called. It returns why
// the session has ended; nil if it has not, or the connection is not the server's any more.
func (x *exchange) finish() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.finished {
		return x.failure
	}
	x.finished = true
	leaveForm(x.call.Request, &x.request)
	if x.conn != nil {
		return nil // see hijacked.Close
	}
	return x.close()
}

// close ends the watch. x.mu is held.
func (x *exchange) close() error {
	if x.stop != nil {
		x.stop()
	}
	if err := x.session.Close(); x.failure == nil {
		x.failure = err
	}
	if c := x.inner.Load(); c != nil {
		c.cancel(x.failure)
	}
	return x.failure
}

// keepPrivate has no shared cache store a response that is about to begin, whatever its handler
// thinks of that, with a cookie that is one caller's.
func (x *exchange) keepPrivate() {
	if x.cookie && !x.committed.Load() {
		x.writer.Header().Add("Cache-Control", "private")
		x.cookie = false
	}
}

// abort has the client know that the response is not all of it, or, if there is none, why.
func (x *exchange) abort(realm string, ended error) {
	if x.committed.Load() {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http has no other way
	}
	header := x.writer.Header()
	header.Del("Content-Encoding")
	header.Del("ETag")
	header.Del("Last-Modified")
	refuse(x.writer, realm, ended)
}
