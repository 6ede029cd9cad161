package sessionauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"
	"time"

	mwauth "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/internal/doors"
	internalrefusal "github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// authn is what all three ways to find out who calls can do.
type authn interface {
	httpauth.Authn
	ServerOptions() []grpc.ServerOption
	AuthFunc(ctx context.Context) (context.Context, error)
}

// asked asks a server by one door.
type asked func(t *testing.T, c doors.Case) doors.Answer

// doorsOf opens every door of the root module.
func doorsOf(t *testing.T, of authn, d *doors.Doors) map[string]asked {
	t.Helper()
	rules := d.Rules.ServerOptions()
	byInterceptors := authtest.Start(t, registerSubject, append(of.ServerOptions(), rules...)...)
	byAuthFunc := authtest.Start(t, registerSubject, append([]grpc.ServerOption{
		grpc.ChainUnaryInterceptor(mwauth.UnaryServerInterceptor(of.AuthFunc)), grpc.ChainStreamInterceptor(mwauth.StreamServerInterceptor(of.AuthFunc)),
	}, rules...)...)
	opts := []httpauth.Option{httpauth.WithAuthorizer(d.Rules), httpauth.WithMethods(map[string]string{
		"/": "grpc.testing.TestService/UnaryCall", "/public": doors.PublicUnary,
	})}
	protect, err := httpauth.Middleware(of, opts...)
	if err != nil {
		t.Fatal(err)
	}
	answers, err := httpauth.ForwardAuth(of, append(opts, httpauth.WithForwardedRequest())...)
	if err != nil {
		t.Fatal(err)
	}
	subject := func(w http.ResponseWriter, r *http.Request) {
		ac, _ := authcontext.FromContext(r.Context())
		w.Header().Set("X-Auth-Subject", servedSubject(ac))
	}
	byMiddleware, byProxy := httptest.NewServer(protect(http.HandlerFunc(subject))), httptest.NewServer(answers)
	t.Cleanup(byMiddleware.Close)
	t.Cleanup(byProxy.Close)
	all := map[string]asked{
		"HTTP": func(t *testing.T, c doors.Case) doors.Answer { return overHTTP(t, byMiddleware, c) },
		"ForwardAuth": func(t *testing.T, c doors.Case) doors.Answer {
			c.Header = c.Header.Clone()
			c.Header["X-Forwarded-Method"], c.Header["X-Forwarded-Uri"] = []string{"GET"}, []string{pathOf(c)}
			return overHTTP(t, byProxy, c)
		},
	}
	for name, server := range map[string]*authtest.Server{"interceptor": byInterceptors, "AuthFunc": byAuthFunc} {
		all["unary, "+name] = func(t *testing.T, c doors.Case) doors.Answer {
			method := grpc_testing.TestService_UnaryCall_FullMethodName
			if c.Public {
				method = doors.PublicUnary
			}
			response := &grpc_testing.SimpleResponse{}
			err := server.Conn.Invoke(outgoing(t, c), method, &grpc_testing.SimpleRequest{}, response)
			return overGRPC(response.GetUsername(), err)
		}
		all["stream, "+name] = func(t *testing.T, c doors.Case) doors.Answer {
			method := grpc_testing.TestService_FullDuplexCall_FullMethodName
			if c.Public {
				method = doors.PublicStream
			}
			stream, err := server.Conn.NewStream(outgoing(t, c), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
			if err != nil {
				t.Fatal(err)
			}
			response := &grpc_testing.SimpleResponse{}
			if err := stream.RecvMsg(response); err != nil && !errors.Is(err, io.EOF) {
				return overGRPC("", err)
			}
			return overGRPC(response.GetUsername(), nil)
		}
	}
	return all
}

func servedSubject(ac *authcontext.AuthContext) string {
	if ac == nil {
		return ""
	}
	return ac.Subject
}

// subjectService answers with who was served, in the same message by every method.
type subjectService struct{}

func registerSubject(server *grpc.Server) {
	answer := func(ctx context.Context) *grpc_testing.SimpleResponse {
		ac, _ := authcontext.FromContext(ctx)
		return &grpc_testing.SimpleResponse{Username: servedSubject(ac)}
	}
	unary := func(name string) grpc.MethodDesc {
		return grpc.MethodDesc{MethodName: name, Handler: func(
			_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor,
		) (any, error) {
			request := &grpc_testing.SimpleRequest{}
			if err := decode(request); err != nil {
				return nil, err
			}
			info := &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/" + name}
			return intercept(ctx, request, info, func(ctx context.Context, _ any) (any, error) { return answer(ctx), nil })
		}}
	}
	stream := func(name string) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: name, ServerStreams: true, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			return stream.SendMsg(answer(stream.Context()))
		}}
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "grpc.testing.TestService", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{unary("UnaryCall"), unary("EmptyCall")}, Streams: []grpc.StreamDesc{stream("FullDuplexCall"), stream("HalfDuplexCall")},
	}, subjectService{})
}

