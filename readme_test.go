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

const (
	firstBlockLines = 30
	readmeLines     = 220
	// readmeIsShort switches on the bound on the lines of README.md.
	readmeIsShort = true
)

// pages returns the pages that the documentation consists of: README.md and docs.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("docs/*.md")
	if err != nil || len(docs) == 0 {
		t.Fatalf("no page in docs: %v", err)
	}
	return append([]string{"README.md"}, docs...)
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// goBlocks returns the go blocks of a page.
func goBlocks(t *testing.T, page string) []string {
	t.Helper()
	var blocks []string
	for _, match := range goBlock.FindAllStringSubmatch(readFile(t, page), -1) {
		blocks = append(blocks, match[1])
	}
	return blocks
}

// firstBlock returns the server that README.md begins with.
func firstBlock(t *testing.T) string {
	t.Helper()
	blocks := goBlocks(t, "README.md")
	if len(blocks) == 0 {
		t.Fatal("README.md has no go block")
	}
	return blocks[0]
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

func TestReadmeIsShort(t *testing.T) {
	if lines := strings.Count(firstBlock(t), "\n"); lines > firstBlockLines {
		t.Errorf("the server in README.md has %d lines, want at most %d", lines, firstBlockLines)
	}
	if lines := strings.Count(readFile(t, "README.md"), "\n"); readmeIsShort && lines > readmeLines {
		t.Errorf("README.md has %d lines, want at most %d", lines, readmeLines)
	}
}

func TestReadmeServerIsTheExample(t *testing.T) {
	server := firstBlock(t)
	if formatted, err := format.Source([]byte(server)); err != nil || string(formatted) != server {
		t.Errorf("the server in README.md is not gofmt-ed: %v", err)
	}
	call, session := setUp(t, server, "README.md")
	if wantCall, wantSession := setUp(t, readFile(t, "interceptor/example_test.go"), "interceptor/example_test.go"); call != wantCall || session != wantSession {
		t.Errorf("README.md has\n%s\n%s\nExample\n%s\n%s", session, call, wantSession, wantCall)
	}
}

// examples returns what the examples of all packages hold: it compiles, and most of it
// runs.
func examples(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch name := entry.Name(); {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (name[0] == '.' || name == "node_modules"):
			return fs.SkipDir
		case strings.HasPrefix(name, "example") && strings.HasSuffix(name, "_test.go"):
			text.WriteString(squeeze(readFile(t, path)) + "\n")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// A program is compiled, a fragment is part of an example.
func TestCodeInPagesCompiles(t *testing.T) {
	compiled := examples(t)
	for _, page := range pages(t) {
		for _, block := range goBlocks(t, page) {
			if !strings.HasPrefix(block, "package ") {
				if !strings.Contains(compiled, squeeze(block)) {
					t.Errorf("%s has what is in no example*_test.go:\n%s", page, block)
				}
				continue
			}
			source := filepath.Join(t.TempDir(), "main.go")
			if err := os.WriteFile(source, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), "go", "vet", source).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", page, err, out)
			}
		}
	}
}

func TestPagesUseTheNamesOfTheCode(t *testing.T) {
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
	var documentation strings.Builder
	for _, page := range pages(t) {
		documentation.WriteString(readFile(t, page))
	}
	for _, name := range names {
		if !strings.Contains(documentation.String(), "`"+name+"`") {
			t.Errorf("no page names `%s`", name)
		}
	}
	for _, name := range optionNames(t) {
		if !strings.Contains(documentation.String(), name) {
			t.Errorf("no page names the option %s", name)
		}
	}
}

// optionNames returns the names of the options of the packages that a server is made of.
func optionNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, pattern := range []string{"interceptor/*.go", "authz/*.go", "clientauth/*.go", "doors/*/*.go", "fleet/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, decl := range parseGo(t, file, readFile(t, file)).Decls {
				option, ok := decl.(*ast.FuncDecl)
				if ok && option.Recv == nil && strings.HasPrefix(option.Name.Name, "With") {
					names = append(names, option.Name.Name)
				}
			}
		}
	}
	if len(names) == 0 {
		t.Fatal("no options")
	}
	return names
}
