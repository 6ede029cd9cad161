package authz_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

const (
	allow = authz.Allow
	deny  = authz.Deny
)

type rules = []authz.Rule

func newAuthz(t testing.TB, opts ...authz.Option) *authz.Authorizer {
	t.Helper()
	a, err := authz.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func as(ctx context.Context, ac authcontext.AuthContext) context.Context {
	if ac.Subject == "" {
		ac.Subject = "somebody"
	}
	return authcontext.NewContext(ctx, &ac)
}

func withRoles(roles ...string) authcontext.AuthContext { return authcontext.AuthContext{Roles: roles} }

func withScopes(scopes ...string) authcontext.AuthContext {
	return authcontext.AuthContext{Scopes: scopes}
}

// mustBe asserts the code, the message and the reason of an error; codes.OK is nil.
func mustBe(t *testing.T, err error, code codes.Code, message, reason string) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || st.Code() != code || st.Message() != message {
		t.Fatalf("got %v, want %v %q", err, code, message)
	}
	var got string
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			got = info.GetReason()
			if len(info.GetMetadata()) != 0 {
				t.Errorf("the client is told %v", info.GetMetadata())
			}
		}
	}
	if got != reason {
		t.Fatalf("reason %q, want %q", got, reason)
	}
}

func mustBeDenied(t *testing.T, err error, rule string, unmet ...authz.UnmetRule) {
	t.Helper()
	mustBe(t, err, codes.PermissionDenied, "access denied", string(reason.AccessDenied))
	var denied *authz.DeniedError
	if !errors.As(err, &denied) {
		t.Fatalf("got %T, want a DeniedError", err)
	}
	if denied.Rule != rule {
		t.Errorf("denied by %q, want %q", denied.Rule, rule)
	}
	if fmt.Sprint(denied.Unmet) != fmt.Sprint(unmet) {
		t.Errorf("unmet: %v, want %v", denied.Unmet, unmet)
	}
}

