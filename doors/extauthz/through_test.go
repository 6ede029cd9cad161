package extauthz_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// skipsEmptyCall is what newFront finds out by whether Envoy is up.
var skipsEmptyCall = interceptor.WithSkipMethods("grpc.testing.TestService/EmptyCall")

// sees returns what an upstream saw.
func sees(t *testing.T, body []byte) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal(body, &s); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	return s
}

// mustRefuse checks a refusal as a gRPC client gets it.
func mustRefuse(t *testing.T, err error, code codes.Code, message string, why reason.Reason) {
	t.Helper()
	if st := status.Convert(err); st.Code() != code || st.Message() != message || reason.Of(err) != why {
		t.Errorf("got %v %s, want %v %q %s", err, reason.Of(err), code, message, why)
	}
}

func TestNativeGRPCThroughEnvoy(t *testing.T) {
	t.Parallel()
	var o owner
	o.cookies = []string{"sid=renewed; Path=/", "theme=dark"}
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall), extauthz.WithPassedCookies("theme"), extauthz.WithSubjectMetadata()))
	<-f.log

	t.Run("the upstream finds the identity, and nothing of the client's that looks like one", func(t *testing.T) {
		ctx := grpcmd.AppendToOutgoingContext(t.Context(), "cookie", "sid="+ada+"; theme=light", "cookie", "other=1",
			"x-auth-subject", "eve", "x-auth-subject", "eve", "x-auth.subject", "eve", "x-auth-roles", `["admin"]`,
			"x-auth-subject-bin", "eve", "grpcgateway-x-auth-subject", "eve", "x-gateway-secret", secret, "x-gateway-secret-bin", "s")
		var header grpcmd.MD
		r, err := f.rpc.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.Header(&header))
		if err != nil {
			t.Fatal(err)
		}
		s := sees(t, r.GetPayload().GetBody())
		if s.Subject != "ada" {
			t.Errorf("the caller is %q", s.Subject)
		}
		for name, values := range s.Header {
			if all := strings.Join(values, " "); strings.Contains(all, ada) || strings.Contains(all, "eve") || strings.Contains(name, "secret") ||
				name == "cookie" && (len(values) != 1 || all != "theme=light") {
				t.Errorf("the upstream gets %s: %q", name, values)
			}
		}
		if got := header.Get("set-cookie"); len(got) != 2 || got[0] != o.cookies[0] || got[1] != o.cookies[1] {
			t.Errorf("the client gets the cookies %q", got)
		}
	})
	t.Run("the access log says who it was", func(t *testing.T) {
		if line := <-f.log; !strings.Contains(line, `"subject":"ada"`) || !strings.Contains(line, `"result":"allowed"`) {
			t.Error(line)
		}
	})
	t.Run("a refusal hands back cookies, too", func(t *testing.T) {
		var header, trailer grpcmd.MD
		_, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), "x"), &grpc_testing.SimpleRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
		mustRefuse(t, err, codes.Unauthenticated, "invalid session", reason.InvalidSession)
		if got := grpcmd.Join(header, trailer).Get("set-cookie"); len(got) != 2 {
			t.Errorf("the client gets the cookies %q", got)
		}
		if line := <-f.log; !strings.Contains(line, `"reason":"INVALID_SESSION"`) || !strings.Contains(line, `"subject":null`) {
			t.Error(line)
		}
	})
	t.Run("streams of all kinds", func(t *testing.T) {
		ctx := authtest.WithBearer(t.Context(), ada)
		in, err := f.rpc.StreamingInputCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = in.Send(&grpc_testing.StreamingInputCallRequest{})
		if r, err := in.CloseAndRecv(); err != nil || r.GetAggregatedPayloadSize() != 1 {
			t.Errorf("%v, %v", r, err)
		}
		out, err := f.rpc.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := out.Recv(); err != nil || sees(t, r.GetPayload().GetBody()).Subject != "ada" {
			t.Errorf("%v, %v", r, err)
		}
		if _, err := out.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		refused, err := f.rpc.FullDuplexCall(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = refused.Recv()
		mustRefuse(t, err, codes.Unauthenticated, "missing credentials", reason.MissingCredentials)
	})
	t.Run("a stream ends when its session expires", func(t *testing.T) {
		short := o.SignIn(authcontext.AuthContext{Subject: "bob", ExpiresAt: time.Now().Add(2 * time.Second)})
		stream, err := f.rpc.FullDuplexCall(authtest.WithBearer(t.Context(), short))
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(&grpc_testing.StreamingOutputCallRequest{})
		if r, err := stream.Recv(); err != nil {
			if reason.Of(err) != reason.SessionExpired { // on a machine that takes seconds to get here
				t.Errorf("%v, %v", r, err)
			}
			return
		}
		_, err = stream.Recv()
		mustRefuse(t, err, codes.Unauthenticated, "invalid session", reason.SessionExpired)
	})
	t.Run("an outage is Unavailable, with its delay", func(t *testing.T) {
		o.GoDown(interceptor.RetryAfter(1500*time.Millisecond, nil))
		defer o.ComeBack()
		_, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), ada), &grpc_testing.SimpleRequest{})
		mustRefuse(t, err, codes.Unavailable, "session verification unavailable", reason.VerificationUnavailable)
		if details := status.Convert(err).Details(); len(details) != 2 {
			t.Errorf("details: %v", details)
		}
		mustAnswer(t, f, "GET", nil, "503 session verification unavailable VERIFICATION_UNAVAILABLE, retry after 2", "Authorization", "Bearer "+ada)
	})
	t.Run("a status of the verifier's own", func(t *testing.T) {
		o.GoDown(status.Error(codes.FailedPrecondition, "pay first: 10 € of 100%"))
		defer o.ComeBack()
		_, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), ada), &grpc_testing.SimpleRequest{})
		mustRefuse(t, err, codes.FailedPrecondition, "pay first: 10 € of 100%", "")
	})
}

