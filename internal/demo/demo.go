// Package demo is what the examples of several packages stand on: a store of sessions
// and a server in memory.
package demo

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

var sessions = map[string][]string{ // by token: a user and its roles
	"token-of-ada": {"ada", "admin"},
	"token-of-bob": {"bob", "intern"},
	"token-of-eve": {"eve", "editor"},
}

// Verify is an interceptor.VerifyFunc.
func Verify(_ context.Context, token string, _ http.Header) ([]string, error) {
	return sessions[token], nil
}

// MapSession is an interceptor.MapFunc.
func MapSession(_ context.Context, s []string) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s[0], Roles: s[1:]}, nil
}

// Dial starts server in memory and connects to it. stop ends both.
func Dial(server *grpc.Server) (conn *grpc.ClientConn, stop func()) {
	const buffer = 1 << 16
	listener := bufconn.Listen(buffer)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		log.Fatal(err)
	}
	return conn, func() {
		_ = conn.Close()
		server.Stop()
		if err := <-served; err != nil {
			log.Fatal(err)
		}
	}
}

// Describe returns answer, or what err says of its code and message.
func Describe(answer string, err error) string {
	if err != nil {
		return fmt.Sprintf("%v: %s", status.Code(err), status.Convert(err).Message())
	}
	return answer
}
