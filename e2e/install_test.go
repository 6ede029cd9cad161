package e2e_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

const rootModule = "github.com/grpc-sessionauth/sessionauth"

// goMod is what go mod edit -json says of a go.mod.
type goMod struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
}

// modules returns the modules of this repository, by their folders.
func modules(t *testing.T) map[string]goMod {
	t.Helper()
	output, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--", "go.mod", "*/go.mod").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]goMod{}
	for file := range strings.SplitSeq(strings.Trim(string(output), "\x00"), "\x00") {
		text, err := goCommand("..", "mod", "edit", "-json", file)
		if err != nil {
			t.Fatal(err)
		}
		var content goMod
		if err := json.Unmarshal(text, &content); err != nil {
			t.Fatal(err)
		}
		found[path.Dir(file)] = content
	}
	return found
}

// TestNestedModulesCanBeTagged serves the modules as a module proxy does once they are tagged,
// and requires one from a module elsewhere: there, the replacements in its go.mod do not count.
func TestNestedModulesCanBeTagged(t *testing.T) {
	t.Parallel()
	all := modules(t)
	version := ""
	for dir, content := range all {
		for _, needed := range content.Require {
			if needed.Path != rootModule && !strings.HasPrefix(needed.Path, rootModule+"/") {
				continue
			}
			if strings.HasPrefix(needed.Version, "v0.0.0") || version != "" && needed.Version != version {
				t.Errorf("%s requires %s %s, others %s", dir, needed.Path, needed.Version, version)
			}
			version = needed.Version
		}
	}
	proxy, cache, consumer := t.TempDir(), t.TempDir(), t.TempDir()
	for dir, content := range all {
		publish(t, proxy, dir, content.Module.Path, version, all)
	}
	for file, text := range map[string]string{
		"go.mod":  "module consumer\n\ngo 1.26.0\n\nrequire " + rootModule + "/verify/jwt " + version + "\n",
		"main.go": "package main\n\nimport _ \"" + rootModule + "/verify/jwt\"\n\nfunc main() {}\n",
	} {
		if err := os.WriteFile(filepath.Join(consumer, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	environment, err := goCommand("..", "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		t.Fatal(err)
	}
	here, elsewhere, _ := strings.Cut(strings.TrimSpace(string(environment)), "\n")
	fileURL := func(dir string) string { return (&url.URL{Scheme: "file", Path: filepath.ToSlash(dir)}).String() }
	list := exec.Command("go", "list", "-mod=mod", "-modcacherw", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", ".")
	list.Dir = consumer
	list.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOSUMDB=off", "GOMODCACHE="+cache,
		"GOPROXY="+strings.Join([]string{fileURL(proxy), fileURL(filepath.Join(here, "cache", "download")), elsewhere}, ","))
	output, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, output)
	}
	for _, want := range []string{rootModule, rootModule + "/verify/jwt"} {
		if !strings.Contains(string(output), want+" "+version+"\n") {
			t.Errorf("it is not built with %s %s:\n%s", want, version, output)
		}
	}
}

// publish puts a module in a directory as a module proxy serves it.
func publish(t *testing.T, proxy, dir, module, version string, all map[string]goMod) {
	t.Helper()
	base := filepath.Join(proxy, filepath.FromSlash(module), "@v")
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("..", dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for suffix, content := range map[string]string{".mod": string(text), ".info": fmt.Sprintf(`{"Version":%q}`, version)} {
		if err := os.WriteFile(filepath.Join(base, version+suffix), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := os.Create(filepath.Join(base, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	writer := zip.NewWriter(archive)
	output, err := exec.Command("git", "-C", filepath.Join("..", dir), "ls-files", "-z").Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.SplitSeq(strings.Trim(string(output), "\x00"), "\x00") {
		if owner := ownerOf(path.Join(dir, file), all); owner != dir {
			continue
		}
		into, err := writer.Create(module + "@" + version + "/" + file)
		if err != nil {
			t.Fatal(err)
		}
		from, err := os.Open(filepath.Join("..", dir, file))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(into, from)
		_ = from.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// ownerOf returns the folder of the module that a file belongs to.
func ownerOf(file string, all map[string]goMod) string {
	for dir := path.Dir(file); ; dir = path.Dir(dir) {
		if _, ok := all[dir]; ok || dir == "." {
			return dir
		}
	}
}
