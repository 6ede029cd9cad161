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

// lazy counts how often its value is asked for.
type lazy struct{ asked *int }

func (l lazy) LogValue() slog.Value { *l.asked++; return slog.StringValue("v") }

func TestAFloodIsCountedAndNotWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := ratelog.New(slog.New(slog.NewTextHandler(&out, nil)))
		var asked int
		for range 1000 {
			l.Log(t.Context(), slog.LevelInfo, "denied", slog.Any("cause", lazy{&asked}))
		}
		if lines := strings.Count(out.String(), "\n"); lines != ratelog.PerSecond || asked != lines || strings.Contains(out.String(), "left_out") {
			t.Fatalf("%d lines, %d values asked for:\n%s", lines, asked, out.String())
		}
		out.Reset()
		time.Sleep(time.Second)
		l.Log(t.Context(), slog.LevelInfo, "denied")
		l.Log(t.Context(), slog.LevelInfo, "denied")
		if text := out.String(); strings.Count(text, "\n") != 2 || strings.Count(text, "left_out=990") != 1 {
			t.Errorf("the next second:\n%s", text)
		}
	})
}

func TestALevelThatIsNotWantedIsNotCounted(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := ratelog.New(slog.New(slog.NewTextHandler(&out, nil)))
	for range 100 {
		l.Log(t.Context(), slog.LevelDebug, "x")
	}
	l.Log(t.Context(), slog.LevelWarn, "y", slog.Int("n", 1))
	if text := out.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN msg=y n=1") || strings.Contains(text, "left_out") {
		t.Error(text)
	}
}

// panicking is a handler that cannot be relied on.
type panicking struct{ slog.Handler }

func (panicking) Enabled(context.Context, slog.Level) bool  { return true }
func (panicking) Handle(context.Context, slog.Record) error { panic("no disk") }

func TestNothingHappensWithoutALogger(t *testing.T) {
	t.Parallel()
	none := ratelog.New(nil)
	if none != nil {
		t.Error("it is something")
	}
	none.Log(t.Context(), slog.LevelError, "x")
	ratelog.New(slog.New(panicking{})).Log(t.Context(), slog.LevelError, "x")
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer // a TextHandler locks it
		l := ratelog.New(slog.New(slog.NewTextHandler(&out, nil)))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { l.Log(t.Context(), slog.LevelInfo, "x") })
		}
		wg.Wait()
		if lines := strings.Count(out.String(), "\n"); lines != ratelog.PerSecond {
			t.Errorf("%d lines", lines)
		}
	})
}
