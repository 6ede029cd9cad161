package authcontext_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

func identityOf(subject string, session any, roles ...string) *authcontext.Identity {
	return authcontext.NewIdentity(&authcontext.AuthContext{Subject: subject, Roles: roles}, session)
}

func TestAContextOfARenewableCarriesTheNewestIdentity(t *testing.T) {
	r := authcontext.NewRenewable(identityOf("ada", 1, "reader"))
	ctx := r.NewContext(t.Context())
	child := context.WithValue(ctx, "k", "v") //nolint:staticcheck // any key
	for i, role := range []string{"reader", "writer", "owner"} {
		if i > 0 {
			if err := r.Renew(identityOf("ada", i+1, role)); err != nil {
				t.Fatal(err)
			}
		}
		for _, ctx := range []context.Context{ctx, child} {
			ac, ok := authcontext.FromContext(ctx)
			if !ok || !ac.HasAnyRole(role) {
				t.Errorf("FromContext = %v, %t, want the role %s", ac, ok, role)
			}
			if ac, err := authcontext.Require(ctx); err != nil || !ac.HasAnyRole(role) {
				t.Errorf("Require = %v, %v", ac, err)
			}
			if session, ok := authcontext.SessionFromContext[int](ctx); !ok || session != i+1 {
				t.Errorf("SessionFromContext = %d, %t, want %d", session, ok, i+1)
			}
			if _, ok := authcontext.SessionFromContext[string](ctx); ok {
				t.Error("a session of another type was found")
			}
		}
	}
	if got := fmt.Sprintf("%v %+v", r, ctx); !strings.Contains(got, `Subject:"ada"`) || strings.Contains(got, "mutex") {
		t.Errorf("printed as %s", got)
	}
}

func TestAContextThatCarriesNobody(t *testing.T) {
	empty := (&authcontext.Renewable{}).NewContext(t.Context())
	hidden := authcontext.NewContext(authcontext.NewRenewable(identityOf("ada", 1)).NewContext(t.Context()), nil)
	for name, ctx := range map[string]context.Context{"the zero Renewable": empty, "hidden by nobody": hidden, "none": t.Context()} {
		if ac, ok := authcontext.FromContext(ctx); ok {
			t.Errorf("%s: FromContext = %v", name, ac)
		}
		if _, ok := authcontext.SessionFromContext[int](ctx); ok {
			t.Errorf("%s: a session was found", name)
		}
		_, err := authcontext.Require(ctx)
		if st := status.Convert(err); st.Code() != codes.Unauthenticated || st.Message() != "missing credentials" {
			t.Errorf("%s: Require: %v", name, err)
		}
	}
	_ = fmt.Sprint((*authcontext.Renewable)(nil), &authcontext.Renewable{}) // does not panic
}

func TestOnRenewalBelongsToStreamsOnly(t *testing.T) {
	r := authcontext.NewRenewable(identityOf("ada", 1))
	fixed := authcontext.NewContext(t.Context(), &authcontext.AuthContext{Subject: "ada"})
	replaced := authcontext.NewContext(r.NewContext(t.Context()), &authcontext.AuthContext{Subject: "robot"})
	called := func(*authcontext.AuthContext) error { t.Error("called"); return nil }
	for name, ctx := range map[string]context.Context{"no identity": t.Context(), "a unary call's": fixed, "somebody else's": replaced} {
		stop, ok := authcontext.OnRenewal(ctx, called)
		if ok {
			t.Errorf("%s: ok", name)
		}
		stop()
	}
	if err := r.Renew(identityOf("ada", 2)); err != nil {
		t.Error(err)
	}
}

func TestRenewalsAreToldInOrderUntilStopped(t *testing.T) {
	r := authcontext.NewRenewable(identityOf("ada", 1))
	ctx := r.NewContext(t.Context())
	var told []string
	var stops []func()
	register := func(name string, f func() error) {
		stop, ok := authcontext.OnRenewal(ctx, func(ac *authcontext.AuthContext) error {
			if now, _ := authcontext.FromContext(ctx); now != ac {
				t.Errorf("%s is told %v while the context carries %v", name, ac, now)
			}
			told = append(told, name+" "+ac.Roles[0])
			return f()
		})
		if !ok {
			t.Fatal("not registered")
		}
		stops = append(stops, stop)
	}
	refused := status.Error(codes.PermissionDenied, "no longer")
	fine := func() error { return nil }
	register("a", fine)
	register("b", func() error {
		if len(told) > 3 {
			return refused
		}
		return nil
	})
	register("c", fine)
	renew := func(role string, wantErr error, want ...string) {
		t.Helper()
		told = told[:0:len(told)]
		if err := r.Renew(identityOf("ada", 1, role)); !errors.Is(err, wantErr) {
			t.Errorf("Renew(%s) = %v, want %v", role, err, wantErr)
		}
		if !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	}
	renew("r1", nil, "a r1", "b r1", "c r1")
	stops[0]()
	stops[0]() // a second time does nothing
	renew("r2", nil, "b r2", "c r2")
	register("stopper", func() error { stops[4](); stops[3](); return nil }) // itself, too
	register("stopped", func() error { t.Error("called after it was stopped"); return nil })
	renew("r3", nil, "b r3", "c r3", "stopper r3")
	stops[1]()
	register("last", func() error { return refused })
	register("never", func() error { t.Error("called after an error"); return nil })
	renew("r4", refused, "c r4", "last r4")
}

func TestRenewalsFromManyGoroutines(t *testing.T) {
	r := authcontext.NewRenewable(identityOf("ada", 0, "r"))
	ctx := r.NewContext(t.Context())
	running, calls := 0, 0 // the race detector's business
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				stop, _ := authcontext.OnRenewal(ctx, func(*authcontext.AuthContext) error {
					if running++; running != 1 {
						t.Error("two calls at once")
					}
					calls++
					running--
					return nil
				})
				_ = r.Renew(identityOf("ada", 0, "r"))
				if ac, ok := authcontext.FromContext(ctx); !ok || ac.Subject != "ada" {
					t.Error("no identity")
				}
				stop()
			}
		})
	}
	wg.Wait()
	if calls < 800 {
		t.Errorf("%d calls", calls)
	}
}

func BenchmarkFromContext(b *testing.B) {
	ac := &authcontext.AuthContext{Subject: "ada"}
	for name, ctx := range map[string]context.Context{
		"unary":  authcontext.NewContext(context.Background(), ac),
		"stream": authcontext.NewRenewable(authcontext.NewIdentity(ac, nil)).NewContext(context.Background()),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := authcontext.FromContext(ctx); !ok {
					b.Fatal("nobody")
				}
			}
		})
	}
}
