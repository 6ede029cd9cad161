// Package ratelog logs what anybody can make happen, at a rate that fills no disk.
package ratelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// burst is how many lines a second are logged.
const burst = 10

// Logger logs some lines of each second and counts the rest. A nil Logger logs nothing. It
// is safe for concurrent use.
type Logger struct {
	logger *slog.Logger

	mu      sync.Mutex
	second  time.Time // the beginning of the second that is being counted
	logged  int
	dropped int
}

// New returns a Logger that writes to logger; nil for nil.
func New(logger *slog.Logger) *Logger {
	if logger == nil {
		return nil
	}
	return &Logger{logger: logger}
}

// Enabled reports whether anything is logged at all.
func (l *Logger) Enabled() bool { return l != nil }

// Log writes a line, unless there were too many within this second. The first line
// after that says how many were left out.
func (l *Logger) Log(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if l == nil || !l.logger.Enabled(ctx, level) {
		return
	}
	dropped, ok := l.take(time.Now())
	if !ok {
		return
	}
	if dropped > 0 {
		attrs = append(attrs, slog.Int("left_out", dropped))
	}
	l.logger.LogAttrs(ctx, level, message, attrs...)
}

// take reports whether a line may be logged at now, and how many could not be before.
func (l *Logger) take(now time.Time) (dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if since := now.Sub(l.second); since >= time.Second || since < 0 {
		l.second, l.logged = now, 0
	}
	if l.logged == burst {
		l.dropped++
		return 0, false
	}
	l.logged++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}
