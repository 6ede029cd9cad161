package httpauth_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// ended is what a handler found when its session had ended.
type ended struct{ cause, err error }

// TestAResponseThatLastsEndsWithItsSession, however it comes to last, and whatever ends the session.
func TestAResponseThatLastsEndsWithItsSession(t *testing.T) {
	begin := map[string]func(http.ResponseWriter, *http.Request){
		"it flushes": func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"its controller flushes": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		},
		"it writes more than is kept back": func(w http.ResponseWriter, _ *http.Request) {
			for range 5 {
				if _, err := io.WriteString(w, strings.Repeat("x", 1000)); err != nil {
					panic(err)
				}
			}
		},
		"its body has no length": func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadFull(r.Body, make([]byte, 5)); err != nil {
				panic(err)
			}
			if r.Method == http.MethodPut {
				fmt.Fprint(w, "begun")
			}
		},
	}
	wait := map[string]func(http.ResponseWriter, *http.Request) error{
		"it waits for its context": func(w http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			_, err := io.WriteString(w, "too late")
			return err
		},
		"it waits for a context made of its own": func(_ http.ResponseWriter, r *http.Request) error {
			ctx, cancel := context.WithTimeout(r.Context(), time.Hour)
			defer cancel()
			<-ctx.Done()
			return ctx.Err()
		},
		"it chooses a status all the same": func(w http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			w.WriteHeader(http.StatusAccepted)
			return r.Context().Err()
		},
		"it puts its deadlines off": func(w http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			controller := http.NewResponseController(w)
			return errors.Join(controller.SetReadDeadline(time.Now().Add(time.Hour)), controller.SetWriteDeadline(time.Now().Add(time.Hour)))
		},
		"it writes to a client that does not read": func(w http.ResponseWriter, _ *http.Request) error {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return err
				}
			}
		},
		"it reads from a client that does not write": func(_ http.ResponseWriter, r *http.Request) error {
			_, err := r.Body.Read(make([]byte, 1))
			return err
		},
	}
	ends := map[string]struct {
		end    func(o *authtest.Owner, auth *interceptor.Authenticator, token string)
		reason reason.Reason
		code   codes.Code
	}{
		"signed out and forgotten": {func(o *authtest.Owner, auth *interceptor.Authenticator, token string) {
			o.SignOut(token)
			_ = auth.Forget(context.Background(), token)
		}, reason.InvalidSession, codes.Unauthenticated},
		"not allowed any more": {func(o *authtest.Owner, auth *interceptor.Authenticator, token string) {
			o.Update(token, func(ac *authcontext.AuthContext) { ac.Roles = nil })
			_ = auth.ForgetSubject(context.Background(), "ada")
		}, reason.AccessDenied, codes.PermissionDenied},
	}
	rules, err := authz.New(authz.WithRules(authz.Rule{Name: "r", Methods: []string{"*"}, Roles: []string{"reader"}, Effect: authz.Allow}))
	if err != nil {
		t.Fatal(err)
	}
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		for beginName, begins := range begin {
			for waitName, waits := range wait {
				for endName, end := range ends {
					hasBody := beginName == "its body has no length"
					if !hasBody && strings.HasPrefix(waitName, "it reads") {
						continue
					}
					t.Run(beginName+", "+waitName+", "+endName, func(t *testing.T) {
						t.Parallel()
						var o authtest.Owner
						auth := newAuth(t, &o)
						token := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"reader"}})
						began, found := make(chan struct{}), make(chan ended, 1)
						server := serve(protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
							begins(w, r)
							close(began)
							err := waits(w, r)
							<-r.Context().Done()
							found <- ended{context.Cause(r.Context()), err}
						}), httpauth.WithAuthorizer(rules), httpauth.WithMethods(map[string]string{"/": "a.B/C"})))
						go func() {
							receive(t, began)
							end.end(&o, auth, token)
						}()
						var body io.Reader
						reader, writer := io.Pipe()
						if hasBody {
							go func() { _, _ = io.WriteString(writer, "begin") }()
							body = reader
						}
						type outcome struct {
							response *http.Response
							err      error
						}
						answered := make(chan outcome, 1)
						go func() {
							response, err := server.Client().Do(newRequest(t, http.MethodPost, server.URL, body, bearer(token)...)) //nolint:bodyclose // below
							answered <- outcome{response, err}
						}()
						got := receive(t, found)
						_ = writer.Close() // for which the client waits
						came := receive(t, answered)
						response, err := came.response, came.err
						if status.Code(got.cause) != end.code || reason.Of(got.cause) != end.reason {
							t.Errorf("the cause is %v", got.cause)
						}
						if got.err == nil {
							t.Error("the handler's wait ended without an error")
						}
						begun := !hasBody || strings.HasPrefix(waitName, "it writes")
						switch {
						case err != nil && begun:
							return // aborted before the client has got the header
						case err != nil:
							t.Fatal(err)
						case begun && (!hasBody || response.StatusCode == http.StatusOK): // and has not ended before the first write
							if _, err := io.Copy(io.Discard, response.Body); err == nil {
								t.Error("the client takes it for all")
							}
							_ = response.Body.Close()
							return
						}
						text, err := io.ReadAll(response.Body)
						_ = response.Body.Close()
						if err != nil {
							t.Fatal(err)
						}
						want := http.StatusUnauthorized
						if end.code == codes.PermissionDenied {
							want = http.StatusForbidden
						}
						answer{response, string(text)}.mustBe(t, want, string(end.reason))
					})
				}
			}
		}
	})
}

