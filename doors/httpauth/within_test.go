package httpauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
)

// TestWhatHandlersDoWithTheirRequest works as without the door, whoever else is served at once, and what
// they leave behind goes on to be of their caller.
func TestWhatHandlersDoWithTheirRequest(t *testing.T) {
	who := func(ctx context.Context) string {
		if ac, ok := authcontext.FromContext(ctx); ok {
			return ac.Subject
		}
		return "nobody"
	}
	type mark struct{}
	var late sync.WaitGroup
	mux := http.NewServeMux()
	mux.HandleFunc("GET /notes/{id}", func(w http.ResponseWriter, r *http.Request) {
		r.SetPathValue("more", "x")
		fmt.Fprint(w, who(r.Context()), r.PathValue("id"), r.PathValue("more"), r.Pattern)
	})
	mux.HandleFunc("/clone", func(w http.ResponseWriter, r *http.Request) {
		r2 := r.WithContext(context.WithValue(r.Context(), mark{}, "m")).Clone(r.Context())
		r2.Header.Set("X-Mine", "y")
		fmt.Fprint(w, who(r2.Context()), r2.Context().Value(mark{}), r.Header.Get("X-Mine"), r2.Host == r.Host)
	})
	mux.HandleFunc("/limited", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 3)
		_, err := io.ReadAll(r.Body)
		var large *http.MaxBytesError
		fmt.Fprint(w, who(r.Context()), errors.As(err, &large))
	})
	mux.HandleFunc("/form", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, who(r.Context()), r.FormValue("a"), r.PostForm)
	})
	timeout := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := who(r.Context())
		defer late.Done()
		<-r.Context().Done()
		_, _ = io.WriteString(w, "too late")
		if after := who(r.Context()); after != before || r.URL.Path != "/late" {
			t.Errorf("%s is %s, %s", before, after, r.URL)
		}
	}), time.Millisecond, "timeout")
	mux.HandleFunc("/late", func(w http.ResponseWriter, r *http.Request) {
		late.Add(1)
		timeout.ServeHTTP(w, r)
	})
	mux.HandleFunc("/left", func(w http.ResponseWriter, r *http.Request) {
		before := who(r.Context())
		late.Go(func() {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			<-ctx.Done() // with the handler's return
			if after := who(ctx); after != before || !errors.Is(context.Cause(ctx), context.Canceled) || r.PathValue("x") != "" {
				t.Errorf("%s is %s: %v", before, after, context.Cause(ctx))
			}
		})
		fmt.Fprint(w, before)
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, who(r.Context()))
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "1")
	})
	want := map[string]string{
		"/notes/7": "%s7xGET /notes/{id}", "/clone": "%s<nil>true", "/limited": "%strue", "/form": "%s1map[a:[1]]", "/left": "%s",
		"/late": "timeout", "/trailer": "%s",
	}
	overEach(t, func(t *testing.T, serve func(http.Handler) *httptest.Server) {
		var o authtest.Owner
		server := serve(protect(t, newAuth(t, &o), mux))
		var all sync.WaitGroup
		for i := range 8 {
			subject := fmt.Sprint("u", i)
			header := append(bearer(o.SignIn(authcontext.AuthContext{Subject: subject})), "Content-Type", "application/x-www-form-urlencoded")
			all.Go(func() {
				for range 5 {
					for path, want := range want {
						method := http.MethodPost
						if strings.HasPrefix(path, "/notes") {
							method = http.MethodGet
						}
						if strings.Contains(want, "%s") {
							want = fmt.Sprintf(want, subject)
						}
						response, err := server.Client().Do(newRequest(t, method, server.URL+path, strings.NewReader("a=1&"), header...))
						if err != nil {
							t.Error(err)
							continue
						}
						body, err := io.ReadAll(response.Body)
						_ = response.Body.Close()
						if err != nil || string(body) != want || path == "/trailer" && response.Trailer.Get("X-Sum") != "1" {
							t.Errorf("%s: %q, want %q: %v, %v", path, body, want, err, response.Trailer)
						}
					}
				}
			})
		}
		all.Wait()
		server.Close()
		late.Wait()
	})
}
