package interceptor

import (
	"context"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// SetWallClock replaces the wall clock of streams, until the returned func is called. The
// monotonic one stays what it is.
func SetWallClock(clock func() time.Time) (restore func()) {
	wallClock.Store(&clock)
	return func() { wallClock.Store(nil) }
}

// OpenStreams and StreamWatch are openStreams and watch.
type (
	OpenStreams = openStreams
	StreamWatch = watch
	Tag         = tag
)

// MaxRechecks and SpreadBeyond are the bounds that tests look at.
const (
	MaxRechecks  = maxRechecks
	SpreadBeyond = spreadBeyond
	ClockTick    = clockTick
	Patience     = defaultPatience
)

// Again is how a watch in a test verifies its session.
type Again = func(context.Context) (*authcontext.AuthContext, *refusal.Refusal)

// Watch starts to watch a session, as a stream does.
func Watch(
	ctx context.Context, ac *authcontext.AuthContext, recheck time.Duration, in *OpenStreams, again Again, tags ...Tag,
) (context.Context, *StreamWatch) {
	s := watched{recheck: recheck, streams: in, tags: tags}
	if again != nil {
		s.again = func(ctx context.Context) (*identity, *refusal.Refusal) {
			ac, refused := again(ctx)
			if refused != nil {
				return nil, refused
			}
			return identityOf(ac), nil
		}
	}
	return startWatch(ctx, identityOf(ac), s)
}

// Close and Check are close and check.
func (w *watch) Close() error { return w.close() }
func (w *watch) Check() error { return w.check() }

// Wake, WakeAll and Retag are wake, wakeAll and retag.
func (s *openStreams) Wake(t tag) { s.wake(t) }
func (s *openStreams) WakeAll()   { s.wakeAll() }
func (s *openStreams) Retag(w *watch, tags ...tag) bool {
	return s.retag(w, w.own, tags, s.forgotten())
}

// Held is what is held of streams: those that can be found, the tags they can be found by,
// and the verifications that are under way or wait.
func (s *openStreams) Held() (streams, tags, verifications int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := s.byTag[tag{}]; l != nil; l = l.next {
		streams++
	}
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return streams, len(s.byTag), s.turns.running + len(s.turns.waiting)
}

// Streams are those of a.
func (a *Authenticator) Streams() *OpenStreams { return &a.streams }

// identityOf is ac as a verification finds it, with the tags that tests call it by.
func identityOf(ac *authcontext.AuthContext) *identity {
	called := func(parts ...string) tag {
		key := cache.NewKey(parts...)
		return tag(key[:len(tag{})])
	}
	id := &identity{Identity: authcontext.NewIdentity(ac, nil), subject: called("subject", ac.Subject)}
	if ac.SessionID != "" {
		id.session = called("session", ac.SessionID)
	}
	return id
}
