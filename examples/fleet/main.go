// Fleet shows three replicas of a service that forget and remember together: a real
// redis-server, an owner of sessions, three gRPC servers in processes of their own, and a page on
// which a sign-out is seen to reach all of them.
//
//	go -C examples/fleet run .
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
	if len(os.Args) == 2 { // the same program in another role, started by itself
		if role, ok := roles[os.Args[1]]; ok {
			if err := role(os.Stdin, os.Stdout); err != nil {
				fmt.Fprintf(os.Stderr, "%s: %v\n", os.Args[1], err)
				os.Exit(1)
			}
			return
		}
	}
	addr := flag.String("addr", "127.0.0.1:8080", "loopback address of the page; port 0: any")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, timing{}); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

// run serves until ctx ends, and then leaves no process behind.
func run(ctx context.Context, out io.Writer, addr string, t timing) (err error) {
	listener, err := listen(ctx, addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // Serve has closed it, unless nothing was served
	f, err := startFleet(ctx, out, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.stop()) }()

	// A watched stream is open for as long as its page is: what ends it is this context.
	pages, endPages := context.WithCancel(context.Background())
	defer endPages()
	page, err := newPage(f, listener.Addr())
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           page,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return pages },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "\nOpen http://%s in a browser. Stop with Ctrl-C.\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case name := <-f.ended:
		_ = server.Close()
		<-served
		if ctx.Err() != nil { // Ctrl-C reaches all processes of a terminal
			return nil
		}
		return fmt.Errorf("%s has ended by itself", name)
	case <-ctx.Done():
	}
	endPages()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
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
