package extauthz_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// refusalOf is what a client of any protocol learns of a denial, as one text, and checks that
// the answer is one that Envoy denies.
func refusalOf(t *testing.T, out *authv3.CheckResponse) string {
	t.Helper()
	denied := out.GetDeniedResponse()
	if denied == nil || out.GetStatus().GetCode() == int32(codes.OK) {
		t.Fatalf("not denied: %v", out)
	}
	header := map[string]string{}
	for _, h := range denied.GetHeaders() {
		header[h.GetHeader().GetKey()] = h.GetHeader().GetValue()
	}
	parts := []string{denied.GetStatus().GetCode().String()}
	if header["content-type"] == "application/problem+json" {
		var body struct {
			Title, Detail, Reason string
			Status                int
		}
		if err := json.Unmarshal([]byte(denied.GetBody()), &body); err != nil {
			t.Fatal(err)
		}
		if body.Status != int(denied.GetStatus().GetCode()) {
			t.Errorf("the body says %d", body.Status)
		}
		parts = append(parts, body.Detail, body.Reason, header["www-authenticate"], header["retry-after"])
		return strings.Join(parts, "|")
	}
	if denied.GetBody() != "" {
		t.Errorf("a body: %q", denied.GetBody())
	}
	st := &rpcstatus.Status{}
	if details, err := base64.RawStdEncoding.DecodeString(header["grpc-status-details-bin"]); err != nil || proto.Unmarshal(details, st) != nil {
		t.Fatalf("bad details: %v", err)
	}
	why := string(reason.Of(status.FromProto(st).Err()))
	return strings.Join(append(parts, header["content-type"], header["grpc-message"], header["grpc-status"], why), "|")
}

func TestCheck(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{
		Subject: "ada", Name: "Ada", Roles: []string{"admin"}, ExpiresAt: time.Now().Add(time.Hour), SessionID: "s1",
		Claims: map[string]any{"org": "acme", "token": "t"},
	})
	client := dialCheck(t, newServer(t, newAuth(t, &o), extauthz.WithForwardedClaims("org")))
	const (
		web        = "application/grpc-web+proto"
		missing    = "OK|application/grpc|missing credentials|16|MISSING_CREDENTIALS"
		ambiguous  = "OK|application/grpc|ambiguous credentials|16|AMBIGUOUS_CREDENTIALS"
		invalid    = "OK|application/grpc|invalid session|16|INVALID_SESSION"
		notAsEnvoy = "Unauthorized|session verification failed|VERIFICATION_FAILED|Bearer realm=\"session\", error=\"invalid_token\", error_description=\"session verification failed\"|"
	)
	for name, row := range map[string]struct {
		in   *authv3.CheckRequest
		want string // "": it is ada's
	}{
		"a bearer token":                  {ask("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada), ""},
		"a raw bearer token":              {askRaw("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada), ""},
		"a cookie":                        {ask("POST", unaryCall, "content-type", grpcType, "cookie", "a=b; sid="+ada), ""},
		"crumbs of a cookie":              {askRaw("POST", unaryCall, "content-type", grpcType, "cookie", "a=b", "cookie", "sid="+ada), ""},
		"a token in a header":             {ask("POST", unaryCall, "content-type", grpcType, "x-session-token", ada), ""},
		"an HTTP request":                 {ask("GET", "/files/1?x=y", "authorization", "Bearer "+ada), ""},
		"a name in upper case":            {askRaw("GET", "/files/1", "Authorization", "Bearer "+ada), ""},
		"nothing, by CONTENT-Type":        {askRaw("POST", unaryCall, "CONTENT-Type", grpcType), missing},
		"nothing, by gRPC":                {ask("POST", unaryCall, "content-type", grpcType), missing},
		"nothing, by gRPC-Web":            {ask("POST", unaryCall, "content-type", web), "OK|application/grpc-web+proto|missing credentials|16|MISSING_CREDENTIALS"},
		"nothing, by HTTP":                {ask("GET", "/"), "Unauthorized|missing credentials|MISSING_CREDENTIALS|Bearer realm=\"session\"|"},
		"nothing, by gRPC, encoded":       {ask("POST", unaryCall, "content-type", grpcType+";charset=utf-8"), missing},
		"nothing, by what begins as gRPC": {ask("POST", unaryCall, "content-type", grpcType+"x"), "Unauthorized|missing credentials|MISSING_CREDENTIALS|Bearer realm=\"session\"|"},
		"an unknown token":                {ask("POST", unaryCall, "content-type", grpcType+"+proto", "authorization", "Bearer x"), invalid},
		"an unknown token, HTTP":          {ask("GET", "/", "authorization", "Bearer x"), "Unauthorized|invalid session|INVALID_SESSION|Bearer realm=\"session\", error=\"invalid_token\", error_description=\"invalid session\"|"},
		"two tokens, joined":              {ask("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada, "authorization", "Bearer x"), ambiguous},
		"two tokens":                      {askRaw("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada, "authorization", "Bearer x"), ambiguous},
		"two tokens in two cases":         {askRaw("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada, "Authorization", "Bearer x"), ambiguous},
		"one of grpc-gateway":             {ask("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer "+ada, "grpcgateway-authorization", "Bearer x"), ambiguous},
		"a verifier that panics":          {ask("POST", unaryCall, "content-type", grpcType, "authorization", "Bearer panic"), "OK|application/grpc|session verification failed|16|VERIFICATION_FAILED"},
		"an empty Check":                  {&authv3.CheckRequest{}, notAsEnvoy},
		"no request":                      {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{}}, notAsEnvoy},
		"no attributes of HTTP":           {request(nil), notAsEnvoy},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := client.Check(t.Context(), row.in)
			if err != nil {
				t.Fatal(err)
			}
			if row.want != "" {
				if got := refusalOf(t, out); got != row.want {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
				return
			}
			if !allowed(out, err) {
				t.Fatalf("denied: %s", refusalOf(t, out))
			}
			if told := out.GetDynamicMetadata().AsMap(); len(told) != 1 || told["result"] != "allowed" {
				t.Errorf("dynamic metadata: %v", told)
			}
			who, header, err := caller(t, row.in, out)
			if err != nil || who.Subject != "ada" || who.Name != "Ada" || who.ExpiresAt.IsZero() || len(who.Claims) != 1 || who.SessionID != "" {
				t.Errorf("the upstream finds %+v, %v", who, err)
			}
			for key, values := range header {
				if strings.Contains(strings.Join(values, " "), ada) {
					t.Errorf("the upstream gets the token in %s", key)
				}
			}
		})
	}
}