// What the tables of Connectum's guides say, case by case.
func TestRulesMeanWhatConnectumsGuideSays(t *testing.T) {
	t.Parallel()
	guide := rules{
		{Name: "public", Methods: []string{"public.v1.PublicService/*"}, Effect: allow},
		{Name: "admin-only", Methods: []string{"admin.v1.AdminService/*"}, Effect: allow, Roles: []string{"admin"}},
		{Name: "write-scope", Methods: []string{"data.v1.DataService/Write*"}, Effect: allow, Scopes: []string{"write"}},
	}
	superadmin := authz.WithAuthorize(func(_ context.Context, caller *authcontext.AuthContext, _ string) (bool, error) {
		return slices.Contains(caller.Roles, "superadmin"), nil
	})
	everyone := authz.WithDefaultPolicy(allow)
	for _, test := range []struct {
		name   string
		opts   []authz.Option
		caller authcontext.AuthContext
		method string
		denied string // by which rule; empty: allowed
	}{
		{"no rule matches, policy deny: denied", nil, withRoles("admin"), "/test.Service/Method", authz.RuleDefaultPolicy},
		{"no rule matches, policy allow: allowed", []authz.Option{everyone}, withRoles(), "/test.Service/Method", ""},
		{
			"the first rule that matches wins", []authz.Option{everyone, authz.WithRules(
				authz.Rule{Name: "deny-all", Methods: []string{"*"}, Effect: deny},
				authz.Rule{Name: "allow-all", Methods: []string{"*"}, Effect: allow})},
			withRoles("admin"), "/test.Service/Method", "deny-all",
		},
		{
			"a rule whose requirements are not met does not match: the next one decides", []authz.Option{authz.WithRules(
				authz.Rule{Name: "no-guests", Methods: []string{"*"}, Effect: deny, Roles: []string{"guest"}},
				authz.Rule{Name: "the-rest", Methods: []string{"*"}, Effect: allow})},
			withRoles("admin"), "/test.Service/Method", "",
		},
		{"one of several roles is enough", []authz.Option{authz.WithRules(
			authz.Rule{Name: "staff", Methods: []string{"*"}, Effect: allow, Roles: []string{"admin", "superadmin"}})},
			withRoles("superadmin"), "/test.Service/Method", ""},
		{"none of several roles is not", []authz.Option{authz.WithRules(
			authz.Rule{Name: "staff", Methods: []string{"*"}, Effect: allow, Roles: []string{"admin", "superadmin"}})},
			withRoles("viewer"), "/test.Service/Method", authz.RuleDefaultPolicy},
		{"all scopes are needed, more do no harm", []authz.Option{authz.WithRules(
			authz.Rule{Name: "rw", Methods: []string{"*"}, Effect: allow, Scopes: []string{"read", "write"}})},
			withScopes("delete", "write", "read"), "/test.Service/Method", ""},
		{"one scope of two is not enough", []authz.Option{authz.WithRules(
			authz.Rule{Name: "rw", Methods: []string{"*"}, Effect: allow, Scopes: []string{"read", "write"}})},
			withScopes("read"), "/test.Service/Method", authz.RuleDefaultPolicy},
		{"a role is not a scope", []authz.Option{authz.WithRules(
			authz.Rule{Name: "r", Methods: []string{"*"}, Effect: allow, Scopes: []string{"admin"}})},
			withRoles("admin"), "/test.Service/Method", authz.RuleDefaultPolicy},
		{"a role and a scope are both needed", []authz.Option{authz.WithRules(
			authz.Rule{Name: "r", Methods: []string{"*"}, Effect: allow, Roles: []string{"admin"}, Scopes: []string{"write"}})},
			withRoles("admin"), "/test.Service/Method", authz.RuleDefaultPolicy},
		{"guide: a rule without requirements", []authz.Option{authz.WithRules(guide...)}, withRoles(), "/public.v1.PublicService/Get", ""},
		{"guide: the admin", []authz.Option{authz.WithRules(guide...)}, withRoles("admin"), "/admin.v1.AdminService/DeleteUser", ""},
		{"guide: not the admin", []authz.Option{authz.WithRules(guide...)}, withRoles("user"), "/admin.v1.AdminService/DeleteUser", authz.RuleDefaultPolicy},
		{"guide: Write* names WriteRow", []authz.Option{authz.WithRules(guide...)}, withScopes("write"), "/data.v1.DataService/WriteRow", ""},
		{"guide: Write* does not name ReadRow", []authz.Option{authz.WithRules(guide...)}, withScopes("write"), "/data.v1.DataService/ReadRow", authz.RuleDefaultPolicy},
		{"guide: the callback decides when no rule does", []authz.Option{authz.WithRules(guide...), superadmin}, withRoles("superadmin"), "/other.v1.Service/Any", ""},
		{"guide: and its no is a denial", []authz.Option{authz.WithRules(guide...), superadmin}, withRoles("user"), "/other.v1.Service/Any", authz.RuleAuthorize},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := newAuthz(t, test.opts...).Authorize(as(t.Context(), test.caller), test.method)
			if test.denied == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var denied *authz.DeniedError
			if !errors.As(err, &denied) || denied.Rule != test.denied || denied.Method != test.method {
				t.Fatalf("got %#v, want to be denied by %q", err, test.denied)
			}
			mustBe(t, err, codes.PermissionDenied, "access denied", string(reason.AccessDenied))
		})
	}
}

func TestACallWithoutAnIdentityIsUnauthenticatedWhateverTheRulesSay(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithDefaultPolicy(allow), authz.WithPublicMethods("pkg.Open/*"),
		authz.WithRules(authz.Rule{Name: "all", Methods: []string{"*"}, Effect: allow}))
	for name, ctx := range map[string]context.Context{
		"none":            t.Context(),
		"nil":             authcontext.NewContext(t.Context(), nil),
		"without subject": authcontext.NewContext(t.Context(), &authcontext.AuthContext{Roles: []string{"admin"}}),
	} {
		mustBe(t, a.Authorize(ctx, "/pkg.Service/Method"), codes.Unauthenticated, "missing credentials", string(reason.MissingCredentials))
		if err := a.Authorize(ctx, "/pkg.Open/Method"); err != nil {
			t.Errorf("%s: public method: %v", name, err)
		}
	}
}

