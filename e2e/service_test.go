package e2e_test

import (
	"context"
	"encoding/json"
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

// service tells callers who they are.
type service struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (service) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	who, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(identity{who.Subject, who.Name, who.Roles, who.Claims, who.ExpiresAt, who.SessionID})
	if err != nil {
		return nil, err
	}
	return &grpc_testing.SimpleResponse{Payload: &grpc_testing.Payload{Body: body}}, nil
}

// identity is what a handler knows of its caller.
type identity struct {
	Subject, Name string
	Roles         []string
	Claims        map[string]any
	ExpiresAt     time.Time
	SessionID     string
}

func register(server *grpc.Server) { grpc_testing.RegisterTestServiceServer(server, service{}) }

// newAuth returns an Authenticator of a verifier's callbacks.
func newAuth[S any](
	t *testing.T, verify interceptor.VerifyFunc[S], mapSession interceptor.MapFunc[S], opts ...interceptor.Option,
) *interceptor.Authenticator {
	t.Helper()
	auth, err := interceptor.NewSessionAuth(verify, mapSession, append([]interceptor.Option{interceptor.WithKeyHeaders()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// client calls the service as one user or another.
type client struct {
	grpc_testing.TestServiceClient
}

// dial returns a client of a server behind auth.
func dial(t *testing.T, auth *interceptor.Authenticator) client {
	t.Helper()
	return client{grpc_testing.NewTestServiceClient(authtest.Start(t, register, auth.ServerOptions()...).Conn)}
}

// call makes a call with pairs of metadata.
func (c client) call(t *testing.T, pairs []string, opts ...grpc.CallOption) (identity, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(grpcmd.AppendToOutgoingContext(t.Context(), pairs...), 20*time.Second)
	defer cancel()
	response, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, opts...)
	if err != nil {
		return identity{}, err
	}
	var who identity
	if body := response.GetPayload().GetBody(); len(body) > 0 {
		if err := json.Unmarshal(body, &who); err != nil {
			t.Fatal(err)
		}
	}
	return who, nil
}

// accept fails the test unless a call with this metadata is this user's.
func (c client) accept(t *testing.T, subject string, pairs ...string) identity {
	t.Helper()
	who, err := c.call(t, pairs)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	if who.Subject != subject {
		t.Fatalf("answered as %q, want %q", who.Subject, subject)
	}
	return who
}

// refuse fails the test unless a call with this metadata is refused for this reason.
func (c client) refuse(t *testing.T, code codes.Code, reason string, pairs ...string) error {
	t.Helper()
	who, err := c.call(t, pairs)
	if err == nil {
		t.Fatalf("let in as %q", who.Subject)
	}
	if status.Code(err) != code || reasonOf(err) != reason {
		t.Fatalf("got %v (%s), want %v (%s)", err, reasonOf(err), code, reason)
	}
	return err
}

// invalid is refuse for a session that is none.
func (c client) invalid(t *testing.T, pairs ...string) {
	t.Helper()
	_ = c.refuse(t, codes.Unauthenticated, string(reason.InvalidSession), pairs...)
}

// unavailable is refuse for an owner that cannot be asked.
func (c client) unavailable(t *testing.T, pairs ...string) error {
	t.Helper()
	return c.refuse(t, codes.Unavailable, string(reason.VerificationUnavailable), pairs...)
}

func reasonOf(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
