package httpauth_test

import (
	"bufio"
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
