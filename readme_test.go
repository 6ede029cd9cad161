package sessionauth_test

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

const firstBlockLines = 30

// readmeBlocks returns the go blocks of README.md.
func readmeBlocks(t *testing.T) []string {
	t.Helper()
	var blocks []string
	for _, match := range regexp.MustCompile("(?s)\n```go\n(.*?)```\n").FindAllStringSubmatch(readFile(t, "README.md"), -1) {
		blocks = append(blocks, match[1])
	}
	if len(blocks) < 2 {
		t.Fatalf("README.md has %d go blocks, want at least 2", len(blocks))
	}
	return blocks
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func parseGo(t *testing.T, name, source string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution) // without comments
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func squeeze(text string) string { return strings.Join(strings.Fields(text), " ") }

// setUp returns the call of NewSessionAuth in a file, and the declaration of its
// session, printed without comments.
func setUp(t *testing.T, source, name string) (call, session string) {
	t.Helper()
	file := parseGo(t, name, source)
	show := func(node ast.Node) string {
		var printed bytes.Buffer
		if err := format.Node(&printed, token.NewFileSet(), node); err != nil {
			t.Fatal(err)
		}
		return printed.String()
	}
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.CallExpr:
			if selector, ok := node.Fun.(*ast.SelectorExpr); ok && selector.Sel.Name == "NewSessionAuth" {
				call = cmp.Or(call, show(node)) // the first one
			}
		case *ast.TypeSpec:
			if node.Name.Name == "session" {
				session = show(node)
			}
		}
		return true
	})
	if call == "" || session == "" {
		t.Fatalf("%s does not set up an Authenticator", name)
	}
	return call, session
}

func TestReadmeServerIsShort(t *testing.T) {
	if lines := strings.Count(readmeBlocks(t)[0], "\n"); lines > firstBlockLines {
		t.Errorf("the server in README.md has %d lines, want at most %d", lines, firstBlockLines)
	}
}

func TestReadmeServerIsTheExample(t *testing.T) {
	server := readmeBlocks(t)[0]
	if formatted, err := format.Source([]byte(server)); err != nil || string(formatted) != server {
		t.Errorf("the server in README.md is not gofmt-ed: %v", err)
	}
	call, session := setUp(t, server, "README.md")
	if wantCall, wantSession := setUp(t, readFile(t, "example_test.go"), "example_test.go"); call != wantCall || session != wantSession {
		t.Errorf("README.md has\n%s\n%s\nExample\n%s\n%s", session, call, wantSession, wantCall)
	}
}

func TestReadmeServerCompiles(t *testing.T) {
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(readmeBlocks(t)[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "vet", source).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// What is in the examples of all packages compiles, and most of it runs.
func TestReadmeFragmentsAreInTheExamples(t *testing.T) {
	var examples strings.Builder
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (name[0] == '.' || name == "node_modules"):
			return fs.SkipDir
		case strings.HasPrefix(name, "example") && strings.HasSuffix(name, "_test.go"):
			examples.WriteString(squeeze(readFile(t, path)) + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range readmeBlocks(t)[1:] {
		if !strings.Contains(examples.String(), squeeze(block)) {
			t.Errorf("in no example*_test.go:\n%s", block)
		}
	}
}

func TestReadmeUsesTheNamesOfTheCode(t *testing.T) {
	names := []string{
		telemetry.ScopeName, telemetry.SpanVerify, telemetry.MetricDuration, telemetry.MetricAuthentications,
		telemetry.MetricEntries, string(telemetry.KeyResult), string(telemetry.KeyErrorType), string(telemetry.KeyEntry),
		string(reason.MissingCredentials), string(reason.AmbiguousCredentials), string(reason.InvalidSession),
		string(reason.SessionExpired), string(reason.VerificationFailed), string(reason.VerificationUnavailable),
		string(reason.OriginNotAllowed), string(reason.AccessDenied), string(reason.AuthorizationFailed),
		string(reason.AuthorizationUnavailable), string(telemetry.KeyDecision), string(telemetry.KeyRule),
		string(telemetry.KeyMissingRoles), string(telemetry.KeyMissingScopes), telemetry.EventUnmet,
		string(reason.UntrustedCaller), string(reason.MalformedIdentity),
		string(reason.IdentityNotForwarded), string(reason.CredentialUnavailable),
	}
	for r := telemetry.Rejected; r.String() != "unknown"; r++ {
		names = append(names, r.String())
	}
	for e := telemetry.MissingCredentials; e.String() != "unknown"; e++ {
		names = append(names, e.String())
	}
	readme := readFile(t, "README.md")
	for _, name := range names {
		if !strings.Contains(readme, "`"+name+"`") {
			t.Errorf("README.md does not name `%s`", name)
		}
	}
	for _, name := range []string{"options.go", "authzoptions.go", "secret.go", "peer.go", "client.go", "forward.go"} {
		for _, decl := range parseGo(t, name, readFile(t, filepath.Join("interceptor", name))).Decls {
			option, ok := decl.(*ast.FuncDecl)
			if ok && strings.HasPrefix(option.Name.Name, "With") && !strings.Contains(readme, option.Name.Name) {
				t.Errorf("README.md does not name the option %s", option.Name.Name)
			}
		}
	}
}
