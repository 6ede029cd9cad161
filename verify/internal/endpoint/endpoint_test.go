package endpoint_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T, url string, given *http.Client, timeout time.Duration) *endpoint.Client {
	t.Helper()
	u, err := endpoint.ParseURL("test", url)
	if err != nil {
		t.Fatal(err)
	}
	return endpoint.New("test", u, given, timeout)
}

func secretHeader() http.Header { return http.Header{"Authorization": {"Bearer hunter2"}} }

// Each fault is told apart, in words that are not those of the server or the caller.
func TestFaultsAreDescribed(t *testing.T) {
	want := map[string]string{
		"a server that failed":                                 "the endpoint answered 500",
		"a gateway without a server behind":                    "the endpoint answered 502",
		"a 429 without a delay":                                "the endpoint answered 429",
		"a 429 with junk for a delay":                          "the endpoint answered 429",
		"a body of 100 MiB":                                    "the answer is larger than 1 MiB",
		"headers without an end":                               "the request failed: *errors.errorString",
		"a server that hangs before the headers":               "the endpoint did not answer in time",
		"a server that hangs after the headers":                "the endpoint did not answer in time",
		"a connection that is reset in mid-body":               "connection reset by peer",
		"a connection that is closed in mid-body":              "unexpected EOF",
		"a connection that is closed without an answer":        "the endpoint closed the connection",
		"something that is not HTTP and quotes the credential": "the request failed: *",
		"a status that is no number and quotes the credential": "the request failed: *",
	}
	for name, fault := range standin.Faults("hunter2") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := standin.Serve(fault)
			defer s.Close()
			timeout := 30 * time.Second
			if strings.Contains(name, "hangs") {
				timeout = 50 * time.Millisecond
			}
			answer, err := newClient(t, s.URL, nil, timeout).Get(t.Context(), secretHeader())
			if want[name] == "" {
				if err != nil || answer.Status < 300 {
					t.Errorf("got %v, %v: the package that asks is to judge the status", answer, err)
				}
				return
			}
			text := fmt.Sprint(err)
			if !errors.Is(err, interceptor.ErrUnavailable) || !strings.Contains(text, "test: ") || !strings.Contains(text, want[name]) {
				t.Errorf("got %v, want %q", err, want[name])
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("the error quotes: %v", err)
			}
		})
	}
}

// A small answer may unpack to a large one.
func TestABodyIsBoundedUnpacked(t *testing.T) {
	s := standin.Serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		for range 100 {
			packed.Write(make([]byte, 1<<20))
		}
		packed.Close()
	})
	defer s.Close()
	_, err := newClient(t, s.URL, nil, time.Minute).Get(t.Context(), nil)
	if !errors.Is(err, interceptor.ErrUnavailable) || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("got %v", err)
	}
}

func TestABodyOfOneMebibyteIsRead(t *testing.T) {
	for size, good := range map[int]bool{0: true, 1 << 20: true, 1<<20 + 1: false} {
		s := standin.Serve(standin.Says(200, strings.Repeat(" ", size)))
		answer, err := newClient(t, s.URL, nil, time.Minute).Get(t.Context(), nil)
		if (err == nil) != good || good && len(answer.Body) != size {
			t.Errorf("%d bytes: %v", size, err)
		}
		s.Close()
	}
}

