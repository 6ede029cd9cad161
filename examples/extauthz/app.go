package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/envoy"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

//go:embed envoy.yaml
var configuration string

// startTimeout bounds how long Envoy may take to be up.
const startTimeout = 30 * time.Second

// reflectionMethods let tools such as grpcurl list the services. They need no session here.
const reflectionMethods = "grpc.reflection.v1.ServerReflection/*"

// newAuth returns what Envoy asks: who calls, and who may.
func newAuth(s *sessions) (*interceptor.Authenticator, *authz.Authorizer, error) {
	auth, err := interceptor.NewSessionAuth(s.verify, identify,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}),
		interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid")),
		interceptor.WithSkipMethods(reflectionMethods),
	)
	if err != nil {
		return nil, nil, err
	}
	rules, err := authz.New(
		authz.WithPublicMethods(reflectionMethods),
		authz.WithRules(
			authz.Rule{
				Name: "users", Effect: authz.Allow, Roles: []string{"user"},
				Methods: []string{"grpc.testing.TestService/UnaryCall", "grpc.testing.TestService/FullDuplexCall"},
			},
			authz.Rule{Name: "admins", Effect: authz.Allow, Roles: []string{"admin"}, Methods: []string{"*"}},
		))
	return auth, rules, err
}

// app is everything that runs.
type app struct {
	address  string // of Envoy
	sessions *sessions
	auth     *interceptor.Authenticator
	stops    []func() // in the order in which they were started
}

// start starts the server that Envoy asks, the service and the website behind it, and Envoy.
func start(ctx context.Context, out io.Writer) (a *app, err error) {
	a = &app{sessions: newSessions()}
	defer func() {
		if err != nil {
			a.stop()
		}
	}()
	dir, err := os.MkdirTemp("", "envoy") // nobody else may open what is in there
	if err != nil {
		return nil, err
	}
	a.stops = append(a.stops, func() { _ = os.RemoveAll(dir) })
	path := func(name string) string { return filepath.Join(dir, name) }

	auth, rules, err := newAuth(a.sessions)
	if err != nil {
		return nil, err
	}
	a.auth = auth
	secret := rand.Text() + rand.Text()
	check, err := extauthz.New(auth, extauthz.WithAuthorizer(rules), extauthz.WithSharedSecret(secret), extauthz.WithSessionPatterns("GET /files/"))
	if err != nil {
		return nil, err
	}
	ctxOfCheck, stopCheck := context.WithCancel(context.WithoutCancel(ctx))
	if err := a.background(path("check"), func(l net.Listener) error { return check.Serve(ctxOfCheck, l) }, stopCheck); err != nil {
		return nil, err
	}
	guard, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(secret), interceptor.WithSkipMethods(reflectionMethods))
	if err != nil {
		return nil, err
	}
	server := newService(guard)
	if err := a.background(path("service"), server.Serve, server.Stop); err != nil {
		return nil, err
	}
	site := &http.Server{Handler: newWebsite(guard), ReadHeaderTimeout: startTimeout}
	if err := a.background(path("website"), site.Serve, func() { _ = site.Close() }); err != nil {
		return nil, err
	}
	return a, a.startEnvoy(ctx, out, dir)
}

// startEnvoy starts Envoy with envoy.yaml, at addresses of this machine.
func (a *app) startEnvoy(ctx context.Context, out io.Writer, dir string) error {
	fmt.Fprintln(out, "Looking for Envoy; the first time it is installed.")
	program, err := envoy.Path(ctx)
	if err != nil {
		return err
	}
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.address = free.Addr().String()
	_, port, _ := net.SplitHostPort(a.address)
	_ = free.Close()
	pipe := func(name string) string { return "pipe: { path: " + filepath.Join(dir, name) + " }" }
	p, err := envoy.Start(program, dir, strings.NewReplacer(
		"socket_address: { address: 0.0.0.0, port_value: 8080 }", "socket_address: { address: 127.0.0.1, port_value: "+port+" }",
		"pipe: { path: /run/sessionauth/check.sock }", pipe("check"),
		"socket_address: { address: 127.0.0.1, port_value: 50051 }", pipe("service"),
		"socket_address: { address: 127.0.0.1, port_value: 8000 }", pipe("website"),
	).Replace(configuration), io.Discard)
	if err != nil {
		return err
	}
	a.stops = append(a.stops, func() { p.Stop() })
	return waitFor(ctx, a.address)
}

// waitFor returns when Envoy answers.
func waitFor(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = grpc_testing.NewTestServiceClient(conn).UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.WaitForReady(true))
	if ctx.Err() != nil {
		return fmt.Errorf("envoy is not up: %w", err)
	}
	return nil // it was refused
}

// background serves on a Unix socket until the app is stopped by end.
func (a *app) background(path string, serve func(net.Listener) error, end func()) error {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	a.stops = append(a.stops, func() {
		end()
		if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "extauthz:", err)
		}
	})
	return nil
}

// stop ends everything, what was started last first.
func (a *app) stop() {
	for _, stop := range slices.Backward(a.stops) {
		stop()
	}
}
