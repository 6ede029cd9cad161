package sessionauth_test

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

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

// Behind an UnknownServiceHandler grpc-go runs interceptors for any name at all.
func TestUnknownMethodsAreGuarded(t *testing.T) {
	t.Parallel()
	var reached sync.Map
	unknown := grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		reached.Store(method, true)
		return stream.SendMsg(&emptypb.Empty{})
	})
	rules := newAuthz(t, authz.WithDefaultPolicy(authz.Allow), authz.WithRules(
		authz.Rule{Name: "closed", Methods: []string{"pkg.Admin/*"}, Effect: authz.Deny}))
	var o authtest.Owner
	good := o.SignIn(reader)
	conn := dial(t, &service{}, append(append(authOf(t, &o).ServerOptions(), rules.ServerOptions()...), unknown)...)
	for _, method := range []string{
		"/pkg.Admin/Delete", "//pkg.Admin/Delete", "/pkg.Admin//Delete", "/pkg.Admin/Delete/", "/x/pkg.Admin/Delete", "/pkg.Admin/", "/pkg.Admin",
		"pkg.Admin/Delete", "pkg.Open/Get",
	} {
		err := conn.Invoke(bearer(t, good), method, &emptypb.Empty{}, &emptypb.Empty{})
		if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unimplemented && code != codes.Internal {
			t.Errorf("%q: %v", method, err)
		}
	}
	for _, method := range []string{"/pkg.Open/Get", "/pkg.AdminLog/Read", "/PKG.ADMIN/Delete"} { // other services
		if err := conn.Invoke(bearer(t, good), method, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
			t.Errorf("%q: %v", method, err)
		}
	}
	reached.Range(func(method, _ any) bool {
		if name, _ := method.(string); strings.Contains(name, "pkg.Admin/") {
			t.Errorf("%q was reached", name)
		}
		return true
	})
}

func TestADenialIsToldToTheServerAndNotToTheClient(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	var seen *authz.DeniedError
	outer := grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		resp, err := handler(ctx, req)
		errors.As(err, &seen)
		return resp, err
	})
	var o authtest.Owner
	good, weak := o.SignIn(reader), o.SignIn(authcontext.AuthContext{Subject: "weak"})
	options := slices.Concat(
		[]grpc.ServerOption{outer, grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(tracers)))},
		authOf(t, &o).ServerOptions(), newAuthz(t, readers).ServerOptions())
	client := serve(t, &service{}, options...)
	_, err := client.UnaryCall(bearer(t, weak), &grpc_testing.SimpleRequest{})
	accessDenied.check(t, err)
	if text := status.Convert(err).Proto().String(); strings.Contains(text, "readers") || strings.Contains(text, "role") {
		t.Errorf("the client is told %s", text)
	}
	if seen == nil || seen.Rule != authz.RuleDefaultPolicy || seen.Method != "/grpc.testing.TestService/UnaryCall" ||
		len(seen.Unmet) != 1 || seen.Unmet[0].Rule != "the-readers" || !slices.Equal(seen.Unmet[0].AnyRole, []string{"reader"}) {
		t.Errorf("the server is told %+v", seen)
	}
	if _, err := client.UnaryCall(bearer(t, good), &grpc_testing.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	for len(spans.GetSpans()) < 2 { // an RPC's span ends after the client has its answer
		runtime.Gosched()
	}
	decisions := map[string]string{}
	for _, span := range spans.GetSpans() {
		attributes := map[string]string{}
		for _, a := range span.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
		if decision := attributes["sessionauth.decision"]; decision != "" {
			decisions[decision] = attributes["sessionauth.rule"] + " " + attributes["error.type"]
		}
		if attributes["sessionauth.decision"] != "deny" {
			continue
		}
		var unmet []string
		for _, event := range span.Events {
			for _, a := range event.Attributes {
				if event.Name == "sessionauth.unmet" {
					unmet = append(unmet, string(a.Key)+"="+a.Value.String())
				}
			}
		}
		if got := strings.Join(unmet, " "); got != `sessionauth.rule=the-readers sessionauth.missing.roles=["reader"]` {
			t.Errorf("the span is told %s", got)
		}
	}
	if want := map[string]string{"deny": "(default policy) access_denied", "allow": "the-readers "}; !maps.Equal(decisions, want) {
		t.Errorf("decisions on spans: %v, want %v", decisions, want)
	}
}