func TestADenialNamesTheRulesThatWouldHaveAllowedIt(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithRules(
		authz.Rule{Name: "admins", Methods: []string{"pkg.Users/*"}, Effect: allow, Roles: []string{"admin", "root"}},
		authz.Rule{Name: "writers", Methods: []string{"pkg.Users/Delete", "pkg.Users/*"}, Effect: allow, Roles: []string{"editor"}, Scopes: []string{"users:read", "users:write"}},
		authz.Rule{Name: "others", Methods: []string{"pkg.Orders/*"}, Effect: allow, Roles: []string{"admin"}},
		authz.Rule{Name: "no-deletion", Methods: []string{"pkg.Users/Delete"}, Effect: deny},
		authz.Rule{Name: "late", Methods: []string{"*"}, Effect: allow, Roles: []string{"never"}},
	))
	caller := authcontext.AuthContext{Roles: []string{"editor"}, Scopes: []string{"users:read"}}
	mustBeDenied(t, a.Authorize(as(t.Context(), caller), "/pkg.Users/Delete"), "no-deletion",
		authz.UnmetRule{Rule: "admins", AnyRole: []string{"admin", "root"}},
		authz.UnmetRule{Rule: "writers", Scopes: []string{"users:write"}})
	err := a.Authorize(as(t.Context(), caller), "/pkg.Users/Delete")
	if text := fmt.Sprintf("%v %+v", err, status.Convert(err)); strings.Contains(text, "no-deletion") || strings.Contains(text, "admin") {
		t.Errorf("the error tells the rule: %s", text)
	}
}

// Names that something behind an UnknownServiceHandler, or a proxy, could read as the
// one that a rule denies.
func TestMethodNamesOfAnotherFormAreDenied(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithDefaultPolicy(allow), authz.WithPublicMethods("pkg.Open/*"), authz.WithRules(
		authz.Rule{Name: "closed", Methods: []string{"pkg.Admin/*"}, Effect: deny}))
	ctx := as(t.Context(), withRoles("admin"))
	for _, method := range []string{
		"pkg.Admin/Delete", "//pkg.Admin/Delete", "/pkg.Admin//Delete", "/pkg.Admin/Delete/", "/pkg.Admin/Delete/x", "/x/pkg.Admin/Delete",
		"", "/", "//", "/pkg.Admin", "/pkg.Admin/", "/ pkg.Admin/Delete", "/pkg.Admin/Delete ", "/pkg.Admin/De\x00lete", "/pkg.Admin/*", "/*/*", "*", "/*",
		"/pkg.Open//x", "pkg.Open/x", "/pkg.Open/*", "/pkg.Admin/Delete\n",
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			mustBeDenied(t, a.Authorize(ctx, method), authz.RuleMethodName)
		})
	}
	mustBeDenied(t, a.Authorize(ctx, "/pkg.Admin/Delete"), "closed")
}

func TestPatternsNameWhatTheySayAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pattern, method string
		named           bool
	}{
		{"pkg.Admin/*", "/pkg.Admin/Delete", true},
		{"/pkg.Admin/*", "/pkg.Admin/Delete", true},
		{"pkg.Admin/*", "/pkg.AdminLog/Delete", false},
		{"pkg.Admin/*", "/pkg.Admin.v2/Delete", false},
		{"pkg.Admin/*", "/other.pkg.Admin/Delete", false},
		{"pkg.Admin/*", "/PKG.ADMIN/Delete", false},
		{"pkg.Admin/*", "/pkg.admin/Delete", false},
		{"pkg.Admin/Delete", "/pkg.Admin/Delete", true},
		{"pkg.Admin/Delete", "/pkg.Admin/DeleteAll", false},
		{"pkg.Admin/Delete", "/pkg.Admin/delete", false},
		{"pkg.Admin/Delete*", "/pkg.Admin/Delete", true},
		{"pkg.Admin/Delete*", "/pkg.Admin/DeleteAll", true},
		{"pkg.Admin/Delete*", "/pkg.Admin/UnDelete", false},
		{"pkg.Admin/Delete*", "/pkg.Other/DeleteAll", false},
		{"*", "/any.Service/Method", true},
	} {
		a := newAuthz(t, authz.WithRules(authz.Rule{Name: "it", Methods: []string{test.pattern}, Effect: allow}))
		if err := a.Authorize(as(t.Context(), withRoles()), test.method); (err == nil) != test.named {
			t.Errorf("pattern %q, method %q: %v", test.pattern, test.method, err)
		}
	}
}