// TestAResponseEndsWhenItsSessionExpires, and carries the newest identity until then.
func TestAResponseEndsWhenItsSessionExpires(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		var o authtest.Owner
		auth := newAuth(t, &o)
		token := o.SignIn(authcontext.AuthContext{Subject: "ada", Name: "Ada", ExpiresAt: time.Now().Add(time.Hour)})
		found := make(chan ended, 1)
		server := serve(protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			renewed := make(chan string, 8)
			stop, ok := authcontext.OnRenewal(r.Context(), func(ac *authcontext.AuthContext) error {
				renewed <- ac.Name
				return nil
			})
			defer stop()
			if !ok {
				t.Error("the context is not that of a stream")
			}
			w.(http.Flusher).Flush()
			o.Update(token, func(ac *authcontext.AuthContext) {
				ac.Name, ac.ExpiresAt = "Countess", time.Now().Add(time.Second)
			})
			_ = auth.Forget(context.Background(), token)
			if ac, _ := authcontext.FromContext(r.Context()); receive(t, renewed) != "Countess" || ac == nil {
				t.Error("it was not renewed")
			}
			if ac, _ := authcontext.FromContext(r.Context()); ac.Name != "Countess" {
				t.Errorf("the context carries %v", ac)
			}
			<-r.Context().Done()
			found <- ended{cause: context.Cause(r.Context())}
		})))
		response, err := server.Client().Do(newRequest(t, http.MethodGet, server.URL, nil, bearer(token)...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Error("the client takes it for all")
		}
		_ = response.Body.Close()
		if got := receive(t, found); reason.Of(got.cause) != reason.SessionExpired {
			t.Errorf("the cause is %v", got.cause)
		}
	})
}

// TestAForgetBeforeAResponseIsWatched is not missed by a response that lasts from then on.
func TestAForgetBeforeAResponseIsWatched(t *testing.T) {
	var o authtest.Owner
	auth := newAuth(t, &o)
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	found := make(chan error, 1)
	server := httptest.NewServer(protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization") // the handler's to change
		o.SignOut(token)
		_ = auth.Forget(context.Background(), token)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		found <- context.Cause(r.Context())
	})))
	defer server.Close()
	response, err := server.Client().Do(newRequest(t, http.MethodGet, server.URL, nil, bearer(token)...))
	if err == nil {
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if got := receive(t, found); reason.Of(got) != reason.InvalidSession {
		t.Errorf("the cause is %v", got)
	}
}

// TestWhatDoesNotEnd: what is unbounded, and answers that are given at once.
func TestWhatDoesNotEnd(t *testing.T) {
	for name, test := range map[string]struct {
		begins func(http.ResponseWriter)
		opts   []interceptor.Option
	}{
		"an unbounded stream":        {func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, []interceptor.Option{interceptor.WithUnboundedStreams()}},
		"an answer given at once":    {func(w http.ResponseWriter) { fmt.Fprint(w, "x") }, nil},
		"one whose header is chosen": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var o authtest.Owner
			auth := newAuth(t, &o, test.opts...)
			token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
			server := httptest.NewServer(protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				test.begins(w)
				o.SignOut(token)
				_ = auth.Forget(context.Background(), token)
				_, err := auth.Authenticate(context.Background(), r.Header)
				fmt.Fprint(w, r.Context().Err(), status.Code(err))
			})))
			defer server.Close()
			if a := get(t, server, "/", bearer(token)...); !strings.HasSuffix(a.body, "<nil> Unauthenticated") {
				t.Errorf("%d %q", a.StatusCode, a.body)
			}
		})
	}
}

// TestAResponseIsAborted by a server without deadlines, too, and by one that has sent all that there was.
func TestAResponseIsAborted(t *testing.T) {
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		var o authtest.Owner
		auth := newAuth(t, &o)
		token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
		inner := protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 8<<10))
			o.SignOut(token)
			_ = auth.Forget(context.Background(), token)
			<-r.Context().Done()
		}))
		server := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(plain{w}, r) }))
		response, err := server.Client().Do(newRequest(t, http.MethodGet, server.URL, nil, bearer(token)...))
		if err != nil {
			return
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err == nil {
			t.Error("the client takes it for all")
		}
	})
}

// upgrade is a handler that takes the connection over, as for a WebSocket, and says what it hears.
func upgrade(t *testing.T, after func(conn io.ReadWriteCloser, r *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = buffered.Flush()
		after(conn, r)
	})
}

