package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// demo plays a client against a real server. The first step that does not come out
// as it should ends it.
type demo struct {
	out    io.Writer
	store  *store
	auth   *interceptor.Authenticator
	client grpc_testing.TestServiceClient
	err    error
}

// runDemo starts a server on loopback and shows each step on out.
func runDemo(ctx context.Context, out io.Writer) (err error) {
	s, traces := newStore(), newTracing()
	server, auth, err := newServer(s, traces, cache.Policy{TTL: time.Minute})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.GracefulStop()
		err = errors.Join(err, <-served)
	}()
	client, conn, err := dial(listener.Addr().String())
	if err != nil {
		return err
	}
	d := &demo{out: out, store: s, auth: auth, client: client}
	fmt.Fprintf(out, "A gRPC server with session authentication listens on %s.\n", listener.Addr())
	d.refusals(ctx)
	token := d.signedIn(ctx)
	d.denied(ctx, token)
	d.signedOut(ctx, token)
	d.expired(ctx)
	if err := errors.Join(d.err, conn.Close()); err != nil {
		return err
	}
	server.GracefulStop() // every RPC's span has ended now
	fmt.Fprintln(out, "\nThe trace of the first call that was let in:")
	return traces.print(out, telemetry.SpanVerify)
}

func (d *demo) refusals(ctx context.Context) {
	d.say("Nobody in particular calls")
	d.call(ctx, "", "", reason.MissingCredentials, 0)
	d.say("Somebody calls with a token that was never issued")
	d.call(ctx, "authorization", "Bearer made-up", reason.InvalidSession, 1)
}

func (d *demo) signedIn(ctx context.Context) (token string) {
	d.say("Ada signs in and calls with her token as a bearer; a rule allows it")
	token = d.signIn(time.Hour)
	d.call(ctx, "authorization", "Bearer "+token, "", 1)
	d.say("She calls again: memory answers, the store is not asked")
	d.call(ctx, "authorization", "Bearer "+token, "", 0)
	d.say("Her browser sends the same token as a cookie: another place, another answer")
	d.call(ctx, "cookie", "theme=dark; sid="+token, "", 1)
	return token
}

// denied shows that a session is not everything.
func (d *demo) denied(ctx context.Context, token string) {
	d.say("She calls a method that a rule keeps for admins")
	ctx, cancel := context.WithTimeout(grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), 10*time.Second)
	defer cancel()
	_, err := d.client.EmptyCall(ctx, &grpc_testing.Empty{})
	d.expect("the call", err, reason.AccessDenied)
}

// signedOut shows that signing out ends an open stream.
func (d *demo) signedOut(ctx context.Context, token string) {
	d.say("She opens a stream, with the bearer again")
	ctx, cancel := context.WithTimeout(grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), 10*time.Second)
	defer cancel()
	stream, err := d.client.FullDuplexCall(ctx)
	if d.failed(err) {
		return
	}
	for range 2 {
		if d.failed(stream.Send(&grpc_testing.StreamingOutputCallRequest{})) {
			return
		}
		r, err := stream.Recv()
		if d.failed(err) {
			return
		}
		fmt.Fprintf(d.out, "   ← %s\n", r.GetPayload().GetBody())
	}
	d.say("She signs out elsewhere; the store tells the server to forget her session")
	d.store.signOut(token)
	if d.failed(d.auth.Forget(ctx, token)) {
		return
	}
	_, err = stream.Recv()
	d.expect("the open stream", err, reason.InvalidSession)
	d.call(ctx, "", "", reason.InvalidSession, 1)
}

func (d *demo) expired(ctx context.Context) {
	const lasts = 300 * time.Millisecond
	d.say(fmt.Sprintf("Ada signs in for %v only, calls, and calls again after that", lasts))
	token := d.signIn(lasts)
	d.call(ctx, "authorization", "Bearer "+token, "", 1)
	select {
	case <-time.After(lasts):
	case <-ctx.Done():
	}
	d.call(ctx, "authorization", "Bearer "+token, reason.SessionExpired, 1)
}

func (d *demo) say(step string) {
	if d.err == nil {
		fmt.Fprintf(d.out, "\n%s.\n", step)
	}
}

func (d *demo) signIn(lasts time.Duration) string {
	token, err := d.store.signIn("ada", lasts)
	d.failed(err)
	return token
}

// call makes a unary call and compares how it ends, and how often the store was
// asked for it, with what should be.
func (d *demo) call(ctx context.Context, key, value string, want reason.Reason, asks int64) {
	if d.err != nil {
		return
	}
	if key != "" {
		ctx = grpcmd.AppendToOutgoingContext(ctx, key, value)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	before := d.store.asked.Load()
	r, err := d.client.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
	asked := d.store.asked.Load() - before
	if err == nil {
		fmt.Fprintf(d.out, "   ← %s\n", r.GetPayload().GetBody())
	}
	d.expect("the call", err, want)
	fmt.Fprintf(d.out, "   the store was asked: %t\n", asked > 0)
	if d.err == nil && asked != asks {
		d.err = fmt.Errorf("the store was asked %d times, want %d", asked, asks)
	}
}

// expect prints why something was refused and compares it with what should be.
func (d *demo) expect(what string, err error, want reason.Reason) {
	if d.err != nil {
		return
	}
	got := reason.Of(err)
	if err != nil {
		fmt.Fprintf(d.out, "   ✗ %s: %s, %q (%s)\n", what, status.Code(err), status.Convert(err).Message(), got)
	}
	if got != want || err == nil && want != "" {
		d.err = fmt.Errorf("%s ended with reason %q, want %q: %w", what, got, want, err)
	}
}

func (d *demo) failed(err error) bool {
	d.err = errors.Join(d.err, err)
	return d.err != nil
}

func dial(addr string) (grpc_testing.TestServiceClient, *grpc.ClientConn, error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials())) // loopback only
	if err != nil {
		return nil, nil, err
	}
	return grpc_testing.NewTestServiceClient(conn), conn, nil
}
