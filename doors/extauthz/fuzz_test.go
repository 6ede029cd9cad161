package extauthz_test

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
)

// FuzzCheck asks about requests of any shape. What is allowed carries a good credential, and
// reaches the upstream as its caller's and without anything else that looks like an identity.
func FuzzCheck(f *testing.F) {
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	s := newServer(f, newAuth(f, &o), extauthz.WithPassedCookies("theme"), extauthz.WithSubjectMetadata())
	for _, seed := range []string{
		"authorization: Bearer TOKEN\nx-auth-subject: eve", "cookie: sid=TOKEN; theme=\xff", "cookie: sid=TOKEN\ncookie: theme=dark",
		"authorization: Bearer TOKEN\nX_Auth.Subject: eve\nx-auth-\xff: a", "authorization: Bearer TOKEN, Bearer x", ":path: /\nconnection: authorization",
		"content-type: application/grpc\nauthorization: Bearer x", "content-type: application/grpc-web-text\nx-gateway-secret: a", "content-type:", ":\n:",
	} {
		f.Add("POST", "/pkg.Service/Method?a=b", seed, true)
		f.Add("GET", "/\xff", seed, false)
	}
	f.Fuzz(func(t *testing.T, method, path, lines string, raw bool) {
		lines = strings.ReplaceAll(lines, "TOKEN", ada)
		in := ask(method, path)
		http := in.GetAttributes().GetRequest().GetHttp()
		if raw {
			http.Headers, http.HeaderMap = nil, &corev3.HeaderMap{}
		}
		for line := range strings.SplitSeq(lines, "\n") {
			key, value, _ := strings.Cut(line, ": ")
			if raw {
				http.HeaderMap.Headers = append(http.HeaderMap.Headers, &corev3.HeaderValue{Key: key, RawValue: []byte(value)})
			} else {
				http.Headers[strings.ToLower(key)] = value
			}
		}
		out := check(t, s, in)
		if _, err := proto.Marshal(in); err == nil { // it could come from Envoy
			if _, err := proto.Marshal(out); err != nil {
				t.Fatalf("the answer cannot be sent: %v", err)
			}
		}
		if !allowed(out, nil) {
			refusalOf(t, out)
			return
		}
		who, header, err := caller(t, in, out)
		if err != nil || who.Subject != "ada" || !strings.Contains(lines, ada) {
			t.Fatalf("allowed as %v, %v", who, err)
		}
		for key, values := range header {
			switch key {
			case "x-auth-subject", "x-auth-type", "x-gateway-secret":
				continue
			}
			if headername.IsIdentity(key) || headername.Is(key, "x-gateway-secret") || headername.Is(key, "authorization") || key == "cookie" && !strings.HasPrefix(values[0], "theme") {
				t.Errorf("the upstream gets %q", key)
			}
		}
	})
}
