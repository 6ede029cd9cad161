// Betterauth shows session authentication for gRPC in a browser: a real better-auth
// server, a Go server that speaks gRPC, Connect, gRPC-Web and REST, and a page.
//
//	go -C examples/betterauth run .
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "loopback address of the page; port 0: any")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "betterauth:", err)
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// run serves until ctx ends, and then leaves no process behind.
func run(ctx context.Context, out io.Writer, addr string) (err error) {
	listener, err := listen(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // Serve has closed it, unless nothing was served
	origins, err := origins(listener)
	if err != nil {
		return err
	}
	owner, err := startOwner(ctx, out, "node", origins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, owner.stop()) }()
	app, err := newApp(ctx, owner, origins)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.close()) }()

	server := &http.Server{
		Handler:           app.handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "\nOpen %s in a browser. Stop with Ctrl-C.\n", origins[0])
	fmt.Fprintf(out, "Native gRPC is served on %s.\n", app.grpcAddr)

	select {
	case err := <-served:
		return err
	case <-owner.ended: // and stop says how
		_ = server.Close()
		<-served
		return errors.New("the better-auth server has ended by itself")
	case <-ctx.Done():
	}
	app.endStreams() // or Shutdown would wait for them
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(bounded); err != nil {
		_ = server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listen listens on a loopback address: there is no TLS here, and a session cookie is
// as good as a password.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("%s is not a loopback address", addr)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w (is another one up? -addr 127.0.0.1:0 takes any free port)", err)
	}
	return listener, nil
}

// origins are the names under which a browser on this machine reaches the listener.
func origins(listener net.Listener) ([]string, error) {
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	return []string{"http://" + net.JoinHostPort(host, port), "http://" + net.JoinHostPort("localhost", port)}, nil
}
