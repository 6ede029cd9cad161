package sessionauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

func newForwarder(t *testing.T, opts ...clientauth.Option) *clientauth.Forwarder {
	t.Helper()
	f, err := clientauth.NewForwarder(opts...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// onBehalfOf is with for a call in the name of ac.
func onBehalfOf(t *testing.T, ac *authcontext.AuthContext, pairs ...string) context.Context {
	t.Helper()
	return authcontext.NewContext(with(t, pairs...), ac)
}

// relay answers with what another service answers, to which it passes on all the
// metadata that it sees.
type relay struct {
	grpc_testing.UnimplementedTestServiceServer

	next grpc_testing.TestServiceClient
	via  func(context.Context, grpc_testing.TestServiceClient, string) (string, error)
}

func (s *relay) ask(ctx context.Context) (*grpc_testing.Payload, error) {
	md, _ := grpcmd.FromIncomingContext(ctx)
	for _, key := range []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"} {
		delete(md, key)
	}
	subject, err := s.via(grpcmd.NewOutgoingContext(ctx, md), s.next, "ann")
	return &grpc_testing.Payload{Body: []byte(subject)}, err
}

func (s *relay) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	payload, err := s.ask(ctx)
	return &grpc_testing.SimpleResponse{Payload: payload}, err
}

func (s *relay) StreamingOutputCall(
	_ *grpc_testing.StreamingOutputCallRequest, stream grpc_testing.TestService_StreamingOutputCallServer,
) error {
	payload, err := s.ask(stream.Context())
	if err != nil {
		return err
	}
	return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload})
}

func (s *relay) StreamingInputCall(stream grpc_testing.TestService_StreamingInputCallServer) error {
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	payload, err := s.ask(stream.Context())
	if err != nil {
		return err
	}
	return stream.SendAndClose(&grpc_testing.StreamingInputCallResponse{AggregatedPayloadSize: int32(len(payload.GetBody()))})
}

func (s *relay) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	payload, err := s.ask(stream.Context())
	if err != nil {
		return err
	}
	return stream.Send(&grpc_testing.StreamingOutputCallResponse{Payload: payload})
}

// recorder remembers the identity of the last call.
type recorder struct {
	service
	last atomic.Pointer[authcontext.AuthContext]
}

func (s *recorder) intercept() []grpc.ServerOption {
	keep := func(ctx context.Context) {
		ac, _ := authcontext.FromContext(ctx)
		s.last.Store(ac)
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			keep(ctx)
			return handler(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			keep(stream.Context())
			return handler(srv, stream)
		}),
	}
}

func TestIdentityTravelsFromServiceToService(t *testing.T) {
	eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
		want := &authcontext.AuthContext{
			Subject: "ann", Name: "Ann Ågren", Roles: []string{"a,b", "c d"}, Scopes: []string{"read", "write"}, Type: "session",
			Claims:    map[string]any{"org": "o1", "token": "s3cr3t"},
			ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
		}
		a, err := interceptor.NewSessionAuth(
			func(context.Context, string, http.Header) (string, error) { return "ann", nil },
			func(context.Context, string) (*authcontext.AuthContext, error) { return want, nil })
		if err != nil {
			t.Fatal(err)
		}
		onward := newForwarder(t, clientauth.WithSharedSecret(gatewaySecret), clientauth.WithForwardedClaims("org", "absent"), clientauth.WithInsecureTransport())
		trusting := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).ServerOptions()

		last := &recorder{}
		third := serveTo(t, last, append(trusting, last.intercept()...), onward.DialOptions()...)
		second := serveTo(t, &relay{next: third, via: call}, trusting, onward.DialOptions()...)
		first := serve(t, &relay{next: second, via: call}, a.ServerOptions()...)

		subject, err := call(with(t, "authorization", "Bearer s", "x-auth-subject", "mallory", "x_auth_subject", "mallory",
			"x-gateway-secret", "mine", "x_gateway_secret", "mine", "x-other", "kept"), first, "ann")
		if err != nil || subject != "ann" {
			t.Fatalf("the third service saw %q, %v", subject, err)
		}
		want.Claims = map[string]any{"org": "o1"}
		if got := last.last.Load(); !reflect.DeepEqual(got, want) {
			t.Errorf("the third service saw %v %v,\nwant %v", got, got.Claims, want)
		}
		if seen := last.lastSeen(); seen.Get("authorization") != nil || seen.Get("x-other") == nil {
			t.Errorf("the third service received %v", seen)
		}
	})
}

// told are credentials of a call that tell an identity.
type told map[string]string

func (c told) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return c, nil
}
func (told) RequireTransportSecurity() bool { return false }

// Credentials that an interceptor sets after the Forwarder are nobody's to look at before
// they are sent. The other side does.
func TestAnIdentityThatIsToldTwiceIsRefused(t *testing.T) {
	onward := newForwarder(t, clientauth.WithSharedSecret(gatewaySecret), clientauth.WithInsecureTransport()).DialOptions()
	later := grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		return invoker(ctx, method, req, reply, cc, append(opts, grpc.PerRPCCredentials(told{"x-auth-subject": "mallory"}))...)
	})
	malformed := refusal{codes.Unauthenticated, "malformed identity", string(reason.MalformedIdentity)}
	for name, test := range map[string]struct {
		dial []grpc.DialOption
		want *refusal
	}{
		"by one that runs later":   {append(onward, later), &malformed},
		"by one that runs earlier": {append([]grpc.DialOption{later}, onward...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			client := serveTo(t, &service{}, newGateway(t, interceptor.WithSharedSecrets(gatewaySecret)).ServerOptions(), test.dial...)
			r, err := client.UnaryCall(onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}), &grpc_testing.SimpleRequest{})
			if test.want != nil {
				test.want.check(t, err)
			} else if err != nil || string(r.GetPayload().GetBody()) != "ann" {
				t.Errorf("the service saw %q, %v", r.GetPayload().GetBody(), err)
			}
		})
	}
}