func TestOrderHoldsAcrossPatternsOfDifferentReach(t *testing.T) {
	t.Parallel()
	for _, order := range [][]string{{"*", "pkg.A/*", "pkg.A/Get*", "pkg.A/Get"}, {"pkg.A/Get", "pkg.A/Get*", "pkg.A/*", "*"}} {
		for first := range order {
			set := rules{}
			for i, pattern := range order[first:] {
				effect := deny
				if i == 0 {
					effect = allow
				}
				set = append(set, authz.Rule{Name: pattern, Methods: []string{pattern}, Effect: effect})
			}
			if err := newAuthz(t, authz.WithRules(set...)).Authorize(as(t.Context(), withRoles()), "/pkg.A/Get"); err != nil {
				t.Errorf("%v: the first did not win: %v", order[first:], err)
			}
		}
	}
}

func TestNewAuthzRefusesWhatIsNotARule(t *testing.T) {
	t.Parallel()
	good := authz.Rule{Name: "good", Methods: []string{"pkg.A/*"}, Effect: allow}
	with := func(change func(*authz.Rule)) []authz.Option {
		rule := good
		rule.Name = "bad"
		change(&rule)
		return []authz.Option{authz.WithRules(good, rule)}
	}
	for _, test := range []struct {
		name string
		opts []authz.Option
		want string
	}{
		{"no name", with(func(r *authz.Rule) { r.Name = " " }), "authz: rule 2: it has no name"},
		{"a name of ours", with(func(r *authz.Rule) { r.Name = authz.RuleProto }), `a name must not begin with "("`},
		{"a name twice", with(func(r *authz.Rule) { r.Name = "good" }), `authz: rule "good": there is another of this name`},
		{"no effect", with(func(r *authz.Rule) { r.Effect = 0 }), `authz: rule "bad": effect 0: want Allow or Deny`},
		{"an unknown effect", with(func(r *authz.Rule) { r.Effect = 3 }), `authz: rule "bad": effect 3`},
		{"no methods", with(func(r *authz.Rule) { r.Methods = nil }), `authz: rule "bad": it names no methods`},
		{"an empty list of roles", with(func(r *authz.Rule) { r.Roles = []string{} }), `authz: rule "bad": a list of roles or scopes is empty`},
		{"an empty list of scopes", with(func(r *authz.Rule) { r.Scopes = []string{} }), `authz: rule "bad": a list of roles or scopes is empty`},
		{"an empty role", with(func(r *authz.Rule) { r.Roles = []string{""} }), `authz: rule "bad": a role or scope is empty`},
		{"an empty scope", with(func(r *authz.Rule) { r.Scopes = []string{"a", ""} }), `authz: rule "bad": a role or scope is empty`},
		{"a pattern without a method", with(func(r *authz.Rule) { r.Methods = []string{"pkg.A"} }), `authz: rule "bad": method pattern "pkg.A"`},
		{"a wildcard in a service", with(func(r *authz.Rule) { r.Methods = []string{"pkg.*/Get"} }), `method pattern "pkg.*/Get"`},
		{"a wildcard in the middle", with(func(r *authz.Rule) { r.Methods = []string{"pkg.A/G*t"} }), `method pattern "pkg.A/G*t"`},
		{"an empty pattern", with(func(r *authz.Rule) { r.Methods = []string{""} }), `method pattern ""`},
		{"a double slash", with(func(r *authz.Rule) { r.Methods = []string{"//pkg.A/Get"} }), `method pattern "//pkg.A/Get"`},
		{"a bad public pattern", []authz.Option{authz.WithPublicMethods("pkg.A")}, `"pkg.A"`},
		{"no policy", []authz.Option{authz.WithDefaultPolicy(0)}, "authz: WithDefaultPolicy: effect 0"},
		{"a policy that cannot apply", []authz.Option{
			authz.WithDefaultPolicy(allow),
			authz.WithAuthorize(func(context.Context, *authcontext.AuthContext, string) (bool, error) { return true, nil }),
		}, "WithDefaultPolicy(Allow) would never apply"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, err := authz.New(test.opts...)
			if err == nil || a != nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
		})
	}
	_, err := authz.New(authz.WithRules(authz.Rule{Name: "one"}, authz.Rule{Name: "two"}))
	if err == nil || !strings.Contains(err.Error(), `"one"`) || !strings.Contains(err.Error(), `"two"`) {
		t.Errorf("not every rule is named: %v", err)
	}
}