// TestAHijackedConnectionIsClosed when its session has ended, whether or not the handler has returned,
// and is left alone otherwise.
func TestAHijackedConnectionIsClosed(t *testing.T) {
	echo := func(conn io.ReadWriteCloser) {
		lines := bufio.NewReader(conn)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, line)
		}
	}
	for _, stays := range []bool{true, false} {
		t.Run(fmt.Sprintf("the handler stays: %t", stays), func(t *testing.T) {
			var o authtest.Owner
			auth := newAuth(t, &o)
			token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
			done := make(chan struct{}, 2)
			server := httptest.NewServer(protect(t, auth, upgrade(t, func(conn io.ReadWriteCloser, _ *http.Request) {
				serve := func() {
					echo(conn)
					_ = conn.Close()
					_ = conn.Close() // as often as one likes
					done <- struct{}{}
				}
				if stays {
					serve()
				} else {
					go serve()
				}
			})))
			defer server.Close()
			dial := func() io.ReadWriteCloser {
				response, err := server.Client().Do(newRequest(t, http.MethodGet, server.URL, nil, //nolint:bodyclose // it is the connection
					append(bearer(token), "Connection", "Upgrade", "Upgrade", "echo")...))
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != http.StatusSwitchingProtocols {
					t.Fatal(response.Status)
				}
				return response.Body.(io.ReadWriteCloser)
			}
			say := func(conn io.ReadWriteCloser) error {
				_, _ = io.WriteString(conn, "hello\n")
				got := make([]byte, 6)
				_, err := io.ReadFull(conn, got)
				return err
			}
			conn := dial()
			if err := say(conn); err != nil {
				t.Fatal(err)
			}
			_ = auth.Forget(t.Context(), token) // still good
			if err := say(conn); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			receive(t, done)

			conn = dial()
			defer conn.Close()
			if err := say(conn); err != nil {
				t.Fatal(err)
			}
			o.SignOut(token)
			_ = auth.Forget(t.Context(), token)
			read := make(chan error, 1)
			go func() {
				_, err := conn.Read(make([]byte, 1))
				read <- err
			}()
			if err := receive(t, read); err == nil {
				t.Error("it goes on")
			}
			receive(t, done)
		})
	}
}

func TestAPanicPassesThrough(t *testing.T) {
	var o authtest.Owner
	auth := newAuth(t, &o)
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	own := errors.New("own")
	for _, flush := range []bool{false, true} {
		handler := protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if flush {
				w.(http.Flusher).Flush()
			}
			panic(own)
		}))
		func() {
			defer func() {
				if got := recover(); got != any(own) {
					t.Errorf("it panics with %v", got)
				}
			}()
			handler.ServeHTTP(httptest.NewRecorder(), newRequest(t, http.MethodGet, "/", nil, bearer(token)...))
		}()
	}
}

// plain is a writer that can do nothing more than it must.
type plain struct{ http.ResponseWriter }

// wrapping is one of a middleware's.
type wrapping struct{ http.ResponseWriter }

func (w wrapping) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestAWriterCanDoWhatTheOneBehindItCan(t *testing.T) {
	var o authtest.Owner
	auth := newAuth(t, &o)
	token := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	wrap := map[string]struct {
		wrap  func(http.ResponseWriter) http.ResponseWriter
		flush bool
	}{
		"the server's":    {func(w http.ResponseWriter) http.ResponseWriter { return w }, true},
		"one that wraps":  {func(w http.ResponseWriter) http.ResponseWriter { return wrapping{w} }, true},
		"one that cannot": {func(w http.ResponseWriter) http.ResponseWriter { return plain{w} }, false},
	}
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		for name, test := range wrap {
			t.Run(name, func(t *testing.T) {
				inner := protect(t, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					controller := http.NewResponseController(w)
					_, flusher := w.(http.Flusher)
					want := map[bool]error{true: nil, false: http.ErrNotSupported}[test.flush]
					for what, err := range map[string]error{
						"SetReadDeadline": controller.SetReadDeadline(time.Now().Add(time.Hour)), "SetWriteDeadline": controller.SetWriteDeadline(time.Time{}),
						"Flush": controller.Flush(), "EnableFullDuplex": controller.EnableFullDuplex(),
					} {
						if !errors.Is(err, want) {
							t.Errorf("%s: %v", what, err)
						}
					}
					_, _, err := controller.Hijack()
					if canHijack := test.flush && r.ProtoMajor == 1; flusher != test.flush || !canHijack && !errors.Is(err, http.ErrNotSupported) {
						t.Errorf("a Flusher: %t; Hijack: %v", flusher, err)
					}
				}))
				server := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					inner.ServeHTTP(test.wrap(w), r)
				}))
				response, err := server.Client().Do(newRequest(t, http.MethodGet, server.URL, nil, bearer(token)...))
				if err == nil {
					_ = response.Body.Close()
				}
			})
		}
	})
}