func outgoing(t *testing.T, c doors.Case) context.Context {
	md := grpcmd.MD{}
	for name, values := range c.Header {
		md.Append(name, values...)
	}
	return grpcmd.NewOutgoingContext(t.Context(), md)
}

func overGRPC(subject string, err error) doors.Answer {
	if err == nil {
		return doors.Answer{Subject: subject}
	}
	told := internalrefusal.AnswerTo(err)
	told.HTTP = 0 // there is none
	return doors.Answer{Refusal: told}
}

func pathOf(c doors.Case) string {
	if c.Public {
		return "/public"
	}
	return "/"
}

// overHTTP has no code of gRPC to compare: the status stands for it, and the reason.
func overHTTP(t *testing.T, server *httptest.Server, c doors.Case) doors.Answer {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+pathOf(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = c.Header
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return doors.Answer{Subject: response.Header.Get("X-Auth-Subject")}
	}
	var problem struct{ Detail, Reason string }
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
		t.Fatal(err)
	}
	after, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	told := internalrefusal.Answer{
		Code: codes.Unknown, HTTP: response.StatusCode, Message: problem.Detail, Reason: reason.Reason(problem.Reason),
		RetryAfter: time.Duration(after) * time.Second,
	}
	if c.Want != nil {
		if want := internalrefusal.AnswerTo(c.Want); want.HTTP == told.HTTP {
			told.Code = want.Code
		}
	}
	return doors.Answer{Refusal: told}
}

// TestAllDoorsAnswerAlike runs every row of the table of refusals, and every way in which rules
// decide, through all doors of this module.
func TestAllDoorsAnswerAlike(t *testing.T) {
	for _, c := range doors.Cases() {
		d, err := doors.New() // for each: an owner that is away is not asked again for a while
		if err != nil {
			t.Fatal(err)
		}
		of := map[doors.Authn]authn{doors.BySession: d.Session, doors.ByOptionalSession: d.Optional, doors.ByGateway: d.Gateway}[c.By]
		t.Run(c.Name, func(t *testing.T) {
			for name, ask := range doorsOf(t, of, d) {
				for range 2 { // the second from memory, if there is any
					if how := c.Differs(ask(t, c)); how != "" {
						t.Errorf("%s: %s", name, how)
					}
				}
			}
		})
	}
	// Those of a client happen before anything is sent.
	left := slices.DeleteFunc(slices.Clone(internalrefusal.Table), func(r *internalrefusal.Refusal) bool {
		return reason.Of(r) == reason.IdentityNotForwarded || reason.Of(r) == reason.CredentialUnavailable ||
			slices.ContainsFunc(doors.Cases(), func(c doors.Case) bool { return c.Want == error(r) })
	})
	if len(left) > 0 {
		t.Errorf("no case is about %v", left)
	}
}
