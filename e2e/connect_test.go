package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

// installConnect installs the packages of ./connect, once.
var installConnect = sync.OnceValue(func() error {
	command := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	command.Dir = "connect"
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, output)
	}
	return nil
})

// sent is an identity as it is told in headers, and as Connectum's AuthContext has it.
type sent struct {
	Subject string         `json:"subject"`
	Type    string         `json:"type,omitempty"`
	Name    string         `json:"name,omitempty"`
	Roles   []string       `json:"roles,omitempty"`
	Scopes  []string       `json:"scopes,omitempty"`
	Claims  map[string]any `json:"claims,omitempty"`
	Error   string         `json:",omitempty"`
}

// decoder answers with the identity that the headers of a call tell.
type decoder struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (decoder) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	md, _ := grpcmd.FromIncomingContext(ctx)
	ac, err := authcontext.DecodeHeader(md)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	body, err := json.Marshal(sent{ac.Subject, ac.Type, ac.Name, ac.Roles, ac.Scopes, ac.Claims, ""})
	if err != nil {
		return nil, err
	}
	return &grpc_testing.SimpleResponse{Payload: &grpc_testing.Payload{Body: body}}, nil
}

// connectNode starts ./connect/connect.mjs and returns it and the address of its server.
func connectNode(t *testing.T) (p *process, address string) {
	t.Helper()
	path := program(t, "node", "nodejs npm")
	program(t, "npm", "nodejs npm")
	if err := installConnect(); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, "connect.mjs")
	command.Dir = "connect"
	p = start(t, command)
	var at struct{ Port int }
	if err := json.Unmarshal([]byte(p.line()), &at); err != nil {
		t.Fatal(err)
	}
	return p, fmt.Sprintf("127.0.0.1:%d", at.Port)
}

// The package @connectum/auth cannot be had from npm where these tests run. Connect for
// Node can, on which it is built, and what it puts on the wire decides how a letter
// beyond ASCII arrives.
func TestIdentitiesFromConnectForNode(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, decoder{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	node, _ := connectNode(t)

	tests := map[string]struct {
		send sent
		want string // the error; "": the identity arrives as it was sent
	}{
		"plain":                                      {sent{Subject: "u", Type: "session", Roles: []string{"a,b"}, Scopes: []string{"x", "y"}, Claims: map[string]any{"n": 1e21}}, ""},
		"a name with an accent":                      {sent{Subject: "u", Name: "José"}, ""},
		"a role with umlauts":                        {sent{Subject: "u", Roles: []string{"größe", "ÿ"}}, ""},
		"a claim with umlauts":                       {sent{Subject: "u", Claims: map[string]any{"Straße": "Köln"}}, ""},
		"a scope with umlauts":                       {sent{Subject: "u", Scopes: []string{"größe"}}, ""},
		"a subject with umlauts":                     {sent{Subject: "jürgen@example.com"}, ""},
		"a subject of LDAP":                          {sent{Subject: "CN=Ann Müller,OU=eng,DC=example"}, ""},
		"a joined subject":                           {sent{Subject: "a, b"}, "authcontext: x-auth-subject: a comma"},
		"a name with a comma":                        {sent{Subject: "u", Name: "Lovelace, Ada"}, "authcontext: x-auth-name: a comma"},
		"a C1 control character":                     {sent{Subject: "u", Name: "a\u0085b"}, "authcontext: x-auth-name: a control character"},
		"text that may be UTF-8":                     {sent{Subject: "u", Name: "JosÃ©"}, "authcontext: x-auth-name: text that may be UTF-8 or ISO 8859-1"},
		"letters beyond U+00FF":                      {sent{Subject: "u", Name: "Łódź"}, "ByteString"}, // which the Headers of Node refuse
		"a role with such":                           {sent{Subject: "u", Roles: []string{"Łódź"}}, "ByteString"},
		"a subject of two lines":                     {sent{Subject: "a\nb"}, "invalid header value"},
		"a subject with a no-break space at its end": {sent{Subject: "a\u00a0"}, "authcontext: x-auth-subject: a space at its beginning or end"},
	}
	for name, test := range tests {
		var got sent
		node.ask(map[string]any{"address": listener.Addr().String(), "identity": test.send}, &got)
		if test.want != "" {
			if !strings.Contains(got.Error, test.want) {
				t.Errorf("%s: %+v, want the error %q", name, got, test.want)
			}
		} else if !reflect.DeepEqual(got, test.send) {
			t.Errorf("%s: %+v, want %+v", name, got, test.send)
		}
	}
}

func TestIdentitiesToConnectForNode(t *testing.T) {
	t.Parallel()
	_, address := connectNode(t)
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ac := authcontext.AuthContext{
		Subject: "CN=ann,OU=eng,DC=example", Type: "session", Name: "Łódź, José", Roles: []string{"größe", "a,b", "😀"}, Scopes: []string{"x", "y"},
		Claims: map[string]any{"Straße": "Köln", "big": float64(1 << 53)}, SessionID: "id",
	}
	header, err := authcontext.EncodeHeader(&ac, "Straße", "big")
	if err != nil {
		t.Fatal(err)
	}
	response, err := grpc_testing.NewTestServiceClient(conn).UnaryCall(grpcmd.NewOutgoingContext(t.Context(), grpcmd.New(header)), &grpc_testing.SimpleRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(response.GetPayload().GetBody(), &got); err != nil {
		t.Fatal(err)
	}
	var roles []string
	var claims map[string]any
	if json.Unmarshal([]byte(got["x-auth-roles"]), &roles) != nil || json.Unmarshal([]byte(got["x-auth-claims"]), &claims) != nil ||
		!reflect.DeepEqual(roles, ac.Roles) || !reflect.DeepEqual(claims, ac.Claims) {
		t.Errorf("roles %q, claims %v of %q", roles, claims, got)
	}
	delete(got, "x-auth-roles")
	delete(got, "x-auth-claims")
	if want := (map[string]string{
		"x-auth-subject": ac.Subject, "x-auth-type": "session", "x-auth-scopes": "x y",
		"x-auth-name": "UTF-8''%C5%81%C3%B3d%C5%BA%2C%20Jos%C3%A9", // which it shows as it is
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
