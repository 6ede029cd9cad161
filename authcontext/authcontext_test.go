package authcontext_test

import (
	"bytes"
	"context"
	"encoding/json"
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
	"github.com/grpc-sessionauth/sessionauth/reason"
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
	if info.GetReason() != string(reason.MissingCredentials) || info.GetDomain() != reason.Domain {
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
	const claim, id = "s3cr3t", "se55ion"
	ac := &authcontext.AuthContext{
		Subject: "ada", Name: "Ada", Roles: []string{"r"}, Scopes: []string{"s"}, SessionID: id, Claims: map[string]any{"token": claim},
	}
	var none *authcontext.AuthContext
	identity := authcontext.NewIdentity(ac, session{claim})
	type holder struct {
		AC authcontext.AuthContext
		P  *authcontext.AuthContext
		A  any
	}
	values := map[string]any{
		"a pointer": ac, "a value": *ac, "a pointer to a pointer": &ac, "nil": none, "an identity": identity, "a copy of an identity": *identity,
		"a context": identity.NewContext(t.Context()), "a struct": holder{*ac, ac, *ac}, "a pointer to a struct": &holder{*ac, ac, ac},
		"an embedded one":     struct{ authcontext.AuthContext }{*ac},
		"an embedded pointer": struct{ *authcontext.AuthContext }{ac},
		"a slice of values":   []authcontext.AuthContext{*ac}, "a slice of pointers": []*authcontext.AuthContext{ac}, "a slice of anything": []any{ac, *ac, identity, none},
		"an array": [1]authcontext.AuthContext{*ac}, "a map of values": map[string]authcontext.AuthContext{"k": *ac}, "a map of anything": map[string]any{"k": *ac, "p": ac, "i": identity},
		"a group": slog.GroupValue(slog.Any("p", ac), slog.Any("v", *ac)),
	}
	secrets := []string{claim, id, fmt.Sprintf("%x", claim), fmt.Sprintf("%x", id)}
	for name, v := range values {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				logger := slog.New(handler)
				logger.Info("who", "c", v)
				logger.With("c", v).WithGroup("g").Info("who", slog.Group("h", slog.Any("c", v)))
			}
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
			for _, secret := range secrets {
				if strings.Contains(out.String(), secret) {
					t.Errorf("%q was printed:\n%s", secret, out.String())
				}
			}
		})
	}
}

// fmt calls no methods there, but does not look behind the pointer either.
func TestAPointerInAnUnexportedFieldIsPrintedAsOne(t *testing.T) {
	v := struct{ p *authcontext.AuthContext }{&authcontext.AuthContext{Claims: map[string]any{"token": "s3cr3t"}}}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v", v, v, v)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("who", "c", v)
	}
	if strings.Contains(out.String(), "s3cr3t") {
		t.Errorf("printed:\n%s", out.String())
	}
}

func TestWhoIsLogged(t *testing.T) {
	ac := &authcontext.AuthContext{Subject: "ada", Name: "Ada", Roles: []string{"r"}, Scopes: []string{"s"}, Type: "session"}
	var none *authcontext.AuthContext
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&out, nil))
	logger.Info("who", "ac", ac, "none", none, "list", []authcontext.AuthContext{*ac}, "text", fmt.Sprint(authcontext.NewIdentity(ac, nil)))
	logger.Info("who", "ac", &authcontext.AuthContext{Subject: "bob", ExpiresAt: time.Unix(0, 0).UTC()})
	for _, want := range []string{
		`"ac":{"subject":"ada","type":"session","name":"Ada","roles":["r"],"scopes":["s"]}`, `"none":"anonymous"`,
		`"list":[{"Subject":"ada","Name":"Ada","Roles":["r"],"Scopes":["s"],"Type":"session"}]`,
		`AuthContext{Subject:\"ada\" Name:\"Ada\" Type:\"session\" Roles:[\"r\"] Scopes:[\"s\"] ExpiresAt:0001-01-01T00:00:00Z}`,
		`"ac":{"subject":"bob","type":"","expires_at":"1970-01-01T00:00:00Z"}`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s was not printed:\n%s", want, out.String())
		}
	}
}

func TestJSONIsForLogs(t *testing.T) {
	ac := authcontext.AuthContext{
		Subject: "ada", Name: "Ada", Type: "session", Roles: []string{"r"}, Scopes: []string{"s"}, ExpiresAt: time.Unix(1, 0).UTC(),
		SessionID: "id", Claims: map[string]any{"a": "b"},
	}
	type whole authcontext.AuthContext
	for claim, v := range map[string]any{"all but claims and session": ac, "all of it, converted": whole(ac)} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		want := ac
		if claim != "all of it, converted" {
			want.SessionID, want.Claims = "", nil
		}
		var got authcontext.AuthContext
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s is read as %#v, %v", claim, text, whole(got), err)
		}
	}
	if text, err := json.Marshal((*authcontext.AuthContext)(nil)); err != nil || string(text) != "null" {
		t.Errorf("nil: %s, %v", text, err)
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
