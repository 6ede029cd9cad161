package sessionauth_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	mwauth "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

var accessDenied = refusal{codes.PermissionDenied, "access denied", string(reason.AccessDenied)}

func newAuthz(t *testing.T, opts ...authz.Option) *authz.Authorizer {
	t.Helper()
	a, err := authz.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// authOf returns an Authenticator in front of o.
func authOf(t *testing.T, o *authtest.Owner, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	a, err := interceptor.NewSessionAuth(o.Verify, o.Map, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var reader = authcontext.AuthContext{Subject: "ada", Roles: []string{"reader"}}

// readers lets those with the role "reader" call every method.
var readers = authz.WithRules(authz.Rule{
	Name: "the-readers", Methods: []string{"grpc.testing.TestService/*"}, Effect: authz.Allow, Roles: []string{"reader"},
})

func TestRulesGuardEveryKindOfCall(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	good, weak := o.SignIn(reader), o.SignIn(authcontext.AuthContext{Subject: "weak"})
	client := serve(t, &service{}, slices.Concat(
		authOf(t, &o, interceptor.WithOptionalAuth()).ServerOptions(), newAuthz(t, readers).ServerOptions())...)
	eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
		t.Helper()
		if got, err := call(bearer(t, good), client, "ada"); err != nil || got != "ada" {
			t.Errorf("got %q, %v", got, err)
		}
		_, err := call(bearer(t, weak), client, "")
		accessDenied.check(t, err)
		_, err = call(with(t), client, "")
		missing.check(t, err)
	})
}

// An identity is cached; what it may do is decided anew for every call.
func TestDecisionsAreNotCachedWithTheIdentity(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	good := o.SignIn(reader)
	var mu sync.Mutex
	allowed := true
	rules := newAuthz(t, authz.WithRules(authz.Rule{
		Name: "streams", Methods: []string{"grpc.testing.TestService/FullDuplexCall"}, Effect: authz.Allow,
	}), authz.WithAuthorize(func(_ context.Context, caller *authcontext.AuthContext, fullMethod string) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return allowed && caller.Subject == "ada" && fullMethod == "/grpc.testing.TestService/UnaryCall", nil
	}))
	auth := authOf(t, &o, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	client := serve(t, &service{}, append(auth.ServerOptions(), rules.ServerOptions()...)...)
	if _, err := client.UnaryCall(bearer(t, good), &grpc_testing.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	_, err := kinds["server stream"](bearer(t, good), client, "") // the same session, another method
	accessDenied.check(t, err)
	mu.Lock()
	allowed = false
	mu.Unlock()
	_, err = client.UnaryCall(bearer(t, good), &grpc_testing.SimpleRequest{})
	accessDenied.check(t, err)
	if got := o.Calls(""); got != 1 {
		t.Errorf("%d verifications", got)
	}
}

// A role that is taken away ends the streams that need it, with the next recheck.
func TestAStreamEndsWithTheRoleOfItsCaller(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	token := o.SignIn(reader)
	auth := authOf(t, &o, interceptor.WithStreamRecheck(10*time.Millisecond))
	client := serve(t, &service{}, append(auth.ServerOptions(), newAuthz(t, readers).ServerOptions()...)...)
	stream, err := client.FullDuplexCall(bearer(t, token))
	if err != nil {
		t.Fatal(err)
	}
	request := &grpc_testing.StreamingOutputCallRequest{ResponseParameters: []*grpc_testing.ResponseParameters{{}}}
	if err := stream.Send(request); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	o.Update(token, func(ac *authcontext.AuthContext) { ac.Roles = nil })
	_, err = stream.Recv()
	accessDenied.check(t, err)
}

func TestTheAuditKnowsBothKindsOfAuthentication(t *testing.T) {
	t.Parallel()
	var o authtest.Owner
	auth, rules := authOf(t, &o), newAuthz(t, readers)
	gateway, err := interceptor.NewGatewayAuth(interceptor.WithTrustedPeers("gateway.internal"))
	if err != nil {
		t.Fatal(err)
	}
	server := authtest.Start(t, registering(&service{}),
		slices.Concat(gateway.ServerOptions(), auth.ServerOptions(), rules.ServerOptions())...)
	authtest.Audit(t, server.Server, auth, rules)
	authtest.Audit(t, server.Server, gateway, rules)
	server = authtest.Start(t, registering(&service{}), slices.Concat([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(mwauth.UnaryServerInterceptor(auth.AuthFunc)),
		grpc.ChainStreamInterceptor(mwauth.StreamServerInterceptor(auth.AuthFunc)),
	}, rules.ServerOptions())...)
	authtest.Audit(t, server.Server, auth, rules) // by its AuthFunc
	server = authtest.Start(t, registering(&service{}), slices.Concat(rules.ServerOptions(), auth.ServerOptions())...)
	found := authz.Audit(server.Server, auth, rules)
	if len(found) != 2 || len(found.Without(authz.WrongOrder)) != 0 {
		t.Errorf("in the wrong order: %s", found)
	}
}
