package httpauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// stricter is an Authenticator that refuses more than its own.
type stricter struct{ *interceptor.Authenticator }

func (s stricter) Authenticate(ctx context.Context, header http.Header) (interceptor.Authentication, error) {
	found, err := s.Authenticator.Authenticate(ctx, header)
	if err == nil && found.AuthContext().Subject != "ada" {
		err = status.Error(codes.PermissionDenied, "only Ada")
	}
	return found, err
}

// TestWhatEmbedsAnAuthenticatorDecidesItself: it is asked, and not what it embeds.
func TestWhatEmbedsAnAuthenticatorDecidesItself(t *testing.T) {
	var o authtest.Owner
	server := httptest.NewServer(protect(t, stricter{newAuth(t, &o)}, who))
	defer server.Close()
	for subject, want := range map[string]int{"ada": http.StatusOK, "bob": http.StatusForbidden} {
		get(t, server, "/", bearer(o.SignIn(authcontext.AuthContext{Subject: subject}))...).mustBe(t, want, "")
	}
}

// TestWhatAHandlerKeepsStaysItsOwn: later requests do not change the request and the identity of one
// that is over, which somebody may still read.
func TestWhatAHandlerKeepsStaysItsOwn(t *testing.T) {
	var o authtest.Owner
	var kept []*http.Request
	handler := protect(t, newAuth(t, &o), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { kept = append(kept, r) }))
	var tokens [64]string
	for i := range 2 * len(tokens) { // each is verified, and then known from memory
		subject, token := fmt.Sprint(i%len(tokens)), &tokens[i%len(tokens)]
		if *token == "" {
			*token = o.SignIn(authcontext.AuthContext{Subject: subject})
		}
		handler.ServeHTTP(httptest.NewRecorder(), newRequest(t, http.MethodGet, "http://api.test/"+subject, nil, bearer(*token)...))
	}
	for i, r := range kept {
		subject := fmt.Sprint(i % len(tokens))
		ac, ok := authcontext.FromContext(r.Context())
		if !ok || ac.Subject != subject || r.URL.Path != "/"+subject {
			t.Errorf("%s has become %v's %s", subject, ac, r.URL)
		}
		<-r.Context().Done()
		if !errors.Is(r.Context().Err(), context.Canceled) {
			t.Error(r.Context().Err())
		}
	}
}
