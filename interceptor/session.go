package interceptor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/ctxkey"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
)

// Authentication is what Authenticate found out about a request.
type Authentication struct {
	// Identity is who calls, with the session. It is shared and must not be modified. It is
	// nil for nobody, which only [WithOptionalAuth] allows.
	Identity *authcontext.Identity
	// ResponseHeader is what the callbacks handed back for this caller with
	// [SetResponseHeader]; nil for nothing. It is there with an error, too.
	ResponseHeader http.Header
	// Session is for what lasts longer than the moment of the Authentication. It is nil
	// for nobody.
	Session *Session

	guard  *guard
	hidden bool // there may be something that handlers must not see
}

// HandlerHeader is [Authenticator.HandlerHeader] for the header that was authenticated.
func (a Authentication) HandlerHeader(header http.Header) http.Header {
	if a.guard == nil || !a.hidden {
		return header
	}
	return a.guard.HandlerHeader(header)
}

// AuthContext returns who calls, nil for nobody. It must not be modified.
func (a Authentication) AuthContext() *authcontext.AuthContext {
	if a.Identity == nil {
		return nil
	}
	return a.Identity.AuthContext()
}

// Format implements [fmt.Formatter]: that of the Identity, without the ResponseHeader, in
// which cookies are.
func (a Authentication) Format(f fmt.State, verb rune) {
	if a.Identity == nil {
		_, _ = f.Write([]byte("anonymous"))
		return
	}
	a.Identity.Format(f, verb)
}

// MarshalJSON implements [json.Marshaler], for loggers: the AuthContext as it marshals itself,
// and nothing of the ResponseHeader.
func (a Authentication) MarshalJSON() ([]byte, error) { return json.Marshal(a.AuthContext()) }

// authentication is Authenticate, whichever way it finds out who calls.
func (g *guard) authentication(ctx context.Context, header http.Header) (Authentication, error) {
	return g.AuthenticateInto(ctx, header, nil)
}

// AuthenticateInto is [Authenticator.Authenticate] for a door that has memory for the Session
// already: session, which nobody else has, is what the Authentication then points to, if it has one. Nil, and
// one that is a request's already, allocate one.
func (g *guard) AuthenticateInto(ctx context.Context, header http.Header, session *Session) (Authentication, error) {
	before := g.way.clock()
	r := g.newSupplied(header)
	id, refused := g.authenticate(ctx, r)
	found := Authentication{guard: g, hidden: r.supplied.Hidden()}
	if back := r.response.Load(); back != nil {
		found.ResponseHeader = back.Header()
	}
	switch {
	case refused != nil:
		return found, refused
	case id == nil:
		return found, nil
	}
	found.Identity = &id.Identity
	if session == nil || session.guard != nil {
		session = new(Session)
	}
	session.guard, session.request, session.id, session.before = g, r, id, before
	session.renewable.Begin(&id.Identity)
	found.Session = session
	return found, nil
}

// Session is what stands behind a request that was authenticated, for doors other than
// gRPC's, whose interceptors do the same. An answer that is given at once needs none of it but
// [Session.NewContext]. One that lasts, a stream, is watched: it ends with its session, as
// [Authenticator.StreamServerInterceptor] describes.
//
// All methods may be called on a nil Session, that of nobody, which never ends. They are
// safe for concurrent use.
type Session struct {
	renewable authcontext.Renewable
	guard     *guard
	id        *identity
	before    uint64 // by the clock of the way
	watch     atomic.Pointer[streams.Watch]

	mu      sync.Mutex
	request *request // nil: closed
}

// errWatched is for a door that watches a session twice.
var errWatched = errors.New("interceptor: the Session is being watched already, or is closed")

// NewContext returns a context by which handlers find the identity, always the newest, with
// authcontext.FromContext, authcontext.SessionFromContext and authcontext.OnRenewal.
func (s *Session) NewContext(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	return s.renewable.NewContext(ctx)
}

// Value returns what a context of [Session.NewContext] has under key and its parent does not, nil for
// nothing: for a door whose own context asks it first.
func (s *Session) Value(key any) any {
	if s == nil || key != identityKey {
		return nil
	}
	return &s.renewable
}

// identityKey is the key under which package authcontext keeps the identity in a context.
var identityKey = ctxkey.Of(func(ctx context.Context) { authcontext.FromContext(ctx) })

// Watch starts to watch the session, once. The context that it returns is that of
// [Session.NewContext], and is cancelled when the session has ended, with the status that
// the client is to get as its [context.Cause], and by Close. ctx, for which verifications
// are made, is that of the request or lives on until Close. An error, a status, says that
// the session could not be watched, and the request is refused. With
// [WithUnboundedStreams] nothing is watched, and ctx comes back with the identity.
func (s *Session) Watch(ctx context.Context) (context.Context, error) {
	if s == nil || s.guard.unbounded {
		return s.NewContext(ctx), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.request == nil || s.watch.Load() != nil {
		return nil, errWatched
	}
	s.request.done = false // what names sessions may go on to read it when it was abandoned
	session, refused := s.guard.way.watched(ctx, s.request)
	if refused != nil {
		return nil, refused
	}
	session.Identity = &s.renewable
	ctx, w := streams.Start(ctx, s.id.found(), session)
	s.watch.Store(w)
	if s.guard.way.clock() != s.before {
		w.Wake(0) // by a Forget that did not find this session yet
	}
	return ctx, nil
}

// ServeStream runs handler with a stream of messages that ends with the session, as
// [Authenticator.StreamServerInterceptor] describes: the handler's context is cancelled, its
// RecvMsg and SendMsg fail, and a RecvMsg that waits for a silent client is cut short. It
// returns why the session has ended, if it has, or else the handler's error. stream may be
// anything that has messages; of info only IsClientStream counts. It watches and closes the
// session itself.
func (s *Session) ServeStream(
	ctx context.Context, srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	ctx, err := s.Watch(ctx)
	if err != nil {
		return err
	}
	defer s.Close() //nolint:errcheck // Serve tells
	if s == nil || s.watch.Load() == nil {
		return serveUnbound(ctx, nil, srv, stream, handler)
	}
	return s.watch.Load().Serve(ctx, srv, stream, info, handler)
}

// Check returns why the session has ended, a status; nil if it has not, or is not watched.
// After Close it is an error in any case, if it was watched.
func (s *Session) Check() error {
	if s == nil {
		return nil
	}
	if w := s.watch.Load(); w != nil {
		return w.Check()
	}
	return nil
}

// Close ends what Watch began, when the answer has been given. It returns why the session
// has ended, which does not change any more; nil if it has not. It may be called more than
// once, and need not be if Watch was not.
func (s *Session) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watch.Load(); w != nil {
		return w.Close()
	}
	s.request.release()
	s.request = nil
	return nil
}

// Format implements [fmt.Formatter]: a fixed text, since there are credentials in here.
func (*Session) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Session")) }
