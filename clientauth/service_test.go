package clientauth_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

const sharedSecret = "0123456789abcdef0123456789abcdef"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service remembers the metadata of the last call that reached it.
type service struct {
	grpc_testing.UnimplementedTestServiceServer

	mu   sync.Mutex
	seen grpcmd.MD
}

func (s *service) remember(ctx context.Context) {
	md, _ := grpcmd.FromIncomingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = md
}

func (s *service) lastSeen() grpcmd.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *service) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	s.remember(ctx)
	return &grpc_testing.SimpleResponse{}, nil
}

func (s *service) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	s.remember(stream.Context())
	return nil
}

type callFunc func(context.Context, grpc_testing.TestServiceClient, ...grpc.CallOption) error

// kinds are the kinds of call that a client tells apart.
var kinds = map[string]callFunc{
	"unary": func(ctx context.Context, c grpc_testing.TestServiceClient, opts ...grpc.CallOption) error {
		_, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, opts...)
		return err
	},
	"stream": func(ctx context.Context, c grpc_testing.TestServiceClient, opts ...grpc.CallOption) error {
		stream, err := c.FullDuplexCall(ctx, opts...)
		if err != nil {
			return err
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	},
}

func eachKind(t *testing.T, f func(t *testing.T, call callFunc)) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) { f(t, kinds[kind]) })
	}
}

// serveTo starts srv in memory for a client with these options.
func serveTo(t *testing.T, srv *service, opts ...grpc.DialOption) grpc_testing.TestServiceClient {
	t.Helper()
	server, listener, served := grpc.NewServer(), bufconn.Listen(1<<16), make(chan error, 1)
	grpc_testing.RegisterTestServiceServer(server, srv)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///bufconn", append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		// A test that makes no call may end before Serve has begun, which then says so.
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("Serve = %v", err)
		}
	})
	return grpc_testing.NewTestServiceClient(conn)
}

// with returns the context of a call that carries these pairs of metadata.
func with(t *testing.T, pairs ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return grpcmd.AppendToOutgoingContext(ctx, pairs...)
}

// onBehalfOf is with for a call in the name of ac.
func onBehalfOf(t *testing.T, ac *authcontext.AuthContext, pairs ...string) context.Context {
	t.Helper()
	return authcontext.NewContext(with(t, pairs...), ac)
}

func newForwarder(t *testing.T, opts ...clientauth.Option) *clientauth.Forwarder {
	t.Helper()
	f, err := clientauth.NewForwarder(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newBearer(t *testing.T, source clientauth.TokenSource, opts ...clientauth.Option) *clientauth.Credentials {
	t.Helper()
	c, err := clientauth.NewBearer(source, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCookie(t *testing.T, source clientauth.TokenSource, opts ...clientauth.Option) *clientauth.Credentials {
	t.Helper()
	c, err := clientauth.NewCookie("session", source, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// perCall are the credentials of one call.
type perCall struct {
	header map[string]string
	secure bool
	err    error
}

func (c perCall) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return c.header, c.err
}
func (c perCall) RequireTransportSecurity() bool { return c.secure }

// later is an interceptor of another package, which changes calls after, or before, those
// of this one.
func later(change func(context.Context) context.Context, opts ...grpc.CallOption) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(func(
			ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, given ...grpc.CallOption,
		) error {
			return invoker(change(ctx), method, req, reply, cc, append(given, opts...)...)
		}),
		grpc.WithChainStreamInterceptor(func(
			ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, given ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			return streamer(change(ctx), desc, cc, method, append(given, opts...)...)
		}),
	}
}

func asItIs(ctx context.Context) context.Context { return ctx }

// adding is a change of metadata.
func adding(pairs ...string) func(context.Context) context.Context {
	return func(ctx context.Context) context.Context { return grpcmd.AppendToOutgoingContext(ctx, pairs...) }
}

// refusal is what the caller is told.
type refusal struct {
	code    codes.Code
	message string
	reason  reason.Reason
}

var (
	missing         = refusal{codes.Unauthenticated, "missing credentials", reason.MissingCredentials}
	notForwarded    = refusal{codes.Internal, "identity cannot be forwarded", reason.IdentityNotForwarded}
	noCredential    = refusal{codes.Unauthenticated, "credential unavailable", reason.CredentialUnavailable}
	delayed         = refusal{codes.Unavailable, "credential unavailable", reason.CredentialUnavailable}
	refusedInsecure = refusal{codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection", ""}
)

// check compares err, as a caller got it, with the refusal.
func (want refusal) check(t *testing.T, err error) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || err == nil {
		t.Fatalf("err = %v, want a status %v", err, want.code)
	}
	if got := (refusal{st.Code(), st.Message(), reason.Of(err)}); got != want {
		t.Errorf("the caller got %+v, want %+v", got, want)
	}
}
