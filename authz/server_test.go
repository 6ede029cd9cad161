package authz_test

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/reason"
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
