package extauthz_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/demo"
)

// An Authenticator and rules that Envoy asks about every request, and what it is told. In
// production Serve takes a listener instead: of a Unix socket that only Envoy may open.
func Example() {
	check, err := newCheck(demo.Verify, demo.MapSession, secret)
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range []string{"token-of-ada", "token-of-bob", "made-up"} {
		in := ask("POST", unaryCall, "content-type", "application/grpc", "authorization", "Bearer "+token)
		answer, err := check.Check(context.Background(), in) // which is what Envoy calls
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(token, codes.Code(answer.GetStatus().GetCode()))
	}
	// Output:
	// token-of-ada OK
	// token-of-bob PermissionDenied
	// made-up Unauthenticated
}

func newCheck(verify interceptor.VerifyFunc[[]string], mapSession interceptor.MapFunc[[]string], secret string) (*extauthz.Server, error) {
	auth, err := interceptor.NewSessionAuth(verify, mapSession, interceptor.WithCache(cache.Policy{TTL: 30 * time.Second}))
	if err != nil {
		return nil, err
	}
	rules, err := authz.New(authz.WithRules(
		authz.Rule{Name: "admins", Effect: authz.Allow, Roles: []string{"admin"}, Methods: []string{"grpc.testing.TestService/*"}}))
	if err != nil {
		return nil, err
	}
	return extauthz.New(auth,
		extauthz.WithAuthorizer(rules),
		extauthz.WithSharedSecret(secret), // the upstream's interceptor.WithSharedSecrets has it, too
		extauthz.WithSkipPatterns("GET /healthz"),
		extauthz.WithSessionPatterns("/files/"),
	)
}
