package connectauth_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// conformance is the suite of the Connect project, in the version that is made for Connect 1.19.
const conformance = "connectrpc.com/conformance@v1.0.5"

// conformanceConfig is what is tested: everything but HTTP/3, TLS and compressions of others.
const conformanceConfig = `
features:
  versions: [HTTP_VERSION_1, HTTP_VERSION_2]
  protocols: [PROTOCOL_CONNECT, PROTOCOL_GRPC, PROTOCOL_GRPC_WEB]
  codecs: [CODEC_PROTO, CODEC_JSON]
  compressions: [COMPRESSION_IDENTITY, COMPRESSION_GZIP]
  supportsTls: false
  supportsHalfDuplexBidiOverHttp1: true
`

// conformanceSessions puts the interceptor, with rechecks and rules, in front of the suite's
// reference server. Its client sends no credential, so each call is given one.
const conformanceSessions = `package referenceserver

import (
	"context"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/doors/connectauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func sessionInterceptors() []connect.Interceptor {
	if os.Getenv("SESSIONS") == "" {
		return nil
	}
	auth, err := interceptor.NewSessionAuth(func(context.Context, string, http.Header) (*string, error) {
		return new(string), nil
	}, func(context.Context, *string) (*authcontext.AuthContext, error) {
		return &authcontext.AuthContext{Subject: "conformance", ExpiresAt: time.Now().Add(time.Hour)}, nil
	}, interceptor.WithCache(cache.Policy{TTL: time.Minute}), interceptor.WithStreamRecheck(50*time.Millisecond),
		interceptor.WithExtractors(authmd.ExtractorFunc(func(http.Header) (string, bool) { return "token", true })))
	if err != nil {
		panic(err)
	}
	rules, err := authz.New(authz.WithDefaultPolicy(authz.Allow))
	if err != nil {
		panic(err)
	}
	sessions, err := connectauth.NewInterceptor(auth, connectauth.WithAuthorizer(rules))
	if err != nil {
		panic(err)
	}
	return []connect.Interceptor{sessions}
}
`

// buildConformance builds the suite, and its server with our interceptor in it.
func buildConformance(t *testing.T) (suite, server string) {
	t.Helper()
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		command := exec.Command("go", args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		output, err := command.Output()
		if err != nil {
			failed, _ := err.(*exec.ExitError)
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, failed.Stderr)
		}
		return output
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(run("mod", "download", "-json", conformance), &module); err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(dir, "conformance")
	if err := os.CopyFS(source, os.DirFS(module.Dir)); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	const root = "github.com/grpc-sessionauth/sessionauth"
	dir = source
	run("mod", "edit", "-require="+root+"@v0.1.0", "-require="+root+"/doors/connectauth@v0.1.0",
		"-replace="+root+"="+filepath.Join(here, "../.."), "-replace="+root+"/doors/connectauth="+here)

	app := filepath.Join(source, "internal/app/referenceserver")
	text, err := os.ReadFile(filepath.Join(app, "server.go"))
	if err != nil {
		t.Fatal(err)
	}
	const own = "[]connect.Interceptor{serverNameHandlerInterceptor{}}"
	if strings.Count(string(text), own) != 1 {
		t.Fatal("the server of the suite is not as it was")
	}
	for name, content := range map[string]string{
		"server.go": strings.Replace(string(text), own, "append("+own+", sessionInterceptors()...)", 1), "sessions.go": conformanceSessions,
	} {
		path := filepath.Join(app, name)
		if err := os.Chmod(app, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	suite, server = filepath.Join(source, "suite"), filepath.Join(source, "server")
	run("build", "-o", suite, "./cmd/connectconformance")
	run("build", "-o", server, "./cmd/referenceserver")
	return suite, server
}

var (
	conformanceTotals = regexp.MustCompile(`(?m)^(\d+) passed, (\d+) failed`)
	conformanceFailed = regexp.MustCompile(`(?m)^FAILED: (\S+?):?(?:$| was )`)
)

// TestConformance runs all cases of Connect, gRPC and gRPC-Web: those that the bare server passes pass
// with the interceptor, rechecks and rules on. The suite has limits of time of its own, which a busy
// machine misses now and then: a case fails that fails three times.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	suite, server := buildConformance(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(conformanceConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(sessions string, cases []string) (passed int, failed []string) {
		args := []string{"--mode", "server", "--conf", config}
		for _, name := range cases {
			args = append(args, "--run", name)
		}
		command := exec.Command(suite, append(args, "--", server)...)
		command.Env = append(os.Environ(), "SESSIONS="+sessions)
		output, err := command.CombinedOutput()
		totals := conformanceTotals.FindStringSubmatch(string(output))
		if totals == nil {
			t.Fatalf("with sessions %q: %v\n%s", sessions, err, output)
		}
		passed, _ = strconv.Atoi(totals[1])
		for _, found := range conformanceFailed.FindAllStringSubmatch(string(output), -1) {
			failed = append(failed, found[1])
		}
		if (err != nil) != (len(failed) > 0) || strconv.Itoa(len(failed)) != totals[2] || len(failed) > 20 {
			t.Fatalf("with sessions %q: %v\n%s", sessions, err, output)
		}
		if len(failed) > 0 {
			t.Logf("with sessions %q: %s", sessions, output)
		}
		return passed, failed
	}
	passed := map[string]int{}
	for _, sessions := range []string{"", "on"} {
		n, failed := run(sessions, nil)
		for range 2 {
			if len(failed) == 0 {
				break
			}
			var more int
			more, failed = run(sessions, failed)
			n += more
		}
		if passed[sessions] = n; len(failed) > 0 || n < 1000 {
			t.Errorf("with sessions %q %d pass, and %q fail", sessions, n, failed)
		}
	}
	if passed[""] != passed["on"] {
		t.Errorf("%d cases pass without, %d with", passed[""], passed["on"])
	}
	t.Logf("%d cases pass", passed["on"])
}
