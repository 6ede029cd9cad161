// Quickstart shows session authentication for gRPC from end to end: a server, an
// owner of sessions in memory, and a client that is let in, refused, answered from
// memory and cut off.
//
//	go run ./examples/quickstart          # the whole demonstration
//	go run ./examples/quickstart -serve   # a server to call yourself
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

func main() {
	serve := flag.Bool("serve", false, "stay up, and print how to call")
	call := flag.Bool("call", false, "call a server that is up, with -token")
	addr := flag.String("addr", "127.0.0.1:50051", "address to serve on, or to call")
	token := flag.String("token", "", "bearer token for -call")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *serve:
		err = runServer(ctx, os.Stdout, *addr)
	case *call:
		err = runCall(ctx, os.Stdout, *addr, *token)
	default:
		err = runDemo(ctx, os.Stdout)
	}
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// runServer serves until ctx ends.
func runServer(ctx context.Context, out io.Writer, addr string) error {
	s := newStore()
	server, _, err := newServer(s, newTracing(), cache.Policy{TTL: time.Minute})
	if err != nil {
		return err
	}
	token, err := s.signIn("ada", time.Hour)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("%w (is another one up? choose an address with -addr)", err)
	}
	at := listener.Addr()
	fmt.Fprintf(out, "Serving on %s. Ada is signed in for an hour. Call from another terminal:\n\n", at)
	fmt.Fprintf(out, "  go run ./examples/quickstart -call -addr %s -token %s\n\n", at, token)
	fmt.Fprintf(out, "or, with grpcurl, as a bearer and as a cookie:\n\n")
	fmt.Fprintf(out, "  grpcurl -plaintext -H 'authorization: Bearer %s' %s grpc.testing.TestService/UnaryCall\n", token, at)
	fmt.Fprintf(out, "  grpcurl -plaintext -H 'cookie: sid=%s' %s grpc.testing.TestService/UnaryCall\n\n", token, at)
	fmt.Fprintln(out, "Stop with Ctrl-C.")
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	server.GracefulStop()
	return <-served
}

// runCall makes one call.
func runCall(ctx context.Context, out io.Writer, addr, token string) (err error) {
	client, conn, err := dial(addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if token != "" {
		ctx = grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	r, err := client.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", r.GetPayload().GetBody())
	return err
}
