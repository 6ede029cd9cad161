package interceptor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// unruly finds what is after "u:" in X-Unruly, and keeps all that it was given and all that it
// returned. Some of its calls panic, some end their goroutine.
type unruly struct {
	mu   sync.Mutex
	kept [][]authmd.Credential
}

func (*unruly) Header() string { return "X-Unruly" }

func (u *unruly) Extract(header http.Header) (string, bool) {
	for _, c := range u.AppendCredentials(nil, header["X-Unruly"]) {
		return c.Token, true
	}
	return "", false
}

func (u *unruly) AppendCredentials(dst []authmd.Credential, values []string) []authmd.Credential {
	for _, value := range values {
		switch rand.IntN(50) {
		case 0:
			panic(value)
		case 1:
			runtime.Goexit()
		}
		if token, ok := strings.CutPrefix(value, "u:"); ok {
			dst = append(dst, authmd.Credential{Value: value, Token: token})
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.kept = append(u.kept, dst); len(u.kept) > 100 {
		u.kept = u.kept[1:]
	}
	return dst
}

// TestNobodyIsAnybodyElse: whatever goes on at once, who is let in is the one whose token it is,
// with the session and the subject that were found for that token.
func TestNobodyIsAnybodyElse(t *testing.T) {
	calls := 6000
	if testing.Short() {
		calls = 600
	}
	verify := func(ctx context.Context, token string, header http.Header) (*benchSession, error) {
		if sent := header.Get("Authorization") + header.Get("X-Unruly") + header.Get("Cookie"); token == "" || !strings.Contains(sent, token) {
			t.Errorf("token %q came with %q", token, sent)
		}
		switch rand.IntN(20) {
		case 0:
			return nil, interceptor.ErrInvalidSession
		case 1:
			return nil, interceptor.ErrUnavailable
		case 2:
			panic(token)
		case 3:
			runtime.Gosched()
		case 4:
			<-ctx.Done() // abandoned, or nearly
		}
		return &benchSession{token}, nil
	}
	mapSession := func(_ context.Context, s *benchSession) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: "of " + s.userID, SessionID: s.userID}, nil
	}
	a, err := interceptor.NewSessionAuth(verify, mapSession,
		interceptor.WithExtractors(authmd.Bearer(), new(unruly), authmd.Cookie("sid")),
		interceptor.WithCache(cache.Policy{
			TTL: 30 * time.Millisecond, RefreshAfter: time.Millisecond, StaleIfError: 10 * time.Millisecond, NegativeTTL: time.Millisecond,
			VerifyTimeout: 5 * time.Millisecond, Patience: time.Millisecond, MaxEntries: 64,
		}))
	if err != nil {
		t.Fatal(err)
	}
	unary, stream := a.UnaryServerInterceptor(), a.StreamServerInterceptor()
	let := sync.Map{}
	check := func(ctx context.Context, token string) {
		ac, ok := authcontext.FromContext(ctx)
		session, _ := authcontext.SessionFromContext[*benchSession](ctx)
		if !ok || ac.Subject != "of "+token || session == nil || session.userID != token {
			t.Errorf("%s is %v with %v", token, ac, session)
		}
		let.Store(token, true)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range calls {
				token := fmt.Sprint("t", rand.IntN(100))
				md := grpcmd.MD{"x-of": {token}}
				switch rand.IntN(4) {
				case 0:
					md.Set("x-unruly", "u:"+token)
				case 1:
					md.Set("cookie", "a=b; sid="+token)
				case 2:
					md.Set("Authorization", "bearer "+token)
				default:
					md.Set("authorization", "Bearer "+token)
				}
				ctx, cancel := context.WithCancel(grpcmd.NewIncomingContext(context.Background(), md))
				if rand.IntN(10) == 0 {
					go cancel()
				}
				switch rand.IntN(12) {
				case 0:
					_ = a.Forget(ctx, token)
				case 1:
					_ = a.ForgetSubject(ctx, "of "+token)
				case 2:
					_ = stream(nil, silentStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: "/s/M"}, func(_ any, s grpc.ServerStream) error {
						check(s.Context(), token)
						if rand.IntN(3) > 0 {
							return nil
						}
						renewed := make(chan struct{}) // its session is found anew, or the stream ends
						_, _ = authcontext.OnRenewal(s.Context(), func(*authcontext.AuthContext) error {
							close(renewed)
							return status.Error(codes.Aborted, "seen")
						})
						_ = a.Forget(ctx, token)
						select {
						case <-renewed:
							check(s.Context(), token)
							let.Store("again", true)
						case <-s.Context().Done():
						}
						return nil
					})
				case 3:
					if found, err := a.AuthFunc(ctx); err == nil {
						check(found, token)
					}
				default:
					_, err := unary(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/s/M"}, func(ctx context.Context, _ any) (any, error) {
						runtime.Gosched() // another call may have the request by now
						check(ctx, token)
						return nil, nil
					})
					if errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
				}
				cancel()
			}
		})
	}
	wg.Wait()
	n := 0
	let.Range(func(any, any) bool { n++; return true })
	if s := a.Stats(); n != 101 || s.Hits == 0 || s.Entries > 64 {
		t.Errorf("%d of 100 were let in, or no stream was again: %+v", n-1, s)
	}
}

// silentStream is a stream on which nothing comes.
type silentStream struct {
	grpc.ServerStream

	ctx context.Context
}

func (s silentStream) Context() context.Context { return s.ctx }