func TestOptionsKeepNothingOfTheCallersSlices(t *testing.T) {
	t.Parallel()
	rule := authz.Rule{Name: "admins", Methods: []string{"pkg.A/*"}, Effect: allow, Roles: []string{"admin"}}
	given := rules{rule}
	option := authz.WithRules(given...)
	rule.Roles[0], rule.Methods[0], given[0].Effect = "anybody", "*", deny
	a := newAuthz(t, nil, option)
	if err := a.Authorize(as(t.Context(), withRoles("admin")), "/pkg.A/Get"); err != nil {
		t.Error(err)
	}
	mustBeDenied(t, a.Authorize(as(t.Context(), withRoles("anybody")), "/pkg.A/Get"), authz.RuleDefaultPolicy,
		authz.UnmetRule{Rule: "admins", AnyRole: []string{"admin"}})
}

func TestTheCallbacksErrorsAreTold(t *testing.T) {
	t.Parallel()
	limited, err := status.New(codes.ResourceExhausted, "secret-of-the-callback").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	const unavailable, failed = "authorization unavailable", "authorization failed"
	for _, test := range []struct {
		name            string
		answer          func() (bool, error)
		code            codes.Code
		message, reason string
	}{
		{"an error, even with a yes", func() (bool, error) { return true, errors.New("secret-of-the-callback") }, codes.PermissionDenied, failed, string(reason.AuthorizationFailed)},
		{"a session that is none, of the callback's own", func() (bool, error) {
			return true, fmt.Errorf("secret-of-the-callback: %w", interceptor.ErrInvalidSession)
		}, codes.PermissionDenied, failed, string(reason.AuthorizationFailed)},
		{"an outage", func() (bool, error) {
			return true, fmt.Errorf("secret-of-the-callback: %w", interceptor.ErrUnavailable)
		}, codes.Unavailable, unavailable, string(reason.AuthorizationUnavailable)},
		{"a net.Error", func() (bool, error) { return true, &net.OpError{Op: "dial", Err: errors.New("secret-of-the-callback")} }, codes.Unavailable, unavailable, string(reason.AuthorizationUnavailable)},
		{"a deadline", func() (bool, error) { return true, context.DeadlineExceeded }, codes.Unavailable, unavailable, string(reason.AuthorizationUnavailable)},
		{"a status ResourceExhausted", func() (bool, error) { return true, limited.Err() }, codes.Unavailable, unavailable, string(reason.AuthorizationUnavailable)},
		{"a status of its own", func() (bool, error) { return true, status.Error(codes.FailedPrecondition, "pay first") }, codes.FailedPrecondition, "pay first", ""},
		{"a panic", func() (bool, error) { panic("secret-of-the-callback") }, codes.PermissionDenied, failed, string(reason.AuthorizationFailed)},
		{"a Goexit", func() (bool, error) { runtime.Goexit(); return true, nil }, codes.PermissionDenied, failed, string(reason.AuthorizationFailed)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthz(t, authz.WithAuthorize(func(context.Context, *authcontext.AuthContext, string) (bool, error) { return test.answer() }))
			err := a.Authorize(as(t.Context(), withRoles()), "/pkg.A/Get")
			mustBe(t, err, test.code, test.message, test.reason)
			if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "secret-of-the-callback") {
				t.Errorf("the error tells the cause: %s", text)
			}
		})
	}
}

