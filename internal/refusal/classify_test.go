package refusal_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// refusedAddress is one on loopback where nobody listens any more.
func refusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// fetch is what reading an answer of handler fails with.
func fetch(t *testing.T, http2 bool, handler http.HandlerFunc) error {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = http2
	if http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	return get(t, server.Client(), server.URL)
}

func get(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.ReadAll(response.Body)
	return err
}

func answersHalf(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	_, _ = io.WriteString(w, `{"session":`)
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func answersNothing(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// connector is a database that is away.
type connector struct{ err error }

func (c connector) Connect(context.Context) (driver.Conn, error) { return nil, c.err }
func (connector) Driver() driver.Driver                          { return nil }

// TestOutages takes its errors from what really fails.
func TestOutages(t *testing.T) {
	nowhere := refusedAddress(t)
	_, dialed := new(net.Dialer).DialContext(t.Context(), "tcp", nowhere)
	past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, late := new(net.Dialer).DialContext(past, "tcp", nowhere)
	gone, leave := context.WithCancel(t.Context())
	leave()
	impatient, other := net.Pipe()
	_ = impatient.SetReadDeadline(time.Now().Add(-time.Second))
	_, timedOut := impatient.Read(make([]byte, 1))
	_ = impatient.Close()
	_ = other.Close()
	tlsServer := httptest.NewUnstartedServer(http.HandlerFunc(answersNothing))
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0)
	tlsServer.StartTLS()
	defer tlsServer.Close()
	strangers := get(t, &http.Client{Transport: &http.Transport{}}, tlsServer.URL)

	away := sql.OpenDB(connector{driver.ErrBadConn})
	unreachable := sql.OpenDB(connector{dialed})
	shut := sql.OpenDB(connector{})
	_ = shut.Close()
	defer func() { _, _ = away.Close(), unreachable.Close() }()

	_, noFile := os.ReadFile(filepath.Join(t.TempDir(), "sessions"))
	_, noFolder := os.ReadDir(filepath.Join(t.TempDir(), "sessions"))
	_, noURL := url.Parse(strings.Join([]string{"http://", "%zz"}, ""))
	_, _, noAddress := net.ParseCIDR("10.0.0.0")
	_, _, noPort := net.SplitHostPort("10.0.0.0")
	_, noNumber := strconv.Atoi("a")
	var session struct{ ID string }

	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"a dial that was refused":                        {dialed, true},
		"a dial past its deadline":                       {late, true},
		"a read past its deadline":                       {timedOut, true},
		"a closed connection":                            {&net.OpError{Op: "read", Err: net.ErrClosed}, true},
		"a name that DNS does not know":                  {&net.DNSError{Err: "no such host", Name: "owner", IsNotFound: true}, true},
		"a dial to what is no address":                   {&net.OpError{Op: "dial", Err: noPort}, true},
		"an HTTP server that is away":                    {get(t, http.DefaultClient, "http://"+nowhere), true},
		"an HTTP server that answers nothing":            {fetch(t, false, answersNothing), true},
		"an HTTP server that answers half":               {fetch(t, false, answersHalf), true},
		"an HTTP/2 server that answers nothing":          {fetch(t, true, answersNothing), true},
		"an HTTP/2 server that answers half":             {fetch(t, true, answersHalf), true},
		"an HTTP server of a strange authority":          {strangers, true},
		"an HTTP client that is too slow":                {&url.Error{Op: "Get", URL: "http://owner", Err: context.DeadlineExceeded}, true},
		"half of JSON":                                   {json.NewDecoder(strings.NewReader(`{"ID":`)).Decode(&session), true},
		"a database that is away":                        {away.PingContext(t.Context()), true},
		"a database that cannot be reached":              {unreachable.PingContext(t.Context()), true},
		"a connection of a database that was given back": {sql.ErrConnDone, true},
		"a database too slow":                            {away.PingContext(past), true},
		"an inner call that was given up":                {gone.Err(), true},
		"a connection reset":                             {os.NewSyscallError("read", syscall.ECONNRESET), true},
		"a broken pipe":                                  {syscall.EPIPE, true},
		"one of several":                                 {errors.Join(errors.New("a"), fmt.Errorf("b: %w", dialed)), true},
		"one that is wrapped":                            {fmt.Errorf("verify: %w", fmt.Errorf("fetch: %w", dialed)), true},
		"any error":                                      {errors.New("connection refused"), false},
		"a file that is not there":                       {noFile, false},
		"a folder that is not there":                     {noFolder, false},
		"no permission":                                  {syscall.EACCES, false},
		"too many open files":                            {syscall.EMFILE, false},
		"a URL that is none":                             {noURL, false},
		"a URL that is none, wrapped":                    {fmt.Errorf("verify: %w", noURL), false},
		"an address that is none":                        {noAddress, false},
		"a port that is missing":                         {noPort, false},
		"a number that is none":                          {noNumber, false},
		"no JSON":                                        {json.Unmarshal([]byte("<html>"), &session), false},
		"an empty answer":                                {json.NewDecoder(strings.NewReader("")).Decode(&session), false},
		"the end of an answer":                           {io.EOF, false},
		"no row":                                         {sql.ErrNoRows, false},
		"a transaction that is over":                     {sql.ErrTxDone, false},
		"a database that was closed":                     {shut.PingContext(t.Context()), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := refusal.IsOutage(test.err); got != test.want {
				t.Errorf("%T %v: %t", test.err, test.err, got)
			}
			otherwise := refusal.VerificationFailed
			want := otherwise
			if test.want {
				want = refusal.VerificationUnavailable
			}
			if got := refusal.Classify(test.err, otherwise, nil); got != want {
				t.Errorf("classified as %v", got)
			}
		})
	}
}

