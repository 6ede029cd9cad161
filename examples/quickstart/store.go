package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// maxSessions bounds the store: sign-in is work that anybody can ask for.
const maxSessions = 10_000

// session is what the store knows of somebody who is signed in.
type session struct {
	user    string
	expires time.Time
}

// store is the owner of the sessions: what better-auth, Lucia or a database is in
// production. It keeps the hashes of tokens, so that its memory signs nobody in; a
// lookup by hash takes no time that depends on a guess.
type store struct {
	mu       sync.Mutex
	sessions map[[sha256.Size]byte]session
	asked    atomic.Int64 // how often a session was verified
}

func newStore() *store { return &store{sessions: map[[sha256.Size]byte]session{}} }

// signIn returns the token of a new session.
func (s *store) signIn(user string, lasts time.Duration) (string, error) {
	token := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash, old := range s.sessions {
		if time.Now().After(old.expires) {
			delete(s.sessions, hash)
		}
	}
	if len(s.sessions) >= maxSessions {
		return "", errors.New("too many sessions")
	}
	s.sessions[sha256.Sum256([]byte(token))] = session{user, time.Now().Add(lasts)}
	return token, nil
}

// signOut ends a session.
func (s *store) signOut(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sha256.Sum256([]byte(token)))
}

// verify is the first callback: is there such a session?
func (s *store) verify(_ context.Context, token string, _ http.Header) (*session, error) {
	s.asked.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.sessions[sha256.Sum256([]byte(token))]
	if !ok {
		return nil, fmt.Errorf("store: %w", interceptor.ErrInvalidSession)
	}
	return &found, nil
}

// identify is the second callback: who is it?
func identify(_ context.Context, s *session) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s.user, Roles: []string{"user"}, ExpiresAt: s.expires}, nil
}