// mustAnswer checks how the website answers.
func mustAnswer(t *testing.T, f *front, method string, body io.Reader, want string, pairs ...string) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://front/files/1?x=y", body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		r.Header.Add(pairs[i], pairs[i+1])
	}
	answer, err := f.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer.Status[:len("200")]
	if answer.StatusCode == http.StatusOK {
		got += " " + sees(t, text).Subject
	} else {
		var problem struct{ Detail, Reason string }
		if err := json.Unmarshal(text, &problem); err != nil || answer.Header.Get("Content-Type") != "application/problem+json" {
			t.Fatalf("%s %s %q", answer.Status, answer.Header.Get("Content-Type"), text)
		}
		got += " " + problem.Detail + " " + problem.Reason
		for _, challenge := range answer.Header.Values("WWW-Authenticate") {
			got += ", " + challenge
		}
		for _, delay := range answer.Header.Values("Retry-After") {
			got += ", retry after " + delay
		}
	}
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	return answer.Header
}

func TestHTTPThroughEnvoy(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall)))
	mustAnswer(t, f, "GET", nil, "200 ada", "Authorization", "Bearer "+ada)
	mustAnswer(t, f, "POST", strings.NewReader("a file"), "200 ada", "Cookie", "sid="+ada, "X-Auth-Subject", "eve")
	mustAnswer(t, f, "GET", nil, "401 missing credentials MISSING_CREDENTIALS, Bearer realm=\"session\"")
	mustAnswer(t, f, "GET", nil, `401 invalid session INVALID_SESSION, Bearer realm="session", error="invalid_token", error_description="invalid session"`, "Authorization", "Bearer x")
	mustAnswer(t, f, "GET", nil, `401 ambiguous credentials AMBIGUOUS_CREDENTIALS, Bearer realm="session", error="invalid_request", error_description="ambiguous credentials"`,
		"Authorization", "Bearer "+ada, "Authorization", "Bearer x")
	mustAnswer(t, f, "GET", nil, `401 session verification failed VERIFICATION_FAILED, Bearer realm="session", error="invalid_token", error_description="session verification failed"`, "Authorization", "Bearer panic")
	o.cookies = []string{"a=1", "b=2"}
	for _, token := range []string{ada, "x"} {
		want := "200 ada"
		if token == "x" {
			want = `401 invalid session INVALID_SESSION, Bearer realm="session", error="invalid_token", error_description="invalid session"`
		}
		header := mustAnswer(t, f, "GET", nil, want, "Authorization", "Bearer "+token)
		if got := header.Values("Set-Cookie"); len(got) != 2 {
			t.Errorf("cookies: %q", got)
		}
	}
}

// frame is a message of gRPC-Web.
func frame(t *testing.T, m proto.Message) []byte {
	t.Helper()
	wire, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(wire))), wire...)
}

