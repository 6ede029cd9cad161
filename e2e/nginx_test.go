package e2e_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/verify/forwardauth"
)

// told is the service of which nginx says who calls: there is no authentication in Go.
type told struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (told) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	var who identity
	if users := grpcmd.ValueFromIncomingContext(ctx, "x-user"); len(users) == 1 {
		who.Subject = users[0]
	}
	body, err := json.Marshal(who)
	return &grpc_testing.SimpleResponse{Payload: &grpc_testing.Payload{Body: body}}, err
}

// newNginx returns a client that reaches the service through nginx, which asks o by
// auth_request.
func newNginx(t *testing.T, o *owner) client {
	t.Helper()
	nginx := program(t, "nginx", "nginx", "/usr/sbin/nginx")
	dir := openDir(t)

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "grpc"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	grpc_testing.RegisterTestServiceServer(server, told{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})

	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(strings.NewReplacer("DIR", dir, "OWNER", o.url).Replace(`
daemon off;
master_process off;
pid DIR/pid;
error_log DIR/log;
events {}
http {
	access_log off;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server {
		listen unix:DIR/nginx http2;
		location / {
			auth_request /session;
			auth_request_set $user $upstream_http_remote_user;
			grpc_set_header X-User $user;
			grpc_pass grpc://unix:DIR/grpc;
		}
		location = /session {
			internal;
			proxy_pass OWNER/verify;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
		}
	}
}
`)), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(nginx, "-p", dir, "-c", config, "-e", filepath.Join(dir, "log"))
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
		if problems, _ := os.ReadFile(filepath.Join(dir, "log")); t.Failed() {
			t.Logf("nginx said:\n%s", problems)
		}
	})
	conn, err := grpc.NewClient("unix:"+filepath.Join(dir, "nginx"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := client{grpc_testing.NewTestServiceClient(conn)}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if _, err := c.UnaryCall(ctx, &grpc_testing.SimpleRequest{}, grpc.WaitForReady(true)); status.Code(err) != codes.Unauthenticated {
		t.Fatalf("nobody in particular: %v", err)
	}
	return c
}

// TestPeersAgree has three parties decide about the same credentials of real sessions:
// nginx, which asks better-auth by auth_request; verify/forwardauth, which asks the same
// endpoint; and verify/betterauth, which asks get-session.
func TestPeersAgree(t *testing.T) {
	t.Parallel()
	o := newOwner(t, nil)
	v, err := forwardauth.New(o.url+"/verify", forwardauth.WithCookies(cookieName))
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]client{
		"nginx":              newNginx(t, o),
		"verify/forwardauth": dial(t, newAuth(t, v.Verify, v.Map)),
		"verify/betterauth":  newBetterAuth(t, o, nil),
	}

	in, out, expired := o.signUp(t, "in"), o.signUp(t, "out"), o.signUp(t, "expired")
	o.post(t, "/api/auth/sign-out", struct{}{}, "Cookie", out.cookie())
	o.expire(t, expired, time.Now().Add(-time.Second))
	value := in.cookies[cookieName]
	token, signature, _ := strings.Cut(value, ".")
	requests := map[string]struct {
		want     string // the user's id; "": refused; "?": it cannot be told
		metadata []string
	}{
		"by cookie":            {in.id, []string{"cookie", in.cookie()}},
		"by one of cookies":    {in.id, []string{"cookie", "a=1; " + in.cookie() + "; b=2"}},
		"by bearer":            {in.id, []string{"authorization", "Bearer " + in.bearer}},
		"by bearer, unsigned":  {in.id, []string{"authorization", "Bearer " + in.token}},
		"by both, the same":    {in.id, []string{"authorization", "Bearer " + in.bearer, "cookie", in.cookie()}},
		"no session cookie":    {"", []string{"cookie", "a=1"}},
		"an unsigned cookie":   {"", []string{"cookie", cookieName + "=" + token}},
		"a forged cookie":      {"", []string{"cookie", cookieName + "=x" + token + "." + signature}},
		"another cookie":       {"", []string{"cookie", "other=" + value}},
		"an unknown bearer":    {"", []string{"authorization", "Bearer nobodys"}},
		"signed out":           {"", []string{"cookie", out.cookie()}},
		"signed out, bearer":   {"", []string{"authorization", "Bearer " + out.bearer}},
		"expired":              {"", []string{"cookie", expired.cookie()}},
		"told to be somebody":  {"", []string{"x-user", in.id, "remote-user", in.id, "cookie", "a=1"}},
		"signed in, told more": {in.id, []string{"x-user", out.id, "remote-user", out.id, "cookie", in.cookie()}},
	}
	check := func(t *testing.T, want string, pairs []string) {
		t.Helper()
		for name, peer := range peers {
			who, err := peer.call(t, pairs)
			got := who.Subject
			switch code := status.Code(err); {
			case code == codes.OK && got == "":
				got = "somebody"
			case code != codes.OK && code != codes.Unauthenticated:
				got = "?"
			}
			if got != want {
				t.Errorf("%s decides %q, want %q (%v)", name, got, want, err)
			}
		}
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) { check(t, request.want, request.metadata) })
	}
	t.Run("better-auth's database is down", func(t *testing.T) {
		o.post(t, "/control/fail", map[string]any{"on": true})
		check(t, "?", []string{"cookie", in.cookie()})
		o.post(t, "/control/fail", map[string]any{"on": false})
		check(t, in.id, []string{"cookie", in.cookie()})
	})
	t.Run("better-auth is gone", func(t *testing.T) {
		o.kill()
		check(t, "?", []string{"cookie", in.cookie()})
	})
}
