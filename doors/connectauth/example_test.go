package connectauth_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/connectauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

func Example() {
	known := map[string][]string{"token-of-ada": {"ada", "admin"}, "token-of-bob": {"bob"}}
	auth, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) ([]string, error) {
		return known[token], nil
	}, func(_ context.Context, s []string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: s[0], Roles: s[1:]}, nil
	}, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if err != nil {
		log.Fatal(err)
	}
	rules, err := authz.New(authz.WithRules(
		authz.Rule{Name: "admins", Methods: []string{"notes.v1.NotesService/*"}, Roles: []string{"admin"}, Effect: authz.Allow},
	))
	if err != nil {
		log.Fatal(err)
	}

	sessions, err := connectauth.NewInterceptor(auth, connectauth.WithAuthorizer(rules))
	if err != nil {
		log.Fatal(err)
	}
	const procedure = "/notes.v1.NotesService/WhoAmI" // generated code has NewNotesServiceHandler for it
	handler := connect.NewUnaryHandler(procedure, whoAmI, connect.WithInterceptors(sessions))

	server := httptest.NewServer(handler)
	defer server.Close()
	client := connect.NewClient[emptypb.Empty, wrapperspb.StringValue](server.Client(), server.URL+procedure)
	for _, token := range []string{"token-of-ada", "token-of-bob", "forged"} {
		request := connect.NewRequest(&emptypb.Empty{})
		request.Header().Set("Authorization", "Bearer "+token)
		response, err := client.CallUnary(context.Background(), request)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(response.Msg.GetValue())
	}
	// Output:
	// ada
	// permission_denied: access denied
	// unauthenticated: invalid session
}

func whoAmI(ctx context.Context, _ *connect.Request[emptypb.Empty]) (*connect.Response[wrapperspb.StringValue], error) {
	ac, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(wrapperspb.String(ac.Subject)), nil
}
