package ratelog_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/internal/ratelog"
)

// locked is a buffer for several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return strings.Split(strings.TrimSuffix(l.b.String(), "\n"), "\n")
}

func TestANilLoggerLogsNothing(t *testing.T) {
	l := ratelog.New(nil)
	if l != nil || l.Enabled() {
		t.Errorf("%v", l)
	}
	l.Log(t.Context(), slog.LevelError, "x")
}

func TestALevelThatIsNotLoggedCountsForNothing(t *testing.T) {
	out := &locked{}
	l := ratelog.New(slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelWarn})))
	for range 100 {
		l.Log(t.Context(), slog.LevelInfo, "no")
	}
	l.Log(t.Context(), slog.LevelWarn, "yes", slog.String("k", "v"))
	if lines := out.lines(); len(lines) != 1 || !strings.Contains(lines[0], "level=WARN msg=yes k=v") || strings.Contains(lines[0], "left_out") {
		t.Errorf("logged %q", lines)
	}
}

func TestTheFirstOfEachSecondAreLoggedAndTheRestCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &locked{}
		l := ratelog.New(slog.New(slog.NewTextHandler(out, nil)))
		if !l.Enabled() {
			t.Error("not enabled")
		}
		flood := func(n int) []string {
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() { l.Log(context.Background(), slog.LevelInfo, "x") })
			}
			wg.Wait()
			return out.lines()
		}
		if lines := flood(1000); len(lines) != 10 || strings.Contains(strings.Join(lines, ""), "left_out") {
			t.Errorf("%d lines of the first second: %q", len(lines), lines)
		}
		time.Sleep(time.Second - 1)
		if lines := flood(5); lines[0] != "" {
			t.Errorf("still the first second: %q", lines)
		}
		time.Sleep(1)
		lines := flood(3)
		if len(lines) != 3 || strings.Count(strings.Join(lines, ""), "left_out=995") != 1 {
			t.Errorf("the second second: %q", lines)
		}
		time.Sleep(time.Hour)
		if lines := flood(1); len(lines) != 1 || strings.Contains(lines[0], "left_out") {
			t.Errorf("an hour later: %q", lines)
		}
	})
}
