package sessionauth_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// errOwn is an error of a user's that only the user can classify.
var errOwn = errors.New("owner: maintenance")

// TestWhatAnOutageIs: in one nobody is logged out, and nothing else is taken for one, or a
// session that has ended would be served.
func TestWhatAnOutageIs(t *testing.T) {
	_, noFile := os.ReadFile("no such file")
	outages := map[string]error{
		"ErrUnavailable":                 interceptor.ErrUnavailable,
		"a delay that the owner named":   interceptor.RetryAfter(0, errors.New("429")),
		"an unexpected EOF":              fmt.Errorf("read: %w", io.ErrUnexpectedEOF),
		"a bad connection of a driver":   fmt.Errorf("query: %w", driver.ErrBadConn),
		"a connection that is done":      sql.ErrConnDone,
		"Canceled of an inner call":      fmt.Errorf("query: %w", context.Canceled),
		"DeadlineExceeded":               fmt.Errorf("query: %w", context.DeadlineExceeded),
		"a refused connection":           &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"a reset connection":             fmt.Errorf("read: %w", syscall.ECONNRESET),
		"a broken pipe":                  syscall.EPIPE,
		"a name that is not found":       &net.DNSError{Err: "no such host", Name: "owner.test", IsNotFound: true},
		"an HTTP client's":               &url.Error{Op: "Get", URL: "http://owner.test", Err: io.EOF},
		"a status Unavailable":           status.Error(codes.Unavailable, "x"),
		"a status DeadlineExceeded":      status.Error(codes.DeadlineExceeded, "x"),
		"a status ResourceExhausted":     status.Error(codes.ResourceExhausted, "x"),
		"one of several that are joined": errors.Join(errors.New("a"), syscall.ETIMEDOUT),
	}
	others := map[string]error{
		"a file that is not there":       noFile,
		"a file that may not be read":    &os.PathError{Op: "open", Path: "p", Err: syscall.EACCES},
		"an errno of no connection":      syscall.EINVAL,
		"a URL that cannot be parsed":    &url.Error{Op: "parse", URL: ":", Err: errors.New("x")},
		"the end of a file":              io.EOF,
		"no rows":                        sql.ErrNoRows,
		"any other":                      errors.New("x"),
		"one that nobody has classified": errOwn,
	}
	check := func(name string, fail error, want refusal, opts ...interceptor.Option) {
		for by, verdict := range map[string]verdict{"verify": verifyErr(fail), "map": mapErr(fail)} {
			t.Run(name+", "+by, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					failing := false
					verify := func(ctx context.Context, _ string, _ http.Header) (*record, error) {
						if failing && verdict.verify != nil {
							return verdict.verify(ctx)
						}
						return &record{User: "ada"}, nil
					}
					mapper := func(ctx context.Context, r *record) (*authcontext.AuthContext, error) {
						if failing && verdict.mapper != nil {
							return verdict.mapper(ctx, r)
						}
						return mapRecord(ctx, r)
					}
					want := want
					if by == "map" && want == notVerified && !strings.HasPrefix(name, "an opinion that ") {
						want = notMapped
					}
					opts := append(slices.Clip(opts), interceptor.WithCache(cache.Policy{TTL: 10 * s, StaleIfError: 60 * s, NegativeTTL: time.Hour}))
					a, err := interceptor.NewSessionAuth(verify, mapper, opts...)
					if err != nil {
						t.Fatal(err)
					}
					if _, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
						t.Fatal(err)
					}
					failing = true
					_, err = a.Authenticate(t.Context(), bearerHeader("t2"))
					want.check(t, err)
					if a.Stats().NegativeEntries != 0 {
						t.Error("a refusal is remembered")
					}
					time.Sleep(20 * s)
					_, err = a.Authenticate(t.Context(), bearerHeader("t1"))
					if want == unavailable && err != nil {
						t.Errorf("a session in memory: %v", err)
					} else if want != unavailable {
						want.check(t, err)
					}
				})
			})
		}
	}
	for name, err := range outages {
		check(name, err, unavailable)
	}
	for name, err := range others {
		check(name, err, notVerified)
	}
	own := interceptor.WithOutageErrors(func(err error) bool { return errors.Is(err, errOwn) })
	check("what WithOutageErrors says", fmt.Errorf("owner: %w", errOwn), unavailable, own)
	check("what it does not", errors.New("x"), notVerified, own)
	check("nil says nothing", errOwn, notVerified, interceptor.WithOutageErrors(nil))
	check("an opinion that panics", errOwn, notVerified, interceptor.WithOutageErrors(func(error) bool { panic("x") }))
	check("an opinion that ends its goroutine", errOwn, notVerified, interceptor.WithOutageErrors(func(error) bool { goexit(); return true }))
	check("a status is asked about, too", status.Error(codes.Internal, "x"), unavailable, interceptor.WithOutageErrors(func(err error) bool { return status.Code(err) == codes.Internal }))
}

