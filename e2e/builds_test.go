package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// The session owners that are Go modules are built from these, once, into .cache at the root of
// the repository.
var (
	kratosProgram      = sync.OnceValues(func() (string, error) { return build("kratos", "github.com/ory/kratos", "v1.3.1") })
	oauth2ProxyProgram = sync.OnceValues(func() (string, error) {
		return build("oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7", "v7.15.6")
	})
)

// built returns the path of a program that is built, or skips the test, or, in CI, fails it.
func built(t *testing.T, program func() (string, error)) string {
	t.Helper()
	path, err := program()
	if err != nil {
		missing(t, err.Error())
	}
	return path
}

// build builds a program, the main package at the root of a module, as its own go.mod says: go install
// would refuse one with replacements. Those by a folder, which is not in a module's
// archive, are left out. cgo is not needed.
func build(name, module, version string) (string, error) {
	cache, err := filepath.Abs("../.cache/built")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, name+"@"+version+"-"+runtime.Version())
	program := filepath.Join(dir, name)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	var source struct{ Dir, Error string }
	output, err := goCommand(dir, "mod", "download", "-json", module+"@"+version)
	if jsonErr := json.Unmarshal(output, &source); jsonErr != nil || source.Dir == "" {
		return "", fmt.Errorf("%s@%s is missing: %w %s", module, version, err, source.Error)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(source.Dir, file))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			return "", err
		}
	}
	modfile := filepath.Join(dir, "go.mod")
	if err := dropFolders(dir, modfile); err != nil {
		return "", err
	}
	unfinished := program + ".unfinished"
	if _, err := goCommand(source.Dir, "build", "-mod=mod", "-modfile="+modfile, "-ldflags=-s -w", "-o", unfinished, "."); err != nil {
		return "", err
	}
	return program, os.Rename(unfinished, program)
}

// dropFolders drops the replacements by a folder from a go.mod.
func dropFolders(dir, modfile string) error {
	output, err := goCommand(dir, "mod", "edit", "-json", modfile)
	if err != nil {
		return err
	}
	var content struct {
		Replace []struct {
			Old, New struct{ Path, Version string }
		}
	}
	if err := json.Unmarshal(output, &content); err != nil {
		return err
	}
	for _, replace := range content.Replace {
		if replace.New.Version != "" {
			continue
		}
		if _, err := goCommand(dir, "mod", "edit", "-dropreplace="+replace.Old.Path, modfile); err != nil {
			return err
		}
	}
	return nil
}

func goCommand(dir string, args ...string) ([]byte, error) {
	command := exec.Command("go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	var problems bytes.Buffer
	command.Stderr = &problems
	output, err := command.Output()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", args[0], err, problems.Bytes())
	}
	return output, err
}

// startBuilt starts a program that says nothing on its standard output that a test waits for.
func startBuilt(t *testing.T, program func() (string, error), dir string, env []string, args ...string) *process {
	t.Helper()
	command := exec.Command(built(t, program), args...)
	command.Dir = dir
	command.Env = append(os.Environ(), env...)
	return start(t, command)
}
