package sessionauth_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// record is a session as the owner in these tests keeps it.
type record struct {
	User    string
	Roles   []string
	Expires time.Time
	ID      string
}

// owner is the owner of sessions: what better-auth or a database is in production.
type owner struct {
	mu       sync.Mutex
	sessions map[string]*record
	fail     error // what every verification returns, if not nil
	verified atomic.Int64
	headers  []http.Header // of every verification
}

func newOwner(tokens ...string) *owner {
	o := &owner{sessions: map[string]*record{}}
	for _, token := range tokens {
		o.sessions[token] = &record{User: "user-of-" + token, Roles: []string{"reader"}, ID: "session-of-" + token}
	}
	return o
}

func (o *owner) verify(_ context.Context, token string, header http.Header) (*record, error) {
	o.verified.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.headers = append(o.headers, header)
	if o.fail != nil {
		return nil, o.fail
	}
	if r := o.sessions[token]; r != nil {
		return r, nil
	}
	return nil, errors.Join(errors.New("owner: no row"), interceptor.ErrInvalidSession)
}

func (o *owner) set(token string, r *record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sessions[token] = r
}

func (o *owner) setFail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = err
}

func (o *owner) lastHeader() http.Header {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.headers[len(o.headers)-1]
}

func mapRecord(_ context.Context, r *record) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: r.User, Roles: r.Roles, ExpiresAt: r.Expires, SessionID: r.ID}, nil
}

// service answers every kind of call with the subject of its caller, "anonymous"
// when there is none, and remembers the metadata that reached it.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
	mu   sync.Mutex
	seen grpcmd.MD
}

func (s *service) whoami(ctx context.Context) *grpc_testing.Payload {
	md, _ := grpcmd.FromIncomingContext(ctx)
	s.mu.Lock()
	s.seen = md
	s.mu.Unlock()
	subject := "anonymous"
	if ac, ok := authcontext.FromContext(ctx); ok {
		subject = ac.Subject
	}
	return &grpc_testing.Payload{Body: []byte(subject)}
}

func (s *service) lastSeen() grpcmd.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *service) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	return &grpc_testing.SimpleResponse{Payload: s.whoami(ctx)}, nil
}

func (s *service) StreamingOutputCall(
	_ *grpc_testing.StreamingOutputCallRequest, stream grpc_testing.TestService_StreamingOutputCallServer,
) error {
	return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: s.whoami(stream.Context())})
}

func (s *service) StreamingInputCall(stream grpc_testing.TestService_StreamingInputCallServer) error {
	size := int32(0)
	for {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	// The response of this method has room for a number only: the subject's length.
	size += int32(len(s.whoami(stream.Context()).GetBody()))
	return stream.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: size})
}

func (s *service) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	for {
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		payload := s.whoami(stream.Context())
		if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload}); err != nil {
			return err
		}
	}
}

// kinds are the four kinds of call. Each returns the subject that the service saw.
var kinds = map[string]func(ctx context.Context, c grpc_testing.TestServiceClient, want string) (string, error){
	"unary": func(ctx context.Context, c grpc_testing.TestServiceClient, _ string) (string, error) {
		r, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
		return string(r.GetPayload().GetBody()), err
	},
	"server stream": func(ctx context.Context, c grpc_testing.TestServiceClient, _ string) (string, error) {
		stream, err := c.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
		if err != nil {
			return "", err
		}
		r, err := stream.Recv()
		if err != nil {
			return "", err
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			return "", err
		}
		return string(r.GetPayload().GetBody()), nil
	},
	"client stream": func(ctx context.Context, c grpc_testing.TestServiceClient, want string) (string, error) {
		stream, err := c.StreamingInputCall(ctx)
		if err != nil {
			return "", err
		}
		// A refused stream shows its error when it is received from, not before.
		if err := stream.Send(&grpc_testing.StreamingInputCallRequest{}); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		r, err := stream.CloseAndRecv()
		if err == nil && int(r.GetAggregatedPayloadSize()) == len(want) {
			return want, nil
		}
		return "", err
	},
	"bidi stream": func(ctx context.Context, c grpc_testing.TestServiceClient, _ string) (string, error) {
		stream, err := c.FullDuplexCall(ctx)
		if err != nil {
			return "", err
		}
		if err := stream.Send(&grpc_testing.StreamingOutputCallRequest{}); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		r, err := stream.Recv()
		if err != nil {
			return "", err
		}
		if err := stream.CloseSend(); err != nil {
			return "", err
		}
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			return "", err
		}
		return string(r.GetPayload().GetBody()), nil
	},
}