func TestACallbackThatHangsIsAbandoned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		a := newAuthz(t, authz.WithAuthorize(func(context.Context, *authcontext.AuthContext, string) (bool, error) {
			<-release
			return true, nil
		}))
		start := time.Now()
		mustBe(t, a.Authorize(as(t.Context(), withRoles()), "/pkg.A/Get"), codes.Unavailable, "authorization unavailable", string(reason.AuthorizationUnavailable))
		if took := time.Since(start); took != cache.DefaultVerifyTimeout {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Authorize(as(ctx, withRoles()), "/pkg.A/Get"); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("the caller's own deadline: %v", err)
		}
	})
}

func TestManyRolesDoNotOverflow(t *testing.T) {
	t.Parallel()
	var set rules
	for i := range 1000 {
		set = append(set, authz.Rule{
			Name: fmt.Sprint("rule-", i), Methods: []string{fmt.Sprintf("pkg.S%d/*", i)}, Effect: allow,
			Roles: []string{fmt.Sprint("role-", i)}, Scopes: []string{fmt.Sprint("scope-", i)},
		})
	}
	a := newAuthz(t, authz.WithRules(set...))
	for i := range 1000 {
		ctx := as(t.Context(), authcontext.AuthContext{Roles: []string{fmt.Sprint("role-", i)}, Scopes: []string{fmt.Sprint("scope-", i)}})
		if err := a.Authorize(ctx, fmt.Sprintf("/pkg.S%d/Get", i)); err != nil {
			t.Fatalf("rule %d: %v", i, err)
		}
		if err := a.Authorize(ctx, fmt.Sprintf("/pkg.S%d/Get", (i+1)%1000)); err == nil {
			t.Fatalf("rule %d: another's method is allowed", i)
		}
	}
}

func FuzzAuthorize(f *testing.F) {
	a, err := authz.New(authz.WithDefaultPolicy(allow),
		authz.WithRules(authz.Rule{Name: "closed", Methods: []string{"pkg.Admin/*"}, Effect: deny}))
	if err != nil {
		f.Fatal(err)
	}
	ctx := as(context.Background(), withRoles())
	f.Add("/pkg.Admin/Delete")
	f.Add("//pkg.Admin/Delete")
	f.Fuzz(func(t *testing.T, method string) {
		// Whatever is let through names exactly one other service and one method.
		if a.Authorize(ctx, method) == nil {
			parts := strings.Split(method, "/")
			if len(parts) != 3 || parts[0] != "" || parts[1] == "" || parts[2] == "" || parts[1] == "pkg.Admin" {
				t.Errorf("%q is allowed", method)
			}
		}
	})
}

// BenchmarkAuthorize decides by the last of 100 rules, each of which names the method
// and asks for other roles and scopes than the caller has.
func BenchmarkAuthorize(b *testing.B) {
	var set rules
	for i := range 99 {
		set = append(set, authz.Rule{
			Name: fmt.Sprint("rule-", i), Methods: []string{"pkg.Service/*"}, Effect: allow,
			Roles: []string{fmt.Sprint("role-", i), fmt.Sprint("deputy-", i)}, Scopes: []string{fmt.Sprint("scope-", i)},
		})
	}
	set = append(set, authz.Rule{Name: "last", Methods: []string{"pkg.Service/*"}, Effect: allow, Roles: []string{"reader"}, Scopes: []string{"read"}})
	ctx := as(context.Background(), authcontext.AuthContext{Roles: []string{"user", "reader", "editor"}, Scopes: []string{"read", "write"}})
	a := newAuthz(b, authz.WithRules(set...))
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Authorize(ctx, "/pkg.Service/Get"); err != nil {
			b.Fatal(err)
		}
	}
}
