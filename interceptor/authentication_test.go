package interceptor_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// TestNothingPrintsWhatIsHandedBack: callbacks hand back cookies, which are credentials.
func TestNothingPrintsWhatIsHandedBack(t *testing.T) {
	a, err := interceptor.NewSessionAuth(func(ctx context.Context, _ string, _ http.Header) (string, error) {
		return "of-the-session", interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {"sid=of-the-cookie"}})
	}, func(context.Context, string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: "ada", SessionID: "of-the-id", Claims: map[string]any{"c": "of-the-claim"}}, nil
	}, interceptor.WithOptionalAuth())
	if err != nil {
		t.Fatal(err)
	}
	found, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer t1"}})
	nobody, nobodyErr := a.Authenticate(t.Context(), nil)
	if err != nil || nobodyErr != nil || found.ResponseHeader.Get("Set-Cookie") == "" {
		t.Fatalf("%v, %v, %v", err, nobodyErr, found)
	}
	for i, v := range []any{nobody, found, &found, []interceptor.Authentication{found}, struct{ A any }{found}} {
		var out bytes.Buffer
		fmt.Fprintf(&out, "%v %+v %#v %s %q\n", v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v)
		if text := out.String(); strings.Contains(text, "of-the-") || strings.Contains(text, "ada") != (i > 0) {
			t.Errorf("%T prints %s", v, text)
		}
	}
	if text := fmt.Sprint(nobody); text != "anonymous" {
		t.Errorf("nobody is printed as %q", text)
	}
}