// eachKind runs f for each kind of call, in a fixed order.
func eachKind(t *testing.T, f func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error))) {
	t.Helper()
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) { f(t, kinds[kind]) })
	}
}

// serve starts srv on bufconn with these options and returns a client of it.
func serve(t *testing.T, srv grpc_testing.TestServiceServer, opts ...grpc.ServerOption) grpc_testing.TestServiceClient {
	t.Helper()
	return grpc_testing.NewTestServiceClient(dial(t, srv, opts...))
}

// serveTo is serve for a client with these options.
func serveTo(t *testing.T, srv grpc_testing.TestServiceServer, opts []grpc.ServerOption, dialOpts ...grpc.DialOption) grpc_testing.TestServiceClient {
	t.Helper()
	return grpc_testing.NewTestServiceClient(authtest.Start(t, registering(srv), opts...).Dial(dialOpts...))
}

// dial is serve for calls of any method.
func dial(t *testing.T, srv grpc_testing.TestServiceServer, opts ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	return authtest.Start(t, registering(srv), opts...).Conn
}

func registering(srv grpc_testing.TestServiceServer) func(*grpc.Server) {
	return func(server *grpc.Server) { grpc_testing.RegisterTestServiceServer(server, srv) }
}

// newAuth returns an Authenticator in front of o.
func newAuth(t *testing.T, o *owner, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	a, err := interceptor.NewSessionAuth(o.verify, mapRecord, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// with returns the context of a call that carries these pairs of metadata.
func with(t *testing.T, pairs ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return grpcmd.AppendToOutgoingContext(ctx, pairs...)
}

func bearer(t *testing.T, token string) context.Context {
	t.Helper()
	return with(t, "authorization", "Bearer "+token)
}

// refusal is what a client is told.
type refusal struct {
	code    codes.Code
	message string
	reason  string
}

// check compares err, as a client got it, with the refusal.
func (want refusal) check(t *testing.T, err error) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || err == nil {
		t.Fatalf("err = %v, want a status %v", err, want.code)
	}
	got := refusal{code: st.Code(), message: st.Message()}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			got.reason = info.GetReason()
			if info.GetDomain() != reason.Domain {
				t.Errorf("ErrorInfo domain = %q", info.GetDomain())
			}
		}
	}
	if got != want {
		t.Errorf("client got %+v, want %+v", got, want)
	}
}

var (
	missing     = refusal{codes.Unauthenticated, "missing credentials", string(reason.MissingCredentials)}
	ambiguous   = refusal{codes.Unauthenticated, "ambiguous credentials", string(reason.AmbiguousCredentials)}
	invalid     = refusal{codes.Unauthenticated, "invalid session", string(reason.InvalidSession)}
	expired     = refusal{codes.Unauthenticated, "invalid session", string(reason.SessionExpired)}
	notVerified = refusal{codes.Unauthenticated, "session verification failed", string(reason.VerificationFailed)}
	notMapped   = refusal{codes.Unauthenticated, "session mapping failed", string(reason.VerificationFailed)}
	unavailable = refusal{codes.Unavailable, "session verification unavailable", string(reason.VerificationUnavailable)}
)

// headersOfLast is lastHeader for when there may have been no verification.
func (o *owner) headersOfLast() http.Header {
	if o.verified.Load() == 0 {
		return nil
	}
	return o.lastHeader()
}

// bearerCtx is bearer without a deadline.
func bearerCtx(token string) context.Context {
	return authtest.WithBearer(context.Background(), token)
}

func contains(s, substr string) bool { return strings.Contains(s, substr) }

// heap is what is in use after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// goexit ends the goroutine, as testing.T.FailNow does.
func goexit() { runtime.Goexit() }
