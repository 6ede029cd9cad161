package httpauth

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// response is the writer of a handler.
type response struct{ *exchange }

// flusher is one whose server can flush.
type flusher struct{ response }

var (
	_ http.Hijacker = response{}
	_ http.Flusher  = flusher{}
)

func (x *exchange) responseWriter() http.ResponseWriter {
	if x.session == nil && !x.cookie {
		return x.writer // of nobody, whose session does not end
	}
	if canFlush(x.writer) {
		return flusher{response{x}}
	}
	return response{x}
}

// canFlush goes the way of [http.ResponseController].
func canFlush(w http.ResponseWriter) bool {
	for {
		switch inner := w.(type) {
		case http.Flusher, interface{ FlushError() error }:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = inner.Unwrap()
		default:
			return false
		}
	}
}

// Header implements [http.ResponseWriter].
func (w response) Header() http.Header { return w.writer.Header() }

// WriteHeader implements [http.ResponseWriter].
func (w response) WriteHeader(code int) {
	if w.watched.Load() && w.session.Check() != nil && !w.committed.Load() {
		return // for the refusal
	}
	if code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		w.keepPrivate()
		w.committed.Store(true)
	}
	w.writer.WriteHeader(code)
}

// Write implements [http.ResponseWriter].
func (w response) Write(p []byte) (int, error) {
	w.keepPrivate()
	if w.written.Add(int64(len(p))) > announced || w.watched.Load() {
		if err := w.commit(); err != nil {
			return 0, err
		}
	}
	w.committed.Store(true)
	return w.writer.Write(p)
}

// Unwrap is for [http.ResponseController].
func (w response) Unwrap() http.ResponseWriter { return w.writer }

// FlushError is for [http.ResponseController].
func (w response) FlushError() error {
	w.keepPrivate()
	if err := w.commit(); err != nil {
		return err
	}
	return http.NewResponseController(w.writer).Flush()
}

// commit begins the response, unless the session has ended.
func (w response) commit() error {
	begun := w.committed.Swap(true) // before the session is looked at: its end then cuts short what follows
	err := w.outlast()
	if err != nil && !begun {
		w.committed.Store(false)
	}
	return err
}

// Flush implements [http.Flusher].
func (w flusher) Flush() { _ = w.FlushError() }

// EnableFullDuplex is for [http.ResponseController].
func (w response) EnableFullDuplex() error {
	if err := w.outlast(); err != nil {
		return err
	}
	return http.NewResponseController(w.writer).EnableFullDuplex()
}

// SetReadDeadline is for [http.ResponseController].
func (w response) SetReadDeadline(deadline time.Time) error {
	return w.deadline((*http.ResponseController).SetReadDeadline, deadline)
}

// SetWriteDeadline is for [http.ResponseController].
func (w response) SetWriteDeadline(deadline time.Time) error {
	return w.deadline((*http.ResponseController).SetWriteDeadline, deadline)
}

// deadline sets a deadline, unless the session's end has set one.
func (w response) deadline(set func(*http.ResponseController, time.Time) error, deadline time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return w.failure
	}
	return set(http.NewResponseController(w.writer), deadline)
}

// Hijack implements [http.Hijacker].
func (w response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := w.outlast(); err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil {
		return nil, nil, w.failure
	}
	conn, buffered, err := http.NewResponseController(w.writer).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn = conn
	return &hijacked{Conn: conn, exchange: w.exchange}, buffered, nil
}

// hijacked is a connection that is watched until it is closed.
type hijacked struct {
	net.Conn

	exchange *exchange
	once     sync.Once
}

// Close implements [net.Conn].
func (c *hijacked) Close() error {
	c.once.Do(func() {
		c.exchange.mu.Lock()
		defer c.exchange.mu.Unlock()
		_ = c.exchange.close()
	})
	return c.Conn.Close()
}
