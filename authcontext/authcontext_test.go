package authcontext_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

type session struct{ Token string }

func TestContext(t *testing.T) {
	ac := &authcontext.AuthContext{Subject: "ada"}
	if got, ok := authcontext.FromContext(t.Context()); got != nil || ok {
		t.Errorf("an empty context holds %v", got)
	}
	ctx := authcontext.NewContext(t.Context(), ac)
	if got, ok := authcontext.FromContext(ctx); got != ac || !ok {
		t.Errorf("got %v, %t", got, ok)
	}
	if got, ok := authcontext.FromContext(authcontext.NewContext(ctx, nil)); got != nil || ok {
		t.Errorf("a nil AuthContext does not hide the one behind it: %v", got)
	}
	var none *authcontext.AuthContext
	if _, err := authcontext.Require(authcontext.NewContext(ctx, none)); err == nil {
		t.Error("Require is satisfied by a nil AuthContext")
	}
}

func TestRequire(t *testing.T) {
	ac := &authcontext.AuthContext{Subject: "ada"}
	if got, err := authcontext.Require(authcontext.NewContext(t.Context(), ac)); got != ac || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := authcontext.Require(t.Context())
	st := status.Convert(err)
	if st.Code() != codes.Unauthenticated || st.Message() != "missing credentials" || len(st.Details()) != 1 {
		t.Fatalf("err = %v", err)
	}
	info, _ := st.Details()[0].(*errdetails.ErrorInfo)
	if info.GetReason() != "MISSING_CREDENTIALS" || info.GetDomain() != authcontext.ErrorDomain {
		t.Errorf("info = %v", info)
	}
}

func TestSessionFromContext(t *testing.T) {
	ac := &authcontext.AuthContext{Subject: "ada"}
	ctx := authcontext.NewIdentity(ac, &session{"t"}).NewContext(t.Context())
	if s, ok := authcontext.SessionFromContext[*session](ctx); !ok || s.Token != "t" {
		t.Errorf("got %v, %t", s, ok)
	}
	if s, ok := authcontext.SessionFromContext[session](ctx); ok || s.Token != "" {
		t.Errorf("of another type: %v, %t", s, ok)
	}
	for name, ctx := range map[string]context.Context{
		"empty":            t.Context(),
		"without session":  authcontext.NewContext(t.Context(), ac),
		"without identity": authcontext.NewIdentity(nil, &session{"t"}).NewContext(t.Context()),
	} {
		if s, ok := authcontext.SessionFromContext[*session](ctx); ok || s != nil {
			t.Errorf("%s: %v, %t", name, s, ok)
		}
	}
}

func TestRolesAndScopesFailClosed(t *testing.T) {
	var none *authcontext.AuthContext
	ac := &authcontext.AuthContext{Roles: []string{"admin", "user"}, Scopes: []string{"read", "write"}}
	for claim, got := range map[string]bool{
		"one of the roles":         ac.HasAnyRole("x", "user"),
		"all of the scopes":        ac.HasAllScopes("write", "read"),
		"not: no role of these":    !ac.HasAnyRole("x", "y"),
		"not: one scope missing":   !ac.HasAllScopes("read", "x"),
		"not: no roles given":      !ac.HasAnyRole(),
		"not: no scopes given":     !ac.HasAllScopes(),
		"not: another case":        !ac.HasAnyRole("Admin") && !ac.HasAllScopes("Read"),
		"not: an empty role":       !ac.HasAnyRole(""),
		"not: nil has a role":      !none.HasAnyRole("admin") && !none.HasAnyRole(),
		"not: nil has a scope":     !none.HasAllScopes("read") && !none.HasAllScopes(),
		"not: zero has anything":   !(&authcontext.AuthContext{}).HasAnyRole("admin"),
		"not: zero has every none": !(&authcontext.AuthContext{}).HasAllScopes(),
	} {
		if !got {
			t.Errorf("not so: %s", claim)
		}
	}
}

