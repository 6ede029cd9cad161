package extauthz_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/doors"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// eachCase runs the cases of all doors, but for those about a gateway in front: Envoy is one.
func eachCase(t *testing.T, run func(t *testing.T, c doors.Case, s *extauthz.Server)) {
	t.Helper()
	for _, c := range doors.Cases() {
		if c.By == doors.ByGateway {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			d, err := doors.New() // for each: an owner that is away is not asked again for a while
			if err != nil {
				t.Fatal(err)
			}
			of := map[doors.Authn]*interceptor.Authenticator{doors.BySession: d.Session, doors.ByOptionalSession: d.Optional}[c.By]
			run(t, c, newServer(t, of, extauthz.WithAuthorizer(d.Rules)))
		})
	}
}

// TestThisDoorAnswersAsTheOthers runs the cases of all doors in both forms of headers, for
// clients of every protocol.
func TestThisDoorAnswersAsTheOthers(t *testing.T) {
	t.Parallel()
	eachCase(t, func(t *testing.T, c doors.Case, s *extauthz.Server) {
		one, many := unaryCall, "/grpc.testing.TestService/FullDuplexCall"
		if c.Public {
			one, many = doors.PublicUnary, doors.PublicStream
		}
		for _, method := range []string{one, many} {
			for _, contentType := range []string{grpcType, "application/grpc-web+proto", "text/plain"} {
				pairs := []string{"content-type", contentType}
				for name, values := range c.Header {
					for _, value := range values {
						pairs = append(pairs, strings.ToLower(name), value)
					}
				}
				for _, in := range []*authv3.CheckRequest{ask("POST", method, pairs...), askRaw("POST", method, pairs...)} {
					if how := c.Differs(told(t, c, in, check(t, s, in))); how != "" {
						t.Errorf("%s, %s: %s", method, contentType, how)
					}
				}
			}
		}
	})
}

// told is what becomes of a request whose Check was answered.
func told(t *testing.T, c doors.Case, in *authv3.CheckRequest, out *authv3.CheckResponse) doors.Answer {
	t.Helper()
	if allowed(out, nil) {
		found, err := upstreamAuth(t, interceptor.WithOptionalAuth()).Authenticate(t.Context(), forwarded(in, out.GetOkResponse()))
		if err != nil {
			t.Fatalf("the upstream refuses it: %v", err)
		}
		if ac := found.AuthContext(); ac != nil {
			return doors.Answer{Subject: ac.Subject}
		}
		return doors.Answer{}
	}
	header := map[string]string{}
	for _, h := range out.GetDeniedResponse().GetHeaders() {
		header[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	if code := header["grpc-status"]; code != "" {
		number, _ := strconv.Atoi(code)
		st := &rpcstatus.Status{Code: int32(number), Message: header["grpc-message"]}
		if details := header["grpc-status-details-bin"]; details != "" {
			wire, err := base64.RawStdEncoding.DecodeString(details)
			if err != nil || proto.Unmarshal(wire, st) != nil || int(st.GetCode()) != number || st.GetMessage() != header["grpc-message"] {
				t.Errorf("the details say %v, %v", st, err)
			}
		}
		answer := refusal.AnswerTo(status.FromProto(st).Err())
		answer.HTTP = 0 // there is none
		return doors.Answer{Refusal: answer}
	}
	var problem struct{ Detail, Reason string }
	if err := json.Unmarshal([]byte(out.GetDeniedResponse().GetBody()), &problem); err != nil {
		t.Fatal(err)
	}
	after, _ := strconv.Atoi(header["retry-after"])
	answer := refusal.Answer{
		Code: codes.Unknown, HTTP: int(out.GetDeniedResponse().GetStatus().GetCode()), Message: problem.Detail,
		Reason: reason.Reason(problem.Reason), RetryAfter: time.Duration(after) * time.Second,
	}
	if c.Want != nil && refusal.AnswerTo(c.Want).HTTP == answer.HTTP {
		answer.Code = refusal.AnswerTo(c.Want).Code // HTTP has none: the status stands for it, and the reason
	}
	return doors.Answer{Refusal: answer}
}

// switched is the Server of the case that is under way.
type switched struct {
	authv3.UnimplementedAuthorizationServer

	now atomic.Pointer[extauthz.Server]
}

func (s *switched) Check(ctx context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return s.now.Load().Check(ctx, in)
}

// TestEnvoyAnswersAsTheOtherDoors runs them through Envoy, by calls, streams and HTTP.
func TestEnvoyAnswersAsTheOtherDoors(t *testing.T) {
	t.Parallel()
	var o owner
	s := &switched{}
	s.now.Store(newServer(t, newAuth(t, &o, skipsEmptyCall)))
	f := newFront(t, s)
	eachCase(t, func(t *testing.T, c doors.Case, now *extauthz.Server) {
		s.now.Store(now)
		md := grpcmd.MD{}
		for name, values := range c.Header {
			md.Append(name, values...)
		}
		ctx := grpcmd.NewOutgoingContext(t.Context(), md)
		if c.Public { // the service answers to nobody in particular
			_, err := f.rpc.EmptyCall(ctx, &grpc_testing.Empty{})
			mustNotDiffer(t, c, "unary", nil, err)
			return
		}
		response, err := f.rpc.UnaryCall(ctx, &grpc_testing.SimpleRequest{})
		mustNotDiffer(t, c, "unary", response.GetPayload(), err)
		stream, err := f.rpc.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		message, err := stream.Recv()
		mustNotDiffer(t, c, "stream", message.GetPayload(), err)

		if c.Want == nil {
			return // gRPC is what the service behind the rules speaks
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://front"+unaryCall, nil)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(r.Header, c.Header)
		answer, err := f.web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		var problem struct{ Detail, Reason string }
		if err := json.NewDecoder(answer.Body).Decode(&problem); err != nil {
			t.Fatal(err)
		}
		want := refusal.AnswerTo(c.Want)
		if answer.StatusCode != want.HTTP || problem.Detail != want.Message || problem.Reason != string(want.Reason) {
			t.Errorf("HTTP: got %s %v", answer.Status, problem)
		}
	})
}

// mustNotDiffer checks what a client of gRPC got.
func mustNotDiffer(t *testing.T, c doors.Case, kind string, payload *grpc_testing.Payload, err error) {
	t.Helper()
	got := doors.Answer{}
	switch {
	case err != nil:
		got.Refusal = refusal.AnswerTo(err)
		got.Refusal.HTTP = 0 // there is none
	case payload != nil:
		got.Subject = sees(t, payload.GetBody()).Subject
	}
	if how := c.Differs(got); how != "" {
		t.Errorf("%s: %s", kind, how)
	}
}
