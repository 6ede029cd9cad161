package extauthz_test

import (
	"testing"

	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

func TestThroughEnvoy(t *testing.T) {
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	f := newFront(t, newServer(t, newAuth(t, &o, interceptor.WithSkipMethods("grpc.testing.TestService/EmptyCall"))), transcoding(t)...)
	r, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), ada), &grpc_testing.SimpleRequest{})
	t.Logf("%s %v", r.GetPayload().GetBody(), err)
	_, err = f.rpc.UnaryCall(t.Context(), &grpc_testing.SimpleRequest{})
	t.Logf("%v", err)
	resp, err := f.web.Get("http://front/files/1")
	t.Log(resp, err)
	t.Log(<-f.log)
	t.Log(<-f.log)
	t.Log(<-f.log)
	t.Log(<-f.log)
	t.Fail()
}