func TestNoErrorIsNoOutage(t *testing.T) {
	if refusal.IsOutage(nil) {
		t.Error("nil is")
	}
}

func TestClassify(t *testing.T) {
	cause := errors.New("cause")
	mine := func(err error) bool { return errors.Is(err, cause) }
	delayed, err := status.New(codes.ResourceExhausted, "slow down").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(3 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	const unavailable = "session verification unavailable"
	for name, test := range map[string]struct {
		err     error
		outage  func(error) bool
		code    codes.Code
		message string
		delay   time.Duration
		known   bool
		final   bool
	}{
		"no such session":                        {fmt.Errorf("%w: %w", refusal.ErrInvalidSession, cause), nil, codes.Unauthenticated, "invalid session", 0, true, true},
		"no such session, and an outage":         {errors.Join(io.ErrUnexpectedEOF, refusal.ErrInvalidSession), mine, codes.Unauthenticated, "invalid session", 0, true, true},
		"no such session, by a status, too":      {errors.Join(status.Error(codes.Unavailable, "a"), refusal.ErrInvalidSession), nil, codes.Unauthenticated, "invalid session", 0, true, true},
		"could not find out":                     {fmt.Errorf("%w: %w", refusal.ErrUnavailable, cause), nil, codes.Unavailable, unavailable, 0, false, false},
		"could not find out, with a delay":       {refusal.RetryAfter(2*time.Second, cause), nil, codes.Unavailable, unavailable, 2 * time.Second, false, false},
		"could not find out, with a delay of no": {fmt.Errorf("a: %w", refusal.RetryAfter(-time.Second, nil)), nil, codes.Unavailable, unavailable, 0, false, false},
		"could not find out, and a status":       {errors.Join(refusal.ErrUnavailable, status.Error(codes.PermissionDenied, "banned")), nil, codes.Unavailable, unavailable, 0, false, false},
		"what the user calls an outage":          {fmt.Errorf("a: %w", cause), mine, codes.Unavailable, unavailable, 0, false, false},
		"what the user does not":                 {io.EOF, mine, codes.Unauthenticated, "session verification failed", 0, false, false},
		"an outage that the user does not call so": {
			io.ErrUnexpectedEOF, func(error) bool { return false }, codes.Unavailable, unavailable, 0, false, false,
		},
		"a status Unavailable":            {status.Error(codes.Unavailable, "a"), nil, codes.Unavailable, unavailable, 0, false, false},
		"a status DeadlineExceeded":       {status.Error(codes.DeadlineExceeded, "a"), nil, codes.Unavailable, unavailable, 0, false, false},
		"a status Canceled":               {status.Error(codes.Canceled, "a"), nil, codes.Unavailable, unavailable, 0, false, false},
		"a status with a delay":           {fmt.Errorf("a: %w", delayed.Err()), nil, codes.Unavailable, unavailable, 3 * time.Second, false, false},
		"another status":                  {fmt.Errorf("a: %w", status.Error(codes.PermissionDenied, "banned")), nil, codes.PermissionDenied, "banned", 0, false, true},
		"another status, and an outage":   {errors.Join(status.Error(codes.PermissionDenied, "banned"), io.ErrUnexpectedEOF), nil, codes.Unavailable, unavailable, 0, false, false},
		"a status that says OK":           {okay{}, nil, codes.Unauthenticated, "session verification failed", 0, false, false},
		"any error":                       {cause, nil, codes.Unauthenticated, "session verification failed", 0, false, false},
		"a Goexit, a panic, or the like":  {errors.New("the callback panicked"), nil, codes.Unauthenticated, "session verification failed", 0, false, false},
		"a delay that is longer than all": {refusal.RetryAfter(1<<62, nil), nil, codes.Unavailable, unavailable, 1 << 62, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := refusal.Classify(test.err, refusal.VerificationFailed, test.outage)
			if st := got.GRPCStatus(); st.Code() != test.code || st.Message() != test.message {
				t.Errorf("%v", got)
			}
			if got.RetryAfter() != test.delay || got.Known() != test.known || got.Final() != test.final {
				t.Errorf("delay %v, known %t, final %t", got.RetryAfter(), got.Known(), got.Final())
			}
			var told time.Duration
			for _, detail := range got.GRPCStatus().Details() {
				if info, ok := detail.(*errdetails.RetryInfo); ok {
					told = info.GetRetryDelay().AsDuration()
				}
			}
			if told != min(test.delay, time.Hour) {
				t.Errorf("the client is told to wait %v", told)
			}
		})
	}
}

// TestADelayOfOneCallerIsNotForEverybody: who shares a cache with that caller may ask.
func TestADelayOfOneCallerIsNotForEverybody(t *testing.T) {
	got := refusal.Classify(fmt.Errorf("a: %w", refusal.RetryCallerAfter(2*time.Second, nil)), refusal.VerificationFailed, nil)
	if got.RetryAfter() != 0 || !errors.Is(got, refusal.ErrUnavailable) {
		t.Errorf("%v, delay %v", got, got.RetryAfter())
	}
	for _, detail := range got.GRPCStatus().Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() == 2*time.Second {
			return
		}
	}
	t.Error("the client is not told to wait")
}

// okay is an error that says OK.
type okay struct{}

func (okay) Error() string              { return "fine" }
func (okay) GRPCStatus() *status.Status { return nil }
