package kratos_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/kratos"
)

func Example() {
	ory := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Session-Token") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"id": "5ea5", "active": true, "expires_at": "2100-01-01T00:00:00Z",
			"identity": {"id": "ada", "state": "active", "metadata_public": {"roles": ["admin"]}}}`)
	}))
	defer ory.Close()
	publicURL := ory.URL

	v, err := kratos.New(publicURL, kratos.WithRoles("roles"), // metadata_public.roles
		kratos.WithReadyURL(publicURL+"/health/ready"))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders(),
		interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: 10 * time.Second}))
	if err != nil {
		log.Fatal(err)
	}

	found, err := auth.Authenticate(context.Background(), http.Header{"X-Session-Token": {"a-token"}})
	if err != nil {
		log.Fatal(err)
	}
	caller := found.Identity.AuthContext()
	fmt.Println(caller.Subject, caller.Roles)
	// Output: ada [admin]
}
