package authtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// Session is a session of an [Owner]. It is what Verify returns and Map takes.
type Session struct {
	auth *authcontext.AuthContext
}

// Owner is a fake owner of sessions. Its Verify and Map are the callbacks of
// interceptor.NewSessionAuth. The zero value is ready for use. It is safe for concurrent
// use, and keeps everything in memory until it is itself let go.
type Owner struct {
	mu       sync.Mutex
	sessions map[string]*Session // by token
	calls    map[string]int      // of Verify, by token
	total    int
	down     error
	stalled  chan struct{} // closed by ComeBack; nil unless stalled
}

// SignIn starts a session and returns its token, which is random. An empty Subject or
// Type is set as by [NewContext]; without an ExpiresAt the session has no end.
func (o *Owner) SignIn(ac authcontext.AuthContext) (token string) {
	token = rand.Text()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sessions == nil {
		o.sessions = map[string]*Session{}
	}
	o.sessions[token] = &Session{complete(ac)}
	return token
}

// SignOut ends a session. An Authenticator with a cache learns of it with its
// Forget, or at the latest when the TTL is over.
func (o *Owner) SignOut(token string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.sessions, token)
}

// SignOutSubject ends all sessions of a subject.
func (o *Owner) SignOutSubject(subject string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for token, session := range o.sessions {
		if session.auth.Subject == subject {
			delete(o.sessions, token)
		}
	}
}

// Update changes what the owner knows of a session: its roles, say, or, by an ExpiresAt in
// the past, that it has expired. change gets a copy of it, which no call that has an
// answer already shares, and must not call o. A token that the owner does not know is
// none to change.
func (o *Owner) Update(token string, change func(*authcontext.AuthContext)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if session := o.sessions[token]; session != nil {
		ac := session.auth.Clone()
		change(ac)
		o.sessions[token] = &Session{complete(*ac)}
	}
}

// GoDown has every verification fail with err until [Owner.ComeBack]. A nil err is
// interceptor.ErrUnavailable: an outage.
func (o *Owner) GoDown(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = cmp.Or(err, interceptor.ErrUnavailable)
}

// Stall has every verification from now on wait, until [Owner.ComeBack] or until its
// context ends.
func (o *Owner) Stall() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.stalled == nil {
		o.stalled = make(chan struct{})
	}
}

// ComeBack ends what GoDown and Stall began.
func (o *Owner) ComeBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = nil
	if o.stalled != nil {
		close(o.stalled)
		o.stalled = nil
	}
}

// Calls returns how often Verify was called: for token, or in all if it is empty.
func (o *Owner) Calls(token string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if token == "" {
		return o.total
	}
	return o.calls[token]
}

// Verify is an interceptor.VerifyFunc. It knows a token also as the value of a cookie,
// when the credential is a whole Cookie header.
func (o *Owner) Verify(ctx context.Context, token string, _ http.Header) (*Session, error) {
	token, stalled := o.called(token)
	if stalled != nil {
		select {
		case <-stalled:
		case <-ctx.Done():
			return nil, fmt.Errorf("authtest: the owner is stalled: %w", ctx.Err())
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.down != nil {
		return nil, fmt.Errorf("authtest: the owner is down: %w", o.down)
	}
	if session := o.sessions[token]; session != nil {
		return session, nil
	}
	return nil, fmt.Errorf("authtest: no such session: %w", interceptor.ErrInvalidSession)
}

// called counts a call and returns the token that credential holds.
func (o *Owner) called(credential string) (token string, stalled <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	token = credential
	if o.sessions[credential] == nil {
		cookies, _ := http.ParseCookie(credential)
		for _, cookie := range cookies {
			if o.sessions[cookie.Value] != nil {
				token = cookie.Value
				break
			}
		}
	}
	if o.calls == nil {
		o.calls = map[string]int{}
	}
	o.calls[token]++
	o.total++
	return token, o.stalled
}

// Map is an interceptor.MapFunc.
func (*Owner) Map(_ context.Context, session *Session) (*authcontext.AuthContext, error) {
	return session.auth, nil
}

// Format implements [fmt.Formatter]: a fixed text, without the tokens.
func (*Owner) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Owner")) }
