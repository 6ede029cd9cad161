//go:build !race

package httpauth_test

import (
	"net/http"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
)

// TestAHitAllocatesOnce: the request of the handler, the context and the session are one. With the race
// detector a pool forgets.
func TestAHitAllocatesOnce(t *testing.T) {
	var o authtest.Owner
	r := newRequest(t, http.MethodGet, "http://api.test/", nil, bearer(o.SignIn(authcontext.AuthContext{Subject: "ada"}))...)
	handler, served := protect(t, newAuth(t, &o), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, ok := authcontext.FromContext(r.Context()); !ok {
			t.Error("nobody")
		}
	})), &discard{http.Header{}}
	if n := testing.AllocsPerRun(200, func() { handler.ServeHTTP(served, r) }); n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}
