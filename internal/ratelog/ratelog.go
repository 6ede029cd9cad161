// Package ratelog writes log lines that clients can cause, at a rate that they cannot
// choose.
package ratelog

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
)

// PerSecond is how many lines a Logger writes within one second.
const PerSecond = 10

// Logger writes at most [PerSecond] lines a second; the first that is written after others
// were not says how many. A nil Logger writes none. It is safe for concurrent use.
type Logger struct {
	to *slog.Logger

	mu      sync.Mutex
	since   time.Time // the beginning of this second
	lines   int       // in it
	dropped uint64    // since the last line
}

// New returns a Logger that writes to another one; nil for nil.
func New(to *slog.Logger) *Logger {
	if to == nil {
		return nil
	}
	return &Logger{to: to}
}

// Enabled reports whether anything is written at all.
func (l *Logger) Enabled() bool { return l != nil }

// Log writes a line, or counts it. An attribute that is a slog.LogValuer is asked for its
// value only if the line is written. A handler that panics loses its line.
func (l *Logger) Log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	if l == nil {
		return
	}
	_ = catch.Protect(func() {
		if l.to.Enabled(ctx, level) {
			l.log(ctx, level, msg, attrs)
		}
	})
}

func (l *Logger) log(ctx context.Context, level slog.Level, msg string, attrs []slog.Attr) {
	dropped, ok := l.take()
	if !ok {
		return
	}
	if dropped > 0 {
		attrs = append(slices.Clip(attrs), slog.Uint64("left_out", dropped))
	}
	l.to.LogAttrs(ctx, level, msg, attrs...)
}

// take takes one of this second's lines, if there is one left.
func (l *Logger) take() (dropped uint64, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= time.Second {
		l.since, l.lines = now, 0
	}
	if l.lines == PerSecond {
		l.dropped++
		return 0, false
	}
	l.lines++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
