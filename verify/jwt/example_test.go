package jwt_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/jwt"
)

func Example() {
	keys := &issuer{}
	keys.publish(edKey.public())
	id := httptest.NewServer(keys)
	defer id.Close()

	jwksURL := id.URL + "/jwks.json"

	v, err := jwt.New(jwksURL, "https://id.example.com/", "my-api",
		jwt.WithRolesClaim("realm_access.roles"))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
		interceptor.WithExtractors(authmd.Bearer()), interceptor.WithKeyHeaders())
	if err != nil {
		log.Fatal(err)
	}
	header := http.Header{"Authorization": {"Bearer not-a-token"}}
	_, err = auth.Authenticate(context.Background(), header)
	fmt.Println(status.Convert(err).Message())
	// Output: invalid session
}
