package sessionauth_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// TestAnExtractorFuncIsNotHandedTooMuch: it reads the whole header.
func TestAnExtractorFuncIsNotHandedTooMuch(t *testing.T) {
	custom := authmd.ExtractorFunc(func(http.Header) (string, bool) { t.Error("the extractor ran"); return "", false })
	a := newAuth(t, newOwner(), interceptor.WithExtractors(custom), interceptor.WithKeyHeaders())
	_, err := a.Authenticate(t.Context(), http.Header{"X-Other": {strings.Repeat("x", 300<<10)}})
	invalid.check(t, err)
}

// TestACookieThatAnExtractorFuncMayHaveReadIsGuarded, in restricted mode, too.
func TestACookieThatAnExtractorFuncMayHaveReadIsGuarded(t *testing.T) {
	custom := authmd.ExtractorFunc(func(h http.Header) (string, bool) { return strings.TrimPrefix(h.Get("Cookie"), "sid="), true })
	o := newOwner("good")
	a := newAuth(t, o, interceptor.WithExtractors(custom), interceptor.WithKeyHeaders(), interceptor.WithAllowedOrigins())
	_, err := a.Authenticate(t.Context(), http.Header{"Cookie": {"sid=good"}, "Origin": {"https://evil.example"}})
	foreign.check(t, err)
	if o.verified.Load() != 0 {
		t.Error("the owner was asked")
	}
}

// TestWhatAnExtractorFuncDoesNotClaimIsNoCredential: half an answer is none.
func TestWhatAnExtractorFuncDoesNotClaimIsNoCredential(t *testing.T) {
	for name, find := range map[string]authmd.ExtractorFunc{
		"a token and false": func(http.Header) (string, bool) { return "t1", false },
		"true and no token": func(http.Header) (string, bool) { return "", true },
	} {
		for _, opts := range [][]interceptor.Option{nil, {hour}} {
			o := newOwner("t1", "")
			a := newAuth(t, o, append(slices.Clip(opts), interceptor.WithExtractors(find))...)
			_, err := a.Authenticate(t.Context(), bearerHeader("t1"))
			missing.check(t, err)
			if o.verified.Load() != 0 {
				t.Errorf("%s: the owner was asked", name)
			}
			a = newAuth(t, o, append(slices.Clip(opts), interceptor.WithExtractors(find, authmd.Bearer()))...)
			if found, err := a.Authenticate(t.Context(), bearerHeader("t1")); err != nil || found.AuthContext().Subject != "user-of-t1" {
				t.Errorf("%s, before one that finds it: %v", name, err)
			}
		}
	}
}

// A cookie may hold what in a header of one credential would join two.
func TestACommaInACookieIsNoContradiction(t *testing.T) {
	a := newAuth(t, newOwner("t1"), interceptor.WithExtractors(authmd.Cookie("sid")))
	if _, err := a.Authenticate(t.Context(), http.Header{"Cookie": {"prefs=a,b; sid=t1"}}); err != nil {
		t.Error(err)
	}
}

// inflating is a Source that finds more than was there.
type inflating struct{ authmd.Source }

func (inflating) AppendCredentials(dst []authmd.Credential, _ []string) []authmd.Credential {
	for range 5 {
		value := strings.Repeat("x", 15<<10)
		dst = append(dst, authmd.Credential{Value: value, Token: value})
	}
	return dst
}

// TestWhatASourceFindsIsBounded, whatever it makes of a small request.
func TestWhatASourceFindsIsBounded(t *testing.T) {
	source, _ := authmd.HeaderToken("X-A").(authmd.Source)
	o := newOwner()
	a := newAuth(t, o, hour, interceptor.WithExtractors(inflating{source}))
	_, err := a.Authenticate(t.Context(), http.Header{"X-A": {"t"}})
	invalid.check(t, err)
	if o.verified.Load() != 0 {
		t.Error("the owner was asked")
	}
}

// The call that did not start it has no span of its own for it.
func TestACallThatSharesAVerificationIsLinkedToIt(t *testing.T) {
	for want, sampler := range []sdktrace.Sampler{sdktrace.NeverSample(), sdktrace.AlwaysSample()} {
		synctest.Test(t, func(t *testing.T) {
			spans := tracetest.NewSpanRecorder()
			tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			verifications := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sampler))
			g := &gate{open: make(chan struct{})}
			a, err := interceptor.NewSessionAuth(g.verify, subjectOf, minute, interceptor.WithTracerProvider(verifications))
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					ctx, span := tracers.Tracer("test").Start(context.Background(), "rpc")
					defer span.End()
					if _, err := a.Authenticate(ctx, bearerHeader("t1")); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			close(g.open)
			wg.Wait()
			verification := trace.SpanID{} // if it is sampled
			links := 0
			for _, span := range spans.Ended() {
				if span.Name() == telemetry.SpanVerify {
					verification = span.SpanContext().SpanID()
				}
			}
			for _, span := range spans.Ended() {
				for _, link := range span.Links() {
					if links++; link.SpanContext.SpanID() != verification || !link.SpanContext.IsSampled() {
						t.Errorf("a link to %v", link.SpanContext)
					}
				}
			}
			if links != want {
				t.Errorf("%d links to the verification, want %d", links, want)
			}
		})
	}
}
