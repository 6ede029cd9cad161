package httpauth_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// newExampleAuth returns the Authenticator of the examples, which knows two sessions.
func newExampleAuth(opts ...interceptor.Option) *interceptor.Authenticator {
	sessions := map[string][]string{"token-of-ada": {"ada", "admin"}, "token-of-bob": {"bob"}}
	opts = append(opts, interceptor.WithCache(cache.Policy{TTL: time.Minute}), interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid")))
	auth, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) ([]string, error) {
		return sessions[token], nil
	}, func(_ context.Context, s []string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s[0], Roles: s[1:]}, nil
	}, opts...)
	if err != nil {
		log.Fatal(err)
	}
	return auth
}

// ask prints what a server answers to a cookie.
func ask(server *httptest.Server, path, sid string) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		log.Fatal(err)
	}
	if sid != "" {
		r.AddCookie(&http.Cookie{Name: "sid", Value: sid})
	}
	response, err := server.Client().Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(response.StatusCode, string(body))
}

func Example() {
	auth := newExampleAuth()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		ac, ok := authcontext.FromContext(r.Context())
		fmt.Fprintf(w, "%s %t", ac.Subject, ok)
	})
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})

	protect, err := httpauth.Middleware(auth, httpauth.WithSkipPatterns("GET /healthz"))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(protect(mux))
	defer server.Close()

	ask(server, "/me", "token-of-ada")
	ask(server, "/me", "")
	ask(server, "/healthz", "")
	// Output:
	// 200 ada true
	// 401 {"type":"about:blank","title":"Unauthorized","status":401,"detail":"missing credentials","reason":"MISSING_CREDENTIALS"}
	// 200
}

// The rules of a gRPC service, for HTTP handlers that do the same.
func ExampleWithAuthorizer() {
	auth := newExampleAuth()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") })

	rules, err := authz.New(authz.WithRules(
		authz.Rule{Name: "readers", Methods: []string{"notes.v1.NotesService/Get*"}, Effect: authz.Allow},
		authz.Rule{Name: "admins", Methods: []string{"notes.v1.NotesService/*", "web.Admin/*"}, Roles: []string{"admin"}, Effect: authz.Allow},
	))
	if err != nil {
		log.Fatal(err)
	}
	protect, err := httpauth.Middleware(auth, httpauth.WithAuthorizer(rules),
		httpauth.WithMethods(map[string]string{
			"GET /notes/{id}":    "notes.v1.NotesService/GetNote",
			"DELETE /notes/{id}": "notes.v1.NotesService/DeleteNote",
			"/admin/":            "web.Admin/Show", // which is no method of gRPC
		}))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(protect(mux))
	defer server.Close()

	ask(server, "/notes/7", "token-of-bob")
	ask(server, "/admin/", "token-of-ada")
	ask(server, "/admin/", "token-of-bob")
	// Output:
	// 200 done
	// 200 done
	// 403 {"type":"about:blank","title":"Forbidden","status":403,"detail":"access denied","reason":"ACCESS_DENIED"}
}

// Server-sent events: the stream ends with its session.
func ExampleMiddleware_stream() {
	auth := newExampleAuth()
	events := make(chan string, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		stream := http.NewResponseController(w)
		for {
			select {
			case <-r.Context().Done(): // the client has gone, or its session has ended
				return
			case event := <-events:
				fmt.Fprintf(w, "data: %s\n\n", event)
			}
			if err := stream.Flush(); err != nil {
				return
			}
		}
	})
	protect, err := httpauth.Middleware(auth)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(protect(handler))
	defer server.Close()

	events <- "hello"
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer token-of-ada")
	response, err := server.Client().Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	event := make([]byte, len("data: hello\n\n"))
	if _, err := io.ReadFull(response.Body, event); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", event)
	// Output:
	// "data: hello\n\n"
}

// The service that nginx, Traefik or Caddy ask, and the one behind them.
func ExampleForwardAuth() {
	auth := newExampleAuth()
	const secret = "0123456789abcdef0123456789abcdef" // yours is random

	answers, err := httpauth.ForwardAuth(auth)
	if err != nil {
		log.Fatal(err)
	}
	asked := httptest.NewServer(answers)
	defer asked.Close()

	gateway, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(secret))
	if err != nil {
		log.Fatal(err)
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, asked.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	r.Header.Set("Cookie", "sid=token-of-ada")
	response, err := asked.Client().Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	passedOn := http.Header{ // by the proxy
		"X-Auth-Subject":   {response.Header.Get("X-Auth-Subject")},
		"X-Auth-Roles":     {response.Header.Get("X-Auth-Roles")},
		"X-Gateway-Secret": {secret},
	}
	found, err := gateway.Authenticate(context.Background(), passedOn)
	fmt.Println(response.StatusCode, found.AuthContext().Subject, found.AuthContext().Roles, err)
	// Output:
	// 200 ada [admin] <nil>
}
