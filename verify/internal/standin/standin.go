// Package standin stands in for the owners of sessions in the tests of the verifiers:
// HTTP servers on loopback that answer as those do, or fail as networks do.
package standin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// Server gives every request one answer and remembers what it was asked.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
	opened   int
}

// Serve starts a Server. It is to be closed.
func Serve(answer http.HandlerFunc) *Server {
	s := new(Server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r)
		s.mu.Unlock()
		answer(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.opened++
			s.mu.Unlock()
		}
	}
	s.Start()
	return s
}

// Asked returns the requests so far.
func (s *Server) Asked() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Opened returns how many connections there have been.
func (s *Server) Opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// Says answers with a status, a body of JSON, and pairs of names and values of headers.
// Names that are repeated give several values.
func Says(code int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(header); i += 2 {
			if header[i] == "Content-Type" {
				w.Header().Del(header[i])
			}
			w.Header().Add(header[i], header[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

// Faults are answers that say nothing about a session, whatever the endpoint: by what
// is wrong. In each, body is one that would be good.
func Faults(body string) map[string]http.HandlerFunc {
	const tooLong = 100 << 20
	return map[string]http.HandlerFunc{
		"a server that failed":              Says(http.StatusInternalServerError, body),
		"a gateway without a server behind": Says(http.StatusBadGateway, "<h1>502</h1>", "Content-Type", "text/html"),
		"the wrong path":                    Says(http.StatusNotFound, ""),
		"the wrong method":                  Says(http.StatusMethodNotAllowed, body),
		"a redirect to itself over https":   Says(http.StatusMovedPermanently, "", "Location", "https://localhost"),
		"a 429 without a delay":             Says(http.StatusTooManyRequests, body),
		"a 429 with junk for a delay":       Says(http.StatusTooManyRequests, body, "Retry-After", "-1", "X-Retry-After", "soon"),
		"a body of 100 MiB": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			spaces := bytes.Repeat([]byte(" "), 1<<20)
			for range tooLong / len(spaces) {
				if _, err := w.Write(spaces); err != nil {
					return
				}
			}
			_, _ = io.WriteString(w, body)
		},
		"headers without an end": func(w http.ResponseWriter, _ *http.Request) {
			for i := range 2000 {
				w.Header().Set(fmt.Sprintf("X-Header-%d", i), "0123456789012345678901234567890123456789")
			}
			_, _ = io.WriteString(w, body)
		},
		"a server that hangs before the headers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a server that hangs after the headers":  Hang,
		"a connection that is reset in mid-body": func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, func(conn *net.TCPConn) {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s", body)
				_ = conn.SetLinger(0)
			})
		},
		"a connection that is closed in mid-body": func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, func(conn *net.TCPConn) {
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s", body)
			})
		},
		"a connection that is closed without an answer": func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, func(*net.TCPConn) {})
		},
		"something that is not HTTP and quotes the credential": func(w http.ResponseWriter, r *http.Request) {
			hijack(w, func(conn *net.TCPConn) { _, _ = fmt.Fprintf(conn, "%v\r\n\r\n", r.Header) })
		},
		"a status that is no number and quotes the credential": func(w http.ResponseWriter, r *http.Request) {
			hijack(w, func(conn *net.TCPConn) { _, _ = fmt.Fprintf(conn, "HTTP/1.1 %v\r\n\r\n", r.Header) })
		},
	}
}

// Hang sends headers and then nothing until the client is gone.
func Hang(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func hijack(w http.ResponseWriter, use func(*net.TCPConn)) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		use(tcp)
	}
	_ = conn.Close()
}

// Authenticate returns who an Authenticator says that makes this request.
func Authenticate(ctx context.Context, a *interceptor.Authenticator, header http.Header) (*authcontext.AuthContext, error) {
	found, err := a.Authenticate(ctx, header)
	if found.Identity == nil {
		return nil, err
	}
	return found.Identity.AuthContext(), err
}

// Outcome is how a call ends, as its client sees it. The zero value is success.
type Outcome struct {
	Code    codes.Code
	Message string
	Reason  string
	Delay   time.Duration
}

// How calls end when there is no session, and when nobody could tell.
var (
	Invalid = Outcome{Code: codes.Unauthenticated, Message: "invalid session", Reason: string(reason.InvalidSession)}
	Unknown = Outcome{
		Code: codes.Unavailable, Message: "session verification unavailable",
		Reason: string(reason.VerificationUnavailable),
	}
)

// After is an Outcome with a delay.
func (o Outcome) After(delay time.Duration) Outcome {
	o.Delay = delay
	return o
}

// OutcomeOf returns how a call with this error ends.
func OutcomeOf(err error) Outcome {
	st := status.Convert(err)
	o := Outcome{Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			o.Reason = detail.GetReason()
		case *errdetails.RetryInfo:
			o.Delay = detail.GetRetryDelay().AsDuration()
		}
	}
	return o
}