func TestWithOutageErrorsIsNotAskedAboutASessionThatIsNone(t *testing.T) {
	o := newOwner()
	a := newAuth(t, o, interceptor.WithOutageErrors(func(error) bool { return true }))
	_, err := a.Authenticate(t.Context(), bearerHeader("junk"))
	invalid.check(t, err)
}

// sourceOf is a Source of a user's that does something else instead.
type sourceOf struct {
	authmd.Source
	instead func()
}

func (s sourceOf) AppendCredentials([]authmd.Credential, []string) []authmd.Credential {
	s.instead()
	return nil
}

// TestCodeOfUsersThatDoesNotReturn: the client is told, whatever became of it, and no
// session is believed that nobody has confirmed.
func TestCodeOfUsersThatDoesNotReturn(t *testing.T) {
	t.Setenv("GODEBUG", "panicnil=1")
	ends := map[string]func(){
		"panics":             func() { panic("t1") },
		"panics with nil":    func() { panic(nil) },
		"calls Goexit":       goexit,
		"panics with a type": func() { panic(fmt.Stringer(nil)) },
	}
	for name, end := range ends {
		o := newOwner("t1")
		custom := authmd.ExtractorFunc(func(http.Header) (string, bool) { end(); return "t1", true })
		source, _ := authmd.HeaderToken("X-Other").(authmd.Source)
		for by, test := range map[string]struct {
			verify interceptor.VerifyFunc[*record]
			mapper interceptor.MapFunc[*record]
			opts   []interceptor.Option
			want   refusal
		}{
			"an ExtractorFunc": {o.verify, mapRecord, []interceptor.Option{interceptor.WithExtractors(authmd.Bearer(), custom)}, notVerified},
			"a Source":         {o.verify, mapRecord, []interceptor.Option{interceptor.WithExtractors(sourceOf{source, end}, authmd.Bearer())}, notVerified},
			"a form of names":  {o.verify, mapRecord, []interceptor.Option{interceptor.WithExtractors(authmd.Named(authmd.Bearer(), func(string) string { end(); return "" }))}, notVerified},
			"verify":           {func(context.Context, string, http.Header) (*record, error) { end(); return &record{User: "ada"}, nil }, mapRecord, nil, notVerified},
			"map":              {o.verify, func(context.Context, *record) (*authcontext.AuthContext, error) { end(); return nil, nil }, nil, notMapped},
			"the func of WithOutageErrors": {
				func(context.Context, string, http.Header) (*record, error) { return nil, errors.New("t1") }, mapRecord,
				[]interceptor.Option{interceptor.WithOutageErrors(func(error) bool { end(); return true })}, notVerified,
			},
		} {
			if name == "calls Goexit" && by == "map" {
				test.want = notVerified // which of the callbacks it was is not known
			}
			for _, opts := range [][]interceptor.Option{nil, {hour}} {
				t.Run(fmt.Sprintf("%s %s, cached %t", by, name, opts != nil), func(t *testing.T) {
					spans := tracetest.NewSpanRecorder()
					tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
					opts := append(append(slices.Clip(opts), test.opts...), interceptor.WithTracerProvider(tracers))
					a, err := interceptor.NewSessionAuth(test.verify, test.mapper, opts...)
					if err != nil {
						t.Fatal(err)
					}
					client := serve(t, &service{}, a.ServerOptions()...)
					for _, kind := range []string{"unary", "bidi stream"} {
						_, err := kinds[kind](with(t, "authorization", "Bearer t1", "x-other", "t1"), client, "")
						test.want.check(t, err)
					}
					if started, ended := len(spans.Started()), len(spans.Ended()); started != ended {
						t.Errorf("%d spans were started, %d ended", started, ended)
					}
				})
			}
		}
	}
}

