package httpauth_test

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
)

// hijackable is a recorder with a connection of its own.
type hijackable struct{ *httptest.ResponseRecorder }

func (hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, _ := net.Pipe()
	return conn, nil, nil
}

// TestWhatIsOverIsWatchedNoMore: nobody asks about its session again.
func TestWhatIsOverIsWatchedNoMore(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"it has returned": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"it has panicked": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); panic(http.ErrAbortHandler) },
		"it has closed what it hijacked": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o authtest.Owner
				auth := newAuth(t, &o)
				token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
				door := protect(t, auth, handler)
				func() {
					defer func() { _ = recover() }()
					door.ServeHTTP(hijackable{httptest.NewRecorder()}, newRequest(t, http.MethodGet, "/", nil, bearer(token)...))
				}()
				before := o.Calls("")
				_ = auth.ForgetAll(t.Context())
				time.Sleep(time.Minute)
				if n := o.Calls("") - before; n != 0 {
					t.Errorf("%d verifications", n)
				}
			})
		})
	}
}

// TestTheContextOfAHandlerIsOverWithIt, whether or not somebody has asked for its end before.
func TestTheContextOfAHandlerIsOverWithIt(t *testing.T) {
	for _, asked := range []bool{false, true} {
		var o authtest.Owner
		token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
		var kept context.Context
		protect(t, newAuth(t, &o), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if kept = r.Context(); asked && kept.Done() == nil {
				t.Error("it has no end")
			}
		})).ServeHTTP(httptest.NewRecorder(), newRequest(t, http.MethodGet, "/", nil, bearer(token)...))
		select {
		case <-kept.Done():
		case <-time.After(patience):
			t.Errorf("asked before %t: it goes on", asked)
		}
	}
}

// TestAFullDuplexLasts: its handler may read for as long as the client likes.
func TestAFullDuplexLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o authtest.Owner
		auth := newAuth(t, &o)
		token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
		w := httptest.NewRecorder()
		protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			o.SignOut(token)
			_ = auth.Forget(context.WithoutCancel(r.Context()), token)
			select {
			case <-r.Context().Done():
			case <-time.After(time.Minute):
				t.Error("it goes on")
			}
		})).ServeHTTP(w, newRequest(t, http.MethodPost, "/", nil, bearer(token)...))
		if w.Code != http.StatusUnauthorized {
			t.Errorf("status %d", w.Code)
		}
	})
}
