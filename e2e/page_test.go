package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/connectauth"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// direct is a server that ./page talks to, without a proxy.
type direct struct {
	owner authtest.Owner
	ended chan error // why its streams were released

	mu     sync.Mutex
	asked  map[string]int // requests by their paths
	served map[string]int // those of them that a handler got
}

func (d *direct) count(in *map[string]int, path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *in == nil {
		*in = map[string]int{}
	}
	(*in)[path]++
}

func subject(ctx context.Context) string {
	ac, err := authcontext.Require(ctx)
	if err != nil {
		return "nobody"
	}
	return ac.Subject
}

// tick sends until the context of a stream is over.
func (d *direct) tick(ctx context.Context, send func(who string) error) error {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err := send(subject(ctx)); err != nil {
			<-ctx.Done()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			d.ended <- context.Cause(ctx)
			return ctx.Err()
		}
	}
}

// service returns handlers of Connect.
func (d *direct) service(opts ...connect.HandlerOption) http.Handler {
	const unary, output = grpc_testing.TestService_UnaryCall_FullMethodName, grpc_testing.TestService_StreamingOutputCall_FullMethodName
	mux := http.NewServeMux()
	mux.Handle(unary, connect.NewUnaryHandler(unary, func(ctx context.Context, _ *connect.Request[grpc_testing.SimpleRequest]) (*connect.Response[grpc_testing.SimpleResponse], error) {
		return connect.NewResponse(&grpc_testing.SimpleResponse{Username: subject(ctx)}), nil
	}, append(opts, connect.WithIdempotency(connect.IdempotencyNoSideEffects))...))
	mux.Handle(output, connect.NewServerStreamHandler(output, func(
		ctx context.Context, _ *connect.Request[grpc_testing.StreamingOutputCallRequest], stream *connect.ServerStream[grpc_testing.StreamingOutputCallResponse],
	) error {
		return d.tick(ctx, func(who string) error {
			return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: []byte(who)}})
		})
	}, opts...))
	return mux
}

// events sends events.
func (d *direct) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	stream := http.NewResponseController(w)
	_ = d.tick(r.Context(), func(who string) error {
		if _, err := fmt.Fprintf(w, "retry: 100\ndata: %s\n\n", who); err != nil {
			return err
		}
		return stream.Flush()
	})
}

// handler returns the server, which is called from its own page at origin alone.
func (d *direct) handler(t *testing.T, origin string) http.Handler {
	t.Helper()
	auth := newAuth(t, d.owner.Verify, d.owner.Map, interceptor.WithExtractors(authmd.Cookie("sid")),
		interceptor.WithCache(cache.Policy{TTL: time.Hour}), interceptor.WithAllowedOrigins(origin))
	sessions, err := connectauth.NewInterceptor(auth)
	if err != nil {
		t.Fatal(err)
	}
	protect, err := httpauth.Middleware(auth, httpauth.WithSkipPatterns("GET /{$}", "GET /modules/", "POST /sign-in", "/grpc.testing.TestService/"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "page/index.html") })
	mux.Handle("GET /modules/", http.StripPrefix("/modules/", http.FileServer(http.Dir("connect/node_modules"))))
	mux.HandleFunc("POST /sign-in", func(w http.ResponseWriter, _ *http.Request) {
		token := d.owner.SignIn(authcontext.AuthContext{Subject: "ada"})
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: token, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteNoneMode}) // sent for all pages
	})
	mux.HandleFunc("POST /sign-out", func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("sid")
		if err != nil {
			t.Error(err)
			return
		}
		d.owner.SignOut(cookie.Value)
		if err := auth.Forget(r.Context(), cookie.Value); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, subject(r.Context())) })
	mux.HandleFunc("GET /events", d.events)
	mux.Handle("/plain/", http.StripPrefix("/plain", d.service()))
	mux.Handle("/grpc.testing.TestService/", d.service(connect.WithInterceptors(sessions)))
	protected := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.count(&d.served, r.URL.Path)
		mux.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.count(&d.asked, r.URL.Path)
		protected.ServeHTTP(w, r)
	})
}

// TestBrowserStraightToTheServer uses ./page in Chromium: connect-es and EventSource, without a
// proxy, with a session in a cookie. The pictures go to ./out.
func TestBrowserStraightToTheServer(t *testing.T) {
	t.Parallel()
	chromium := program(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	node(t)
	if err := installConnect(); err != nil {
		t.Fatal(err)
	}
	out, err := filepath.Abs("out")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		t.Fatal(err)
	}
	for name, encrypted := range map[string]bool{"http1": false, "http2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &direct{ended: make(chan error, 16)}
			listen := func(handler func(origin string) http.Handler) string {
				server := httptest.NewUnstartedServer(nil)
				origin := "http://" + server.Listener.Addr().String()
				if encrypted {
					origin = "https://" + server.Listener.Addr().String()
				}
				server.Config.Handler = handler(origin)
				if server.EnableHTTP2 = encrypted; encrypted {
					server.StartTLS()
				} else {
					server.Start()
				}
				t.Cleanup(server.Close)
				return origin
			}
			page := listen(func(origin string) http.Handler { return d.handler(t, origin) })
			foreign := listen(func(string) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!doctype html><title>foreign</title>") })
			})
			drive := script(t, "page.mjs", page, foreign, chromium, filepath.Join(out, "page-"+name))
			drive.WaitDelay = stopTimeout
			timer := time.AfterFunc(5*time.Minute, func() { _ = drive.Process.Kill() })
			defer timer.Stop()
			steps, err := drive.CombinedOutput()
			t.Logf("in the browser:\n%s", steps)
			if err != nil {
				t.Fatal(err)
			}
			for _, what := range []string{"open", "ended"} {
				if info, err := os.Stat(filepath.Join(out, "page-"+name+"-"+what+".png")); err != nil || info.Size() < 10<<10 {
					t.Errorf("the picture %s: %v", what, err)
				}
			}
			for range 3 {
				if cause := receive(t, d.ended); reason.Of(cause) != reason.InvalidSession {
					t.Errorf("a stream has ended with %v", cause)
				}
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			const output = grpc_testing.TestService_StreamingOutputCall_FullMethodName
			asked := map[string]int{"/events": d.asked["/events"], output: d.asked[output], "/plain" + output: d.asked["/plain"+output]}
			// Nobody's, Ada's two, and of events the one that browsers try again, and those of the pages of others.
			if want := map[string]int{"/events": 6, output: 3, "/plain" + output: 3}; !maps.Equal(asked, want) {
				t.Errorf("asked for %v, want %v", asked, want)
			}
			if d.served["/events"] != 2 || d.served["/plain"+output] != 2 || d.served["/me"] != 1 {
				t.Errorf("served %v", d.served)
			}
		})
	}
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(startTimeout):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