// TestWebClientsThroughEnvoy has gRPC-Web and JSON made gRPC by Envoy, before or after it asks.
func TestWebClientsThroughEnvoy(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada", Roles: []string{"user"}})
	rules, err := authz.New(authz.WithPublicMethods("grpc.testing.TestService/EmptyCall"), authz.WithRules(
		authz.Rule{Name: "calls", Effect: authz.Allow, Roles: []string{"user"}, Methods: []string{"grpc.testing.TestService/UnaryCall"}},
		authz.Rule{Name: "admins", Effect: authz.Allow, Roles: []string{"admin"}, Methods: []string{"*"}}))
	if err != nil {
		t.Fatal(err)
	}
	f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall), extauthz.WithAuthorizer(rules)), transcoding(t)...)
	<-f.log
	post := func(t *testing.T, path, contentType string, body []byte, token string) (code int, header http.Header, text []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://front"+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		answer, err := f.web.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		text, err = io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, answer.Header, text
	}
	const web = "application/grpc-web+proto"
	other := "/grpc.testing.TestService/StreamingOutputCall"
	for name, row := range map[string]struct {
		path, contentType string
		body              []byte
		token             string
		code              int
		holds             string // in the header and the body
	}{
		"gRPC-Web":                      {unaryCall, web, frame(t, &grpc_testing.SimpleRequest{}), ada, 200, `"Subject":"ada"`},
		"gRPC-Web without credentials":  {unaryCall, web, frame(t, &grpc_testing.SimpleRequest{}), "", 200, "Grpc-Status: 16"},
		"gRPC-Web, details":             {unaryCall, web, frame(t, &grpc_testing.SimpleRequest{}), "", 200, "Grpc-Status-Details-Bin: CBAS"},
		"gRPC-Web, a method of others":  {other, web, frame(t, &grpc_testing.StreamingOutputCallRequest{}), ada, 200, "Grpc-Message: access denied"},
		"JSON":                          {unaryCall, "application/json", []byte("{}"), ada, 200, `"payload"`},
		"JSON without credentials":      {unaryCall, "application/json", []byte("{}"), "", 401, `"reason":"MISSING_CREDENTIALS"`},
		"JSON, a method of others":      {other, "application/json", []byte("{}"), ada, 403, `"reason":"ACCESS_DENIED"`},
		"Connect, which is not made so": {unaryCall, "application/proto", nil, "", 401, `"reason":"MISSING_CREDENTIALS"`},
		"what no rule can name":         {"/files/a/b", "text/plain", nil, ada, 403, `"reason":"ACCESS_DENIED"`},
		"a method, percent-encoded":     {"/grpc.testing.TestService/Unary%43all", "application/json", []byte("{}"), ada, 200, `"payload"`},
		"one of others, the same":       {"/grpc.testing.TestService/Streaming%4futputCall", "application/json", []byte("{}"), ada, 403, `"reason":"ACCESS_DENIED"`},
		"two readings of a path":        {"/grpc.testing.TestService/EmptyCall%2f..%2fUnaryCall", "text/plain", nil, "", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, got, body := post(t, row.path, row.contentType, row.body, row.token)
			var header bytes.Buffer
			_ = got.Write(&header)
			_, _ = header.Write(body)
			if code != row.code || !strings.Contains(header.String(), row.holds) {
				t.Errorf("got %d\n%s", code, header.String())
			}
		})
	}
	t.Run("the access log names the rule", func(t *testing.T) {
		_, err := f.rpc.StreamingInputCall(authtest.WithBearer(t.Context(), ada))
		if err != nil {
			t.Fatal(err)
		}
		for line := range f.log {
			if strings.Contains(line, `"rule":"(default policy)"`) && strings.Contains(line, "StreamingInputCall") {
				return
			}
		}
	})
}

func TestNobodyToAsk(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall)))
	f.stop()
	_, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), ada), &grpc_testing.SimpleRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://front/files/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := f.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Error(answer.Status)
	}
}

// TestAnUnwiseConfiguration has Envoy let requests pass when it cannot ask, and ask about
// gRPC-Web before it makes gRPC of it.
func TestAnUnwiseConfiguration(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	const grpcWeb = `                  - name: envoy.filters.http.grpc_web
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb
`
	f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall)), grpcWeb, "", "failure_mode_allow: false", "failure_mode_allow: true")
	o.GoDown(nil)
	_, err := f.rpc.UnaryCall(authtest.WithBearer(t.Context(), ada), &grpc_testing.SimpleRequest{})
	mustRefuse(t, err, codes.Unavailable, "session verification unavailable", reason.VerificationUnavailable)
	_, err = f.rpc.UnaryCall(authtest.WithBearer(t.Context(), "panic"), &grpc_testing.SimpleRequest{})
	mustRefuse(t, err, codes.Unauthenticated, "session verification failed", reason.VerificationFailed)

	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://front"+unaryCall, bytes.NewReader(frame(t, &grpc_testing.SimpleRequest{})))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/grpc-web+proto")
	answer, err := f.web.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	// Envoy drops the Content-Type of an answer without a body.
	got := []string{answer.Status, answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")}
	if want := []string{"200 OK", "16", "missing credentials"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
