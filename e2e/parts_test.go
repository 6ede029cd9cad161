package e2e_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = time.Minute
	stopTimeout  = 10 * time.Second
)

// program returns the path of a program, or skips the test, or, in CI, fails it.
func program(t *testing.T, name, debian string, otherwise ...string) string {
	t.Helper()
	for _, candidate := range append([]string{name}, otherwise...) {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	missing(t, fmt.Sprintf("%s is missing: apt-get install %s", name, debian))
	return ""
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// installNode installs the packages of ./node, once.
var installNode = sync.OnceValue(func() error {
	lock, err := os.Stat("node/package-lock.json")
	if err != nil {
		return err
	}
	installed, err := os.Stat("node/node_modules/.package-lock.json") // npm writes it when it is done
	if err == nil && !installed.ModTime().Before(lock.ModTime()) {
		return nil
	}
	command := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	command.Dir = "node"
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, output)
	}
	return nil
})

// node returns the path of Node, with the packages of ./node installed.
func node(t *testing.T) string {
	t.Helper()
	path := program(t, "node", "nodejs npm")
	program(t, "npm", "nodejs npm")
	if err := installNode(); err != nil {
		t.Fatal(err)
	}
	return path
}

// process is a program that a test has started.
type process struct {
	t       *testing.T
	command *exec.Cmd
	in      io.WriteCloser
	lines   chan string // of its standard output; closed when that ends
	ended   chan error
	stop    func()
}

// start starts a program and stops it when the test ends. What it says on standard error
// goes to the log of the test.
func start(t *testing.T, command *exec.Cmd) *process {
	t.Helper()
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	problems := &log{}
	command.Stderr = problems
	command.WaitDelay = stopTimeout
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, command: command, in: in, lines: make(chan string, 1024), ended: make(chan error, 1)}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			select {
			case p.lines <- lines.Text():
			default: // nobody is listening any more
			}
		}
		close(p.lines)
		p.ended <- command.Wait()
	}()
	p.stop = sync.OnceFunc(func() {
		_ = in.Close()
		_ = command.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(stopTimeout):
			_ = command.Process.Kill()
			<-p.ended
		}
		if text := problems.String(); text != "" && t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(command.Path), text)
		}
	})
	t.Cleanup(p.stop)
	return p
}

// line returns the next line of the standard output.
func (p *process) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%s has ended", filepath.Base(p.command.Path))
		}
		return line
	case <-time.After(startTimeout):
		p.t.Fatalf("%s says nothing", filepath.Base(p.command.Path))
	}
	return ""
}

// ask writes a line of JSON and reads one.
func (p *process) ask(question, answer any) {
	p.t.Helper()
	line, err := json.Marshal(question)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(p.line()), answer); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	p.t.Helper()
	if err := p.command.Process.Kill(); err != nil {
		p.t.Fatal(err)
	}
	p.stop()
}

// log keeps the first of what is written to it.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	const most = 64 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() < most {
		l.text.Write(p)
	}
	return len(p), nil
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// script returns the command that runs a script of ./node.
func script(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(node(t), append([]string{name}, args...)...)
	command.Dir = "node"
	return command
}

// openDir makes a directory that programs of other users can use, too.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sessionauth-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
