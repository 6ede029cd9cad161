package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/internal/envoy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func needEnvoy(t *testing.T) {
	t.Helper()
	if _, err := envoy.Path(t.Context()); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func TestDemonstration(t *testing.T) {
	needEnvoy(t)
	var out bytes.Buffer
	if err := run(t.Context(), &out, false); err != nil {
		t.Fatal(err)
	}
	want := `allowed a call with a token hello, ada [user]
allowed the same token as a cookie hello, ada [user]
allowed a file, with the token a file for ada
denied a call without credentials Unauthenticated: missing credentials (MISSING_CREDENTIALS)
denied a token that nobody gave out Unauthenticated: invalid session (INVALID_SESSION)
denied two tokens Unauthenticated: ambiguous credentials (AMBIGUOUS_CREDENTIALS)
denied an identity of the client's own Unauthenticated: missing credentials (MISSING_CREDENTIALS)
allowed the same beside a token hello, ada [user]
denied a method for admins PermissionDenied: access denied (ACCESS_DENIED)
allowed the same, by an admin done
denied a file, without credentials 401 Unauthorized {"type":"about:blank","title":"Unauthorized","status":401,"detail":"missing credentials","reason":"MISSING_CREDENTIALS"}
allowed ada, while the sessions' owner is away hello, ada [user]
denied bob, who is not in memory Unavailable: session verification unavailable (VERIFICATION_UNAVAILABLE)
ended a stream, with its session after 2 s Unauthenticated: invalid session (SESSION_EXPIRED)
ended ada's session, after her sign-out Unauthenticated: invalid session (INVALID_SESSION)`
	_, said, _ := strings.Cut(out.String(), "\n")
	var got []string
	for line := range strings.Lines(said) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if all := strings.Join(got, "\n"); all != want {
		t.Errorf("got\n%s\nwant\n%s", all, want)
	}
}

func TestServe(t *testing.T) {
	needEnvoy(t)
	ctx, stop := context.WithCancel(t.Context())
	var out stopper
	out.stop = stop
	if err := run(ctx, &out, true); err != nil || !strings.Contains(out.String(), "grpcurl -plaintext") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// stopper stops what writes to it when that has said all.
type stopper struct {
	bytes.Buffer

	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("Ctrl-C")) {
		s.stop()
	}
	return s.Buffer.Write(p)
}