func TestCloneSharesNothing(t *testing.T) {
	build := func() *authcontext.AuthContext {
		return &authcontext.AuthContext{
			Subject: "ada", Name: "Ada", Type: "session", ExpiresAt: time.Unix(1, 0),
			Roles: []string{"a"}, Scopes: []string{"b"},
			Claims: map[string]any{
				"map": map[string]any{"k": []any{"v", map[string]any{"x": 1}}}, "strings": []string{"s"}, "bytes": []byte("b"), "n": 1, "nil": nil,
			},
		}
	}
	ac := build()
	clone := ac.Clone()
	if !reflect.DeepEqual(clone, ac) {
		t.Fatalf("clone is %#v", clone)
	}
	clone.Subject, clone.Roles[0], clone.Scopes[0] = "x", "x", "x"
	nested, _ := clone.Claims["map"].(map[string]any)
	list, _ := nested["k"].([]any)
	deep, _ := list[1].(map[string]any)
	list[0], deep["x"], nested["new"] = "x", "x", "x"
	clone.Claims["strings"].([]string)[0], clone.Claims["bytes"].([]byte)[0] = "x", 'x'
	clone.Claims["new"] = "x"
	if !reflect.DeepEqual(ac, build()) {
		t.Error("the original was changed through its clone")
	}
	var none *authcontext.AuthContext
	if none.Clone() != nil {
		t.Error("the clone of nil is something")
	}
	if bare := (&authcontext.AuthContext{}).Clone(); bare.Roles != nil || bare.Claims != nil {
		t.Error("the clone of nothing is something")
	}
}

func TestNothingPrintsClaimsOrSessions(t *testing.T) {
	const secret = "s3cr3t"
	ac := &authcontext.AuthContext{Subject: "ada", Name: "Ada", Roles: []string{"r"}, Scopes: []string{"s"}, Claims: map[string]any{"token": secret}}
	var none *authcontext.AuthContext
	id := authcontext.NewIdentity(ac, session{secret})
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range []any{
		ac, *ac, none, id, id.NewContext(t.Context()), struct{ AC *authcontext.AuthContext }{ac}, struct{ AC authcontext.AuthContext }{*ac},
		[]any{ac, *ac, id}, map[string]any{"k": id},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	logger.Info("who", "ac", ac, "none", none, "id", fmt.Sprint(id))
	logger.Info("who", "ac", &authcontext.AuthContext{Subject: "bob", ExpiresAt: time.Unix(0, 0).UTC()})
	for _, form := range []string{secret, fmt.Sprintf("%x", secret)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%q was printed:\n%s", form, out.String())
		}
	}
	for _, want := range []string{
		`AuthContext{Subject:"ada" Name:"Ada" Type:"" Roles:["r"] Scopes:["s"]`, `"subject":"ada"`, `"roles":["r"]`, `"scopes":["s"]`, `"none":"anonymous"`,
		`"expires_at":"1970-01-01T00:00:00Z"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s was not printed:\n%s", want, out.String())
		}
	}
}

func ExampleFromContext() {
	// The interceptor has put the identity there.
	ctx := authcontext.NewContext(context.Background(), &authcontext.AuthContext{Subject: "ada", Roles: []string{"admin"}})

	if caller, ok := authcontext.FromContext(ctx); ok {
		fmt.Println(caller.Subject, caller.HasAnyRole("admin", "owner"))
	}
	// Output: ada true
}

func ExampleRequire() {
	_, err := authcontext.Require(context.Background())
	fmt.Println(err)
	// Output: rpc error: code = Unauthenticated desc = missing credentials
}

func ExampleSessionFromContext() {
	type row struct{ Plan string }
	ac := &authcontext.AuthContext{Subject: "ada"}
	ctx := authcontext.NewIdentity(ac, &row{Plan: "pro"}).NewContext(context.Background())

	if session, ok := authcontext.SessionFromContext[*row](ctx); ok {
		fmt.Println(session.Plan)
	}
	// Output: pro
}

func ExampleAuthContext_Clone() {
	shared := &authcontext.AuthContext{Subject: "ada", Roles: []string{"user"}}
	mine := shared.Clone()
	mine.Roles = append(mine.Roles, "beta")
	fmt.Println(shared.Roles, mine.Roles)
	// Output: [user] [user beta]
}
