package betterauth_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

func Example() {
	secret := "what BETTER_AUTH_SECRET is over there"

	v, err := betterauth.New("https://auth.example.com", betterauth.WithSecret(secret),
		betterauth.WithClientAddress("X-Forwarded-For", 1)) // which one proxy of yours writes
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders(v.KeyHeaders()...),
		interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if err != nil {
		log.Fatal(err)
	}

	// A cookie that better-auth did not sign is refused, and better-auth is not asked.
	header := http.Header{"Cookie": {"better-auth.session_token=made-up.AAAA"}}
	_, err = auth.Authenticate(context.Background(), header)
	fmt.Println(status.Convert(err).Message())
	// Output: invalid session
}
