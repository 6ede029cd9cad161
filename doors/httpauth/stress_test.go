package httpauth_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// TestNobodyIsAnybodyElse: whatever goes on at once, a handler serves the one whose token it is, to
// the end of the response and beyond.
func TestNobodyIsAnybodyElse(t *testing.T) {
	requests := 100
	if testing.Short() {
		requests = 40
	}
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		var o authtest.Owner
		auth := newAuth(t, &o)
		tokens := map[string]string{}
		for i := range 8 {
			subject := fmt.Sprint("u", i)
			tokens[subject] = o.SignIn(authcontext.AuthContext{Subject: subject})
		}
		var outlive sync.WaitGroup
		server := serve(protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, subject := r.Context(), r.URL.Path[1:]
			check := func() {
				if ac, ok := authcontext.FromContext(ctx); !ok || ac.Subject != subject {
					t.Errorf("%s is %v", subject, ac)
				}
			}
			check()
			outlive.Go(func() {
				<-ctx.Done()
				check()
			})
			switch rand.IntN(8) {
			case 0:
				panic(http.ErrAbortHandler)
			case 1:
				w.(http.Flusher).Flush()
				check()
				if rand.IntN(2) == 0 {
					<-ctx.Done()
				}
			case 2:
				_, _ = w.Write(make([]byte, 100_000))
			case 3:
				if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
					outlive.Go(func() {
						check()
						_ = conn.Close()
					})
					return
				}
			case 4:
				_, _ = io.Copy(w, r.Body)
			}
			check()
			fmt.Fprint(w, subject)
		})))
		client := server.Client()
		client.Transport.(*http.Transport).DisableCompression = true
		var wg sync.WaitGroup
		for subject, token := range tokens {
			wg.Go(func() {
				for range requests {
					ctx, cancel := context.WithCancel(t.Context())
					var body io.Reader
					if rand.IntN(3) == 0 {
						body = struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 5000))}
					}
					r := newRequest(t, http.MethodPost, server.URL+"/"+subject, body, bearer(token)...)
					switch rand.IntN(4) {
					case 0:
						go cancel()
					case 1:
						go func() { _ = auth.ForgetSubject(ctx, subject) }()
					case 2:
						go func() { _ = auth.Forget(ctx, token) }()
					}
					response, err := client.Do(r.WithContext(ctx))
					if err == nil {
						_ = response.Body.Close() // whether or not it would end by itself
					}
					cancel()
				}
			})
		}
		wg.Wait()
		server.CloseClientConnections()
		server.Close()
		outlive.Wait()
	})
}

// TestAHandlerThatHasReturned cannot take the connection, which nobody would watch.
func TestAHandlerThatHasReturned(t *testing.T) {
	t.Run("its session would be watched", func(t *testing.T) { handlerThatHasReturned(t) })
	t.Run("its session is unbounded", func(t *testing.T) { handlerThatHasReturned(t, interceptor.WithUnboundedStreams()) })
}

func handlerThatHasReturned(t *testing.T, opts ...interceptor.Option) {
	var o authtest.Owner
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	var kept http.ResponseWriter
	inner := protect(t, newAuth(t, &o, opts...), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { kept = w }))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r)
		if conn, _, err := http.NewResponseController(kept).Hijack(); err == nil {
			_ = conn.Close()
			t.Error("it takes the connection")
		}
		if err := http.NewResponseController(kept).Flush(); err == nil {
			t.Error("it flushes")
		}
	}))
	defer server.Close()
	get(t, server, "/", bearer(token)...).mustBe(t, http.StatusOK, "")
}
