package authz_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	notesv1 "github.com/grpc-sessionauth/sessionauth/internal/notes/v1"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// openStream is a stream on the server's side that nobody talks on.
type openStream struct {
	grpc.ServerStream

	ctx context.Context
}

func (s openStream) Context() context.Context { return s.ctx }

// open runs handler behind a stream interceptor.
func open(ctx context.Context, a *authz.Authorizer, method string, handler func() error) error {
	return a.StreamServerInterceptor()(nil, openStream{ctx: ctx}, &grpc.StreamServerInfo{FullMethod: method},
		func(any, grpc.ServerStream) error { return handler() })
}

func identity(roles ...string) *authcontext.Identity {
	return authcontext.NewIdentity(&authcontext.AuthContext{Subject: "ada", Roles: roles}, nil)
}

func TestAStreamEndsWithTheRoleThatItNeeds(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithPublicMethods("pkg.Open/*"),
		authz.WithRules(authz.Rule{Name: "readers", Methods: []string{"*"}, Effect: allow, Roles: []string{"reader"}}))
	renewable := authcontext.NewRenewable(identity("reader"))
	ctx := renewable.NewContext(t.Context())
	err := open(ctx, a, "/pkg.A/Watch", func() error {
		if err := renewable.Renew(identity("editor", "reader")); err != nil {
			t.Errorf("with the role it ends: %v", err)
		}
		err := renewable.Renew(identity("editor"))
		mustBeDenied(t, err, authz.RuleDefaultPolicy, authz.UnmetRule{Rule: "readers", AnyRole: []string{"reader"}})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := renewable.Renew(identity()); err != nil {
		t.Errorf("after the handler has returned: %v", err)
	}
	mustBeDenied(t, open(ctx, a, "/pkg.A/Watch", func() error { return nil }), authz.RuleDefaultPolicy,
		authz.UnmetRule{Rule: "readers", AnyRole: []string{"reader"}})
	if err := renewable.Renew(identity()); err != nil {
		t.Errorf("after the stream was refused: %v", err)
	}
	if err := open(ctx, a, "/pkg.Open/Watch", func() error { return renewable.Renew(identity()) }); err != nil {
		t.Errorf("a public stream: %v", err)
	}
	if err := open(as(t.Context(), withRoles("reader")), a, "/pkg.A/Watch", func() error { return nil }); err != nil {
		t.Errorf("a stream whose identity stays: %v", err)
	}
}

func TestAStreamEndsWhenTheCallbackSaysSo(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithAuthorize(func(ctx context.Context, caller *authcontext.AuthContext, _ string) (bool, error) {
		if session, ok := authcontext.SessionFromContext[string](ctx); !ok || session != caller.Subject {
			return false, errors.New("another session than the caller's")
		}
		return caller.HasAnyRole("reader"), nil
	}))
	of := func(subject string, roles ...string) *authcontext.Identity {
		return authcontext.NewIdentity(&authcontext.AuthContext{Subject: subject, Roles: roles}, subject)
	}
	renewable := authcontext.NewRenewable(of("one", "reader"))
	err := open(renewable.NewContext(t.Context()), a, "/pkg.A/Watch", func() error {
		if err := renewable.Renew(of("two", "reader")); err != nil {
			t.Errorf("with the role it ends: %v", err)
		}
		mustBe(t, renewable.Renew(of("two")), codes.PermissionDenied, "access denied", string(reason.AccessDenied))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// called returns the context of a client's call, as somebody with these roles.
func called(t *testing.T, roles ...string) context.Context {
	t.Helper()
	ctx := grpcmd.AppendToOutgoingContext(t.Context(), "caller", "somebody")
	for _, role := range roles {
		ctx = grpcmd.AppendToOutgoingContext(ctx, "role", role) //nolint:fatcontext // a role or two
	}
	return ctx
}

func registerNotes(server *grpc.Server) { notesv1.RegisterNotesServer(server, notes{}) }

// Behind an UnknownServiceHandler grpc-go runs interceptors for any name at all.
func TestUnknownMethodsAreGuarded(t *testing.T) {
	t.Parallel()
	var reached sync.Map
	unknown := grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		reached.Store(method, true)
		return stream.SendMsg(&emptypb.Empty{})
	})
	a := newAuthz(t, authz.WithDefaultPolicy(allow), authz.WithRules(
		authz.Rule{Name: "closed", Methods: []string{"pkg.Admin/*"}, Effect: deny}))
	conn := authtest.Start(t, registerNotes, append(slices.Concat((&authn{}).ServerOptions(), a.ServerOptions()), unknown)...).Conn
	for _, method := range []string{
		"/pkg.Admin/Delete", "//pkg.Admin/Delete", "/pkg.Admin//Delete", "/pkg.Admin/Delete/", "/x/pkg.Admin/Delete", "/pkg.Admin/", "/pkg.Admin",
		"pkg.Admin/Delete", "pkg.Open/Get",
	} {
		err := conn.Invoke(called(t), method, &emptypb.Empty{}, &emptypb.Empty{})
		if code := status.Code(err); code != codes.PermissionDenied && code != codes.Unimplemented && code != codes.Internal {
			t.Errorf("%q: %v", method, err)
		}
	}
	for _, method := range []string{"/pkg.Open/Get", "/pkg.AdminLog/Read", "/PKG.ADMIN/Delete"} { // other services
		if err := conn.Invoke(called(t), method, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
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
	a := newAuthz(t, authz.WithRules(
		authz.Rule{Name: "the-readers", Methods: []string{"notes.v1.Notes/*"}, Effect: allow, Roles: []string{"reader"}}))
	server := authtest.Start(t, registerNotes, slices.Concat(
		[]grpc.ServerOption{outer, grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(tracers)))},
		(&authn{}).ServerOptions(), a.ServerOptions())...)
	client := notesv1.NewNotesClient(server.Conn)
	_, err := client.Read(called(t), &notesv1.Note{})
	mustBe(t, err, codes.PermissionDenied, "access denied", string(reason.AccessDenied))
	if text := status.Convert(err).Proto().String(); strings.Contains(text, "readers") || strings.Contains(text, "role") {
		t.Errorf("the client is told %s", text)
	}
	if seen == nil || seen.Rule != authz.RuleDefaultPolicy || seen.Method != "/notes.v1.Notes/Read" ||
		len(seen.Unmet) != 1 || seen.Unmet[0].Rule != "the-readers" || !slices.Equal(seen.Unmet[0].AnyRole, []string{"reader"}) {
		t.Errorf("the server is told %+v", seen)
	}
	if _, err := client.Read(called(t, "reader"), &notesv1.Note{}); err != nil {
		t.Fatal(err)
	}
	server.Server.GracefulStop() // an RPC's span ends after the client has its answer
	told := map[string]string{}
	for _, span := range spans.GetSpans() {
		attributes := map[string]string{}
		for _, a := range span.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
		if decision := attributes["sessionauth.decision"]; decision != "" {
			told[decision] = attributes["sessionauth.rule"] + " " + attributes["error.type"]
		}
		if attributes["sessionauth.decision"] != "deny" {
			continue
		}
		var unmet []string
		for _, event := range span.Events {
			for _, a := range event.Attributes {
				if event.Name == telemetry.EventUnmet {
					unmet = append(unmet, string(a.Key)+"="+a.Value.String())
				}
			}
		}
		if got := strings.Join(unmet, " "); got != `sessionauth.rule=the-readers sessionauth.missing.roles=["reader"]` {
			t.Errorf("the span is told %s", got)
		}
	}
	if want := map[string]string{"deny": "(default policy) access_denied", "allow": "the-readers "}; !maps.Equal(told, want) {
		t.Errorf("decisions on spans: %v, want %v", told, want)
	}
}