// TestAnExtractorThatHangsHoldsUpNobodyForLong: not even a client without a deadline.
func TestAnExtractorThatHangsHoldsUpNobodyForLong(t *testing.T) {
	for by, opt := range map[string]func(chan struct{}) interceptor.Option{
		"finding": func(c chan struct{}) interceptor.Option {
			return interceptor.WithExtractors(authmd.ExtractorFunc(func(http.Header) (string, bool) { <-c; return "t1", true }))
		},
		"naming": func(c chan struct{}) interceptor.Option {
			return interceptor.WithExtractors(authmd.Named(authmd.Bearer(), func(string) string { <-c; return "t1" }))
		},
	} {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached %t", by, cached), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					forever := make(chan struct{})
					defer close(forever)
					opts := []interceptor.Option{opt(forever)}
					if cached {
						opts = append(opts, hour)
					}
					a := newAuth(t, newOwner("t1"), opts...)
					start := time.Now()
					_, err := a.Authenticate(context.Background(), bearerHeader("t1"))
					notVerified.check(t, err)
					if took := time.Since(start); took != cache.DefaultVerifyTimeout {
						t.Errorf("took %v", took)
					}
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					if _, err = a.Authenticate(ctx, bearerHeader("t1")); status.Code(err) != codes.DeadlineExceeded {
						t.Errorf("a caller with a deadline: %v", err)
					}
				})
			})
		}
	}
}

// mute is an error whose methods panic.
type mute struct{ is bool }

func (mute) Error() string { panic("s3cr3t") }

func (m mute) Is(error) bool {
	if m.is {
		panic("s3cr3t")
	}
	return false
}

func TestAnErrorThatCannotBeReadEndsItsSpan(t *testing.T) {
	for name, fail := range map[string]error{"Error panics": mute{}, "Is panics": mute{is: true}, "a nil pointer": (*net.OpError)(nil)} {
		for _, opts := range [][]interceptor.Option{nil, {hour}} {
			t.Run(fmt.Sprintf("%s, cached %t", name, opts != nil), func(t *testing.T) {
				spans := tracetest.NewSpanRecorder()
				tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
				o := newOwner()
				o.setFail(fail)
				client := serve(t, &service{}, newAuth(t, o, append(slices.Clip(opts), interceptor.WithTracerProvider(tracers))...).ServerOptions()...)
				_, err := kinds["unary"](bearer(t, "t1"), client, "")
				if st := status.Convert(err); st.Code() != codes.Unauthenticated && name != "a nil pointer" || contains(st.Message(), "s3cr3t") || err == nil {
					t.Errorf("err = %v", err)
				}
				if started, ended := len(spans.Started()), len(spans.Ended()); started != 1 || ended != 1 {
					t.Errorf("%d spans were started, %d ended", started, ended)
				}
			})
		}
	}
}

func TestProvidersThatAreNilPointersAreTheGlobalOnes(t *testing.T) {
	var tracers *sdktrace.TracerProvider
	var meters *sdkmetric.MeterProvider
	var b *bus
	a := newAuth(t, newOwner("t1"), hour, interceptor.WithTracerProvider(tracers), interceptor.WithMeterProvider(meters), interceptor.WithBus(b, ""))
	if _, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
		t.Error(err)
	}
	if err := a.Forget(t.Context(), "t1"); err != nil {
		t.Error(err)
	}
	_ = newGateway(t, interceptor.WithSharedSecrets(gatewaySecret), interceptor.WithTracerProvider(tracers), interceptor.WithMeterProvider(meters))
}

// TestTheLongestTimesDoNotSwitchTheCacheOff, as a sum that overflows would.
func TestTheLongestTimesDoNotSwitchTheCacheOff(t *testing.T) {
	const forever = math.MaxInt64
	for name, policy := range map[string]cache.Policy{
		"TTL":           {TTL: forever},
		"StaleIfError":  {TTL: time.Hour, StaleIfError: forever},
		"both":          {TTL: forever, StaleIfError: forever, NegativeTTL: forever},
		"RefreshAfter":  {TTL: forever, RefreshAfter: forever - 1},
		"VerifyTimeout": {TTL: time.Hour, VerifyTimeout: forever, Patience: forever},
	} {
		for _, r := range []*record{{User: "ada"}, {User: "ada", Expires: time.Now().Add(time.Hour)}} {
			o := newOwner()
			o.set("t1", r)
			a := newAuth(t, o, interceptor.WithCache(policy))
			for range 3 {
				if _, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got := o.verified.Load(); got != 1 {
				t.Errorf("%s: %d verifications, want 1", name, got)
			}
			_ = a.Forget(t.Context(), "t1")
			_, _ = a.Authenticate(t.Context(), bearerHeader("t1"))
			if got := o.verified.Load(); got != 2 {
				t.Errorf("%s: %d verifications after a Forget, want 2", name, got)
			}
		}
	}
}
