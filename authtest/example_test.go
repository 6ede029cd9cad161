package authtest_test

import (
	"context"
	"fmt"
	"log"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// program stands in for the *testing.T of a test.
type program struct{ cleanups []func() }

func (*program) Helper()                           {}
func (*program) Context() context.Context          { return context.Background() }
func (*program) Errorf(format string, args ...any) { log.Fatalf(format, args...) }
func (*program) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
func (p *program) Cleanup(f func())                { p.cleanups = append(p.cleanups, f) }

func (p *program) end() {
	for _, f := range p.cleanups {
		f()
	}
}

func ExampleStart() {
	t := &program{} // in a test: its *testing.T
	defer t.end()

	var owner authtest.Owner
	auth, err := interceptor.NewSessionAuth(owner.Verify, owner.Map,
		interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid")))
	if err != nil {
		t.Fatalf("%v", err)
	}
	server := authtest.Start(t, register, auth.ServerOptions()...)
	client := healthpb.NewHealthClient(server.Conn)

	token := owner.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"admin"}})
	ctx := authtest.WithBearer(t.Context(), token)
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{})
	fmt.Println(status.Code(err))

	owner.GoDown(nil) // an outage
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{})
	fmt.Println(status.Code(err))
	// Output:
	// OK
	// Unavailable
}

func ExampleOwner() {
	var owner authtest.Owner
	token := owner.SignIn(authcontext.AuthContext{Subject: "ada"})
	auth, err := interceptor.NewSessionAuth(owner.Verify, owner.Map)
	if err != nil {
		log.Fatal(err)
	}
	header := map[string][]string{"Authorization": {"Bearer " + token}}
	found, err := auth.Authenticate(context.Background(), header)
	caller := found.AuthContext()
	fmt.Println(caller.Subject, err)
	owner.SignOut(token)
	_, err = auth.Authenticate(context.Background(), header)
	fmt.Println(status.Convert(err).Message(), "after", owner.Calls(token), "calls")
	// Output:
	// ada <nil>
	// invalid session after 2 calls
}

func ExampleNewContext() {
	ctx := authtest.NewContext(context.Background(), authcontext.AuthContext{Subject: "ada", Roles: []string{"admin"}})
	caller, err := authcontext.Require(ctx) // what the handler under test does
	fmt.Println(caller.Subject, caller.HasAnyRole("admin"), err)
	// Output: ada true <nil>
}
