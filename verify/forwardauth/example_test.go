package forwardauth_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/forwardauth"
)

// behind returns an Authenticator that asks any of the three.
func behind(v *forwardauth.Verifier) *interceptor.Authenticator {
	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders())
	if err != nil {
		log.Fatal(err)
	}
	return auth
}

func ExampleNew() {
	sessions := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("sid"); err != nil || cookie.Value != "a-token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Remote-User", "ada")
		w.Header().Set("Remote-Groups", "admin,staff")
	}))
	defer sessions.Close()
	url := sessions.URL

	v, err := forwardauth.New(url, forwardauth.WithCookies("sid"))
	if err != nil {
		log.Fatal(err)
	}
	found, err := behind(v).Authenticate(context.Background(), http.Header{"Cookie": {"theme=dark; sid=a-token"}})
	if err != nil {
		log.Fatal(err)
	}
	caller := found.Identity.AuthContext()
	fmt.Println(caller.Subject, caller.Roles)
	// Output: ada [admin staff]
}

func ExampleOAuth2Proxy() {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Auth-Request-User", "ada")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer proxy.Close()
	proxyURL := proxy.URL

	v, err := forwardauth.OAuth2Proxy(proxyURL) // which runs with --set-xauthrequest
	if err != nil {
		log.Fatal(err)
	}
	found, err := behind(v).Authenticate(context.Background(), http.Header{"Cookie": {"_oauth2_proxy=a-token"}})
	if err != nil {
		log.Fatal(err)
	}
	caller := found.Identity.AuthContext()
	fmt.Println(caller.Subject)
	// Output: ada
}

func ExampleAuthelia() {
	portal := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-Host") == "grpc.example.com" {
			w.Header().Set("Remote-User", "ada")
		}
	}))
	defer portal.Close()
	autheliaURL := portal.URL

	v, err := forwardauth.Authelia(autheliaURL, "https://grpc.example.com/")
	if err != nil {
		log.Fatal(err)
	}
	found, err := behind(v).Authenticate(context.Background(), http.Header{"Cookie": {"authelia_session=a-token"}})
	if err != nil {
		log.Fatal(err)
	}
	caller := found.Identity.AuthContext()
	fmt.Println(caller.Subject)
	// Output: ada
}
