package envoy_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/internal/envoy"
)

// output is what a program says, and when it first does.
type output struct {
	strings.Builder

	once sync.Once
	said chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	defer o.once.Do(func() { close(o.said) })
	return o.Builder.Write(p)
}

// TestStopEndsWhatWasStarted has the shell that looks after the program get what a terminal sends
// to all of its processes. The program goes on, as Envoy does after SIGHUP.
func TestStopEndsWhatWasStarted(t *testing.T) {
	for _, signals := range []string{"", "HUP", "INT", "TERM", "HUP INT"} {
		t.Run(signals, func(t *testing.T) {
			dir := t.TempDir()
			program := filepath.Join(dir, "program")
			text := `#!/bin/sh
trap 'echo ended; exit' TERM
trap '' HUP INT
for signal in ` + signals + `; do kill "-$signal" "$PPID"; done
echo "$2"
i=0
while [ $i -lt 120 ]; do sleep 1 >/dev/null 2>&1 & wait $!; i=$((i + 1)); done
`
			if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
			out := &output{said: make(chan struct{})}
			p, err := envoy.Start(program, dir, "a: b", out)
			if err != nil {
				t.Fatal(err)
			}
			<-out.said
			said := p.Stop()
			file, ended, _ := strings.Cut(out.String(), "\n")
			if ended != "ended\n" || said != "" {
				t.Errorf("it says %q, and %q", out.String(), said)
			}
			if configuration, err := os.ReadFile(file); err != nil || string(configuration) != "a: b" {
				t.Errorf("its configuration is %q, %v", configuration, err)
			}
		})
	}
}
