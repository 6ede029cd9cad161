package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

type tempSession struct {
	Session struct{ ExpiresAt time.Time }
	User    struct{ ID, Name, Email, Role string }
}

// verifier is temporary.
func verifier(owner *owner, asked *atomic.Uint32) (interceptor.VerifyFunc[*tempSession], interceptor.MapFunc[*tempSession], error) {
	return func(ctx context.Context, _ string, header http.Header) (*tempSession, error) {
			asked.Add(1)
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, owner.url.String()+"/api/auth/get-session", nil)
			r.Header["Cookie"] = header["Cookie"]
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				return nil, err
			}
			defer res.Body.Close()
			if res.StatusCode != 200 {
				return nil, fmt.Errorf("%w: %d", interceptor.ErrUnavailable, res.StatusCode)
			}
			var s *tempSession
			return s, json.NewDecoder(res.Body).Decode(&s)
		}, func(_ context.Context, s *tempSession) (*authcontext.AuthContext, error) {
			return &authcontext.AuthContext{
				Subject: s.User.ID, Name: s.User.Name, Roles: []string{s.User.Role}, ExpiresAt: s.Session.ExpiresAt,
				Claims: map[string]any{"email": s.User.Email},
			}, nil
		}, nil
}
