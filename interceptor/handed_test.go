package interceptor_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestCredentialsThatAreNamedAreNotLogged: a verifier that is handed a credential by
// WithKeyHeaders may quote it, as it may one that an extractor found.
func TestCredentialsThatAreNamedAreNotLogged(t *testing.T) {
	for _, name := range []string{"Authorization", "Cookie"} {
		var logged strings.Builder
		verify := func(_ context.Context, _ string, header http.Header) (*benchSession, error) {
			return nil, errors.New("asking with " + header.Get(name))
		}
		a, err := interceptor.NewSessionAuth(verify, benchMap, interceptor.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))),
			interceptor.WithExtractors(authmd.HeaderToken("X-Token")), interceptor.WithKeyHeaders(name))
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"X-Token": {"t0ken"}, name: {"sid=hunter2-and-more"}}
		if _, err := a.Authenticate(t.Context(), header); err == nil {
			t.Fatal("it was let in")
		}
		if got := logged.String(); !strings.Contains(got, "asking with") || strings.Contains(got, "hunter2") {
			t.Errorf("%s: logged %s", name, got)
		}
	}
}

// TestConnectionIsBounded: each name in it is compared with every header.
func TestConnectionIsBounded(t *testing.T) {
	verify := func(context.Context, string, http.Header) (*benchSession, error) { return &benchSession{"user-1"}, nil }
	a, err := interceptor.NewSessionAuth(verify, benchMap)
	if err != nil {
		t.Fatal(err)
	}
	for size, good := range map[int]bool{4 << 10: true, 4<<10 + 1: false} {
		header := http.Header{"Authorization": {"Bearer t"}, "Connection": {strings.Repeat(",", size)}}
		if _, err := a.Authenticate(t.Context(), header); (err == nil) != good {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestCredentialsAreCountedOverAllExtractors: several may find the same ones.
func TestCredentialsAreCountedOverAllExtractors(t *testing.T) {
	a := newBenchAuth(t, interceptor.WithExtractors(authmd.Cookie("s"), authmd.Cookie("s", "other")))
	_, err := a.Authenticate(t.Context(), http.Header{"Cookie": {strings.Repeat("s=1;", 129)}})
	if err == nil || !strings.HasSuffix(err.Error(), "invalid session") {
		t.Errorf("258 credentials: %v", err)
	}
}
