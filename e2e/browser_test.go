package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBrowser starts examples/betterauth as its README says and uses its page in Chromium.
// The pictures go to ./out.
func TestBrowser(t *testing.T) {
	t.Parallel()
	chromium := program(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	node(t)
	binary := filepath.Join(t.TempDir(), "betterauth")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "examples", "betterauth")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, output)
	}
	command := exec.Command(binary, "-addr", "127.0.0.1:0")
	command.Dir = build.Dir
	example := start(t, command)
	var page string
	for page == "" {
		if words := strings.Fields(example.line()); len(words) > 1 && words[0] == "Open" {
			page = words[1]
		}
	}

	out, err := filepath.Abs("out")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(out, 0o750); err != nil {
		t.Fatal(err)
	}
	drive := script(t, "browser.mjs", page, chromium, out)
	drive.WaitDelay = stopTimeout
	timer := time.AfterFunc(3*time.Minute, func() { _ = drive.Process.Kill() })
	defer timer.Stop()
	steps, err := drive.CombinedOutput()
	t.Logf("in the browser:\n%s", steps)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1-nobody", "2-signed-in", "3-signed-out", "4-telephone"} {
		if info, err := os.Stat(filepath.Join(out, name+".png")); err != nil || info.Size() < 10<<10 {
			t.Errorf("the picture %s: %v", name, err)
		}
	}

	// It ends by itself, with better-auth, when it is told to.
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-example.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
		example.ended <- err // for stop
	case <-time.After(stopTimeout):
		t.Error("it does not end")
	}
}