func TestAnEndlessAnswerIsNotReadToItsEnd(t *testing.T) {
	var written atomic.Int64
	s := standin.Serve(func(w http.ResponseWriter, _ *http.Request) {
		for chunk := make([]byte, 64<<10); ; {
			n, err := w.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	_, err := newClient(t, s.URL, nil, time.Minute).Get(t.Context(), nil)
	s.Close() // waits for the handler
	if !errors.Is(err, interceptor.ErrUnavailable) || written.Load() > 32<<20 {
		t.Errorf("%v after %d bytes", err, written.Load())
	}
}

func TestACertificateIsChecked(t *testing.T) {
	s := httptest.NewUnstartedServer(standin.Says(200, "{}"))
	s.Config.ErrorLog = nil
	s.StartTLS()
	defer s.Close()
	_, err := newClient(t, s.URL, nil, time.Minute).Get(t.Context(), secretHeader())
	if !errors.Is(err, interceptor.ErrUnavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	given := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer given.CloseIdleConnections()
	if _, err := newClient(t, s.URL, given, time.Minute).Get(t.Context(), secretHeader()); err != nil {
		t.Errorf("a client that knows the certificate: %v", err)
	}
}

func TestDelays(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	tests := map[string]struct {
		header   []string
		min, max time.Duration
	}{
		"seconds":                      {[]string{"Retry-After", "7"}, 7 * time.Second, 7 * time.Second},
		"better-auth's header":         {[]string{"X-Retry-After", "7"}, 7 * time.Second, 7 * time.Second},
		"the standard one comes first": {[]string{"X-Retry-After", "7", "Retry-After", "8"}, 8 * time.Second, 8 * time.Second},
		"a date":                       {[]string{"Retry-After", in(10 * time.Minute)}, 9 * time.Minute, 10 * time.Minute},
		"a date that has passed":       {[]string{"Retry-After", in(-time.Minute)}, 0, 0},
		"more than an hour":            {[]string{"Retry-After", "4000000000"}, time.Hour, time.Hour},
		"more than a number holds":     {[]string{"Retry-After", "99999999999999999999"}, 0, 0},
		"nothing":                      {nil, 0, 0},
		"zero":                         {[]string{"Retry-After", "0"}, 0, 0},
		"less than nothing":            {[]string{"Retry-After", "-7"}, 0, 0},
		"junk":                         {[]string{"Retry-After", "soon"}, 0, 0},
	}
	for name, test := range tests {
		s := standin.Serve(standin.Says(429, "", test.header...))
		_, err := newClient(t, s.URL, nil, time.Minute).Get(t.Context(), nil)
		a, newErr := interceptor.NewSessionAuth(func(context.Context, string, http.Header) (*int, error) { return nil, err },
			func(context.Context, *int) (*authcontext.AuthContext, error) { return nil, nil })
		if newErr != nil {
			t.Fatal(newErr)
		}
		_, err = a.Authenticate(t.Context(), secretHeader())
		got := standin.OutcomeOf(err)
		if got.After(0) != standin.Unknown || got.Delay < test.min || got.Delay > test.max {
			t.Errorf("%s: %+v", name, got)
		}
		s.Close()
	}
}

// propagator writes whatever it likes.
type propagator struct{ propagation.TraceContext }

func (propagator) Inject(_ context.Context, carrier propagation.TextMapCarrier) {
	carrier.Set("authorization", "Bearer of-the-propagator")
	carrier.Set("traceparent", "x")
}

func TestAPropagatorDoesNotReplaceACredential(t *testing.T) {
	before := otel.GetTextMapPropagator()
	otel.SetTextMapPropagator(propagator{})
	defer otel.SetTextMapPropagator(before)
	s := standin.Serve(standin.Says(200, ""))
	defer s.Close()
	header := secretHeader()
	if _, err := newClient(t, s.URL, nil, time.Minute).Get(t.Context(), header); err != nil {
		t.Fatal(err)
	}
	got := s.Asked()[0].Header
	if !slices.Equal(got["Authorization"], []string{"Bearer hunter2"}) || got.Get("Traceparent") != "x" {
		t.Errorf("sent %v", got)
	}
	if len(header) != 1 {
		t.Errorf("the header that was passed in was changed: %v", header)
	}
}

// roundTrip is a transport of the user's own.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTheErrorsOfATransportAreNotQuoted(t *testing.T) {
	for name, transport := range map[string]roundTrip{
		"an error that quotes": func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("sending %v", r.Header) },
		"a body that fails": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(failing{r}), Request: r}, nil
		},
	} {
		_, err := newClient(t, "http://auth.internal", &http.Client{Transport: transport}, time.Minute).Get(t.Context(), secretHeader())
		if !errors.Is(err, interceptor.ErrUnavailable) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failing struct{ r *http.Request }

func (f failing) Read([]byte) (int, error) { return 0, fmt.Errorf("reading for %v", f.r.Header) }

func TestChoose(t *testing.T) {
	cookies := authmd.Cookie("sid")
	for name, test := range map[string]struct {
		token, authorization, cookie string
		want                         string
		isCookie, ok                 bool
	}{
		"a bearer token":                         {"t", "Bearer t", "sid=c", "t", false, true},
		"a cookie":                               {"c", "Bearer t", "sid=c", "c", true, true},
		"a bearer token that a cookie holds too": {"t", "Bearer t", "sid=t", "t", false, true},
		"a whole Cookie header":                  {"a=1; sid=c", "", "a=1; sid=c", "c", true, true},
		"a whole Cookie header with an empty cookie first": {"sid=; sid=c", "", "sid=; sid=c", "c", true, true},
		"a whole Cookie header without the cookie":         {"a=1", "", "a=1", "", false, false},
		"a token from elsewhere":                           {"x", "Bearer t", "sid=c", "x", false, true},
		"a token that cannot be sent":                      {"x y", "", "", "x y", false, false},
		"no token":                                         {"", "", "sid=", "", true, false},
	} {
		header := http.Header{}
		if test.authorization != "" {
			header.Set("Authorization", test.authorization)
		}
		if test.cookie != "" {
			header.Set("Cookie", test.cookie)
		}
		got, ok := endpoint.Choose(test.token, header, cookies, authmd.Bearer())
		if got.Token != test.want || got.Cookie != test.isCookie || ok != test.ok {
			t.Errorf("%s: token %q, cookie %t, ok %t", name, got.Token, got.Cookie, ok)
		}
		if printed := fmt.Sprintf("%v %+v %#v", got, got, got); test.want != "" && printed != strings.TrimSuffix(strings.Repeat("Credential[redacted] ", 3), " ") {
			t.Errorf("%s: prints %s", name, printed)
		}
	}
}

func FuzzChoose(f *testing.F) {
	f.Add("t", "Bearer t", "sid=c; a=b")
	f.Add("sid=c", "", "sid=c")
	cookies := authmd.Cookie("sid")
	f.Fuzz(func(t *testing.T, token, authorization, cookie string) {
		header := http.Header{"Authorization": {authorization}, "Cookie": {cookie}}
		got, ok := endpoint.Choose(token, header, cookies, authmd.Bearer())
		if !ok {
			return
		}
		if strings.ContainsAny(got.Token+got.Value, "\r\n\x00 ;") && got.Cookie || strings.ContainsAny(got.Token, "\r\n\x00 ") {
			t.Errorf("%q cannot be sent", got.Value)
		}
		if got.Cookie && !strings.Contains(cookie, got.Value) {
			t.Errorf("%q is not in the request", got.Value)
		}
	})
}
