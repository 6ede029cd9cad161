package sessionauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// logged is what a logger of JSON has written.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// lines returns what was logged since the last time.
func (l *logged) lines(t *testing.T) (lines []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.out.String()) {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, "time")
		lines = append(lines, m)
	}
	l.out.Reset()
	return lines
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

func TestWithLogger(t *testing.T) {
	type line = map[string]any
	failed := func(errorType, exception, message string) []line {
		return []line{{"level": "WARN", "msg": "verification failed", "error.type": errorType, "exception.type": exception, "exception.message": message}}
	}
	refusedOnly := func(errorType string) []line {
		return []line{{"level": "INFO", "msg": "call refused", "error.type": errorType}}
	}
	const hidden = "an extractor or the func of WithKeyContext did not return; why may hold a credential, and is not shown"
	tests := map[string]struct {
		fail  error
		opts  []interceptor.Option
		pairs []string
		want  []line
	}{
		"a call that is let in":                {nil, nil, []string{"authorization", "Bearer t1"}, nil},
		"one that carries nothing":             {nil, nil, nil, refusedOnly("missing_credentials")},
		"nothing, where that is allowed":       {nil, []interceptor.Option{interceptor.WithOptionalAuth()}, nil, nil},
		"a method that is skipped":             {nil, []interceptor.Option{interceptor.WithSkipMethods("*")}, nil, nil},
		"two credentials":                      {nil, nil, []string{"authorization", "Bearer a", "authorization", "Bearer b"}, refusedOnly("ambiguous_credentials")},
		"too much":                             {nil, nil, []string{"authorization", "Bearer " + strings.Repeat("t", 20<<10)}, refusedOnly("invalid_session")},
		"a foreign origin":                     {nil, []interceptor.Option{interceptor.WithAllowedOrigins()}, []string{"cookie", "sid=t1", "origin", "https://evil.example"}, refusedOnly("origin_not_allowed")},
		"a session that is none":               {nil, nil, []string{"authorization", "Bearer junk-junk"}, failed("invalid_session", "*errors.joinError", "owner: no row\ninterceptor: invalid session")},
		"an outage":                            {fmt.Errorf("owner of t1-t1: %w", interceptor.ErrUnavailable), nil, []string{"authorization", "Bearer t1-t1"}, failed("verification_unavailable", "*fmt.wrapError", "owner of [redacted]: interceptor: session verification unavailable")},
		"a header that is too much to hand on": {nil, nil, []string{"authorization", "Bearer t1", "x-other", strings.Repeat("x", 300<<10)}, failed("invalid_session", "*errors.errorString", "the header is too large to be handed on; see WithKeyHeaders")},
		"an extractor that panics": {nil, []interceptor.Option{interceptor.WithExtractors(authmd.ExtractorFunc(func(http.Header) (string, bool) { panic("t1") }))}, nil,
			append(failed("verification_failed", "*errors.errorString", hidden), refusedOnly("verification_failed")...)},
	}
	for name, test := range tests {
		for _, opts := range [][]interceptor.Option{nil, {hour}} {
			t.Run(fmt.Sprintf("%s, cached %t", name, opts != nil), func(t *testing.T) {
				o, out := newOwner("t1", "sid=t1"), &logged{}
				o.setFail(test.fail)
				client := serve(t, &service{}, newAuth(t, o, slices.Concat(opts, test.opts, []interceptor.Option{interceptor.WithLogger(out.logger())})...).ServerOptions()...)
				_, _ = kinds["unary"](with(t, test.pairs...), client, "")
				if got := out.lines(t); fmt.Sprint(got) != fmt.Sprint(test.want) {
					t.Errorf("logged %v, want %v", got, test.want)
				}
				_, _ = kinds["unary"](with(t, test.pairs...), client, "")
				if name == "a session that is none" && opts != nil && len(out.lines(t)) != 0 {
					t.Error("a refusal from memory was logged: nothing was verified")
				}
			})
		}
	}
	t.Run("a gateway", func(t *testing.T) {
		out := &logged{}
		g := newGateway(t, interceptor.WithSharedSecrets(gatewaySecret), interceptor.WithLogger(out.logger()))
		_, _ = g.Authenticate(t.Context(), http.Header{"X-Gateway-Secret": {"s3cr3t"}, "X-Auth-Subject": {"ann"}})
		if got, want := out.lines(t), refusedOnly("untrusted_caller"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("logged %v, want %v", got, want)
		}
		_, _ = g.Authenticate(t.Context(), http.Header{"X-Gateway-Secret": {gatewaySecret}, "X-Auth-Subject": {"ann"}, "X-Auth-Roles": {"s3cr3t"}})
		if got := fmt.Sprint(out.lines(t)); !strings.Contains(got, "malformed_identity") || strings.Contains(got, "s3cr3t") || strings.Contains(got, gatewaySecret) {
			t.Errorf("logged %v", got)
		}
	})
}

func TestByDefaultNothingIsLogged(t *testing.T) {
	out, before := &logged{}, slog.Default()
	slog.SetDefault(out.logger())
	t.Cleanup(func() { slog.SetDefault(before) })
	for _, opts := range [][]interceptor.Option{nil, {interceptor.WithLogger(nil)}, {hour}} {
		o := newOwner()
		o.setFail(errors.New("x"))
		a := newAuth(t, o, opts...)
		_, _ = a.Authenticate(t.Context(), bearerHeader("t1"))
		_, _ = a.Authenticate(t.Context(), nil)
	}
	if got := out.lines(t); len(got) != 0 {
		t.Errorf("logged %v", got)
	}
}

// TestWhatAnybodyCanCauseFillsNoDisk: ten lines a second, and how many were left out.
func TestWhatAnybodyCanCauseFillsNoDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &logged{}
		a := newAuth(t, newOwner(), interceptor.WithLogger(out.logger()))
		for i := range 1000 {
			_, _ = a.Authenticate(t.Context(), nil)
			_, _ = a.Authenticate(t.Context(), bearerHeader(fmt.Sprint("junk", i)))
		}
		if got := len(out.lines(t)); got != 10 {
			t.Errorf("%d lines for 2,000 refusals within a second, want 10", got)
		}
		time.Sleep(time.Second)
		_, _ = a.Authenticate(t.Context(), nil)
		if got := out.lines(t); len(got) != 1 || got[0]["left_out"] != 1990.0 {
			t.Errorf("a second later: %v", got)
		}
	})
}

// TestNoSpellingOfACredentialIsRecorded: whatever an owner says of a credential it was
// shown, neither the span nor the log has it.
func TestNoSpellingOfACredentialIsRecorded(t *testing.T) {
	signed := interceptor.WithExtractors(authmd.Named(authmd.Bearer(), authmd.UnsignedToken), authmd.Named(authmd.Cookie("sid"), authmd.UnsignedToken))
	digests := interceptor.WithExtractors(authmd.Named(authmd.Bearer(), func(token string) string { return strings.ToUpper(strings.TrimPrefix(token, "v1-")) }))
	for name, test := range map[string]struct {
		opts   []interceptor.Option
		header http.Header
		said   []string // by the owner
		secret string
	}{
		"the part of a signed token before the dot": {[]interceptor.Option{signed}, http.Header{"Authorization": {"Bearer s3cr3t-token.signature"}}, []string{"s3cr3t-token", "s3cr3t-token.signature", url.PathEscape("s3cr3t-token.signature")}, "s3cr3t"},
		"that of a default extractor's":             {nil, http.Header{"Authorization": {"Bearer s3cr3t-token.signature"}}, []string{"s3cr3t-token"}, "s3cr3t"},
		"that of a cookie":                          {[]interceptor.Option{signed}, http.Header{"Cookie": {"sid=s3cr3t-token%2Esignature"}}, []string{"s3cr3t-token", "s3cr3t-token.signature", "s3cr3t-token%2Esignature"}, "s3cr3t"},
		"that of Express":                           {nil, http.Header{"Cookie": {"theme=dark; connect.sid=s%3As3cr3t-token.signature"}}, []string{"s3cr3t-token", "s:s3cr3t-token", "s:s3cr3t-token.signature"}, "s3cr3t"},
		"the value of a quoted cookie":              {[]interceptor.Option{signed}, http.Header{"Cookie": {`sid="s3cr3t+token"`}}, []string{"s3cr3t+token", `"s3cr3t+token"`, fmt.Sprintf("%q", `sid="s3cr3t+token"`), "s3cr3t%2Btoken"}, "s3cr3t"},
		"a quoted cookie of a whole header":         {nil, http.Header{"Cookie": {`theme=dark; sid="s3cr3t token"`}}, []string{"s3cr3t token", `"s3cr3t token"`, "s3cr3t+token", "s3cr3t%20token"}, "s3cr3t"},
		"a cookie that no extractor reads":          {[]interceptor.Option{signed}, http.Header{"Authorization": {"Bearer t1"}, "Cookie": {"other=s3cr3t-other; sid=t2"}}, []string{"s3cr3t-other", "other=s3cr3t-other; sid=t2"}, "s3cr3t"},
		"a credential of another scheme":            {nil, http.Header{"Authorization": {"Basic s3cr3t-basic"}, "Cookie": {"sid=t1"}}, []string{"s3cr3t-basic", "Basic s3cr3t-basic"}, "s3cr3t"},
		"one that did not win":                      {[]interceptor.Option{signed, interceptor.WithKeyHeaders()}, http.Header{"Authorization": {"Bearer t1"}, "Cookie": {"sid=s3cr3t-other"}}, []string{"s3cr3t-other"}, "s3cr3t"},
		"a header that did not win":                 {[]interceptor.Option{interceptor.WithExtractors(authmd.Bearer(), authmd.HeaderToken("X-A")), interceptor.WithKeyHeaders()}, http.Header{"Authorization": {"Bearer t1"}, "X-A": {"s3cr3t-other"}}, []string{"s3cr3t-other"}, "s3cr3t"},
		"the name that its owner has for it":        {[]interceptor.Option{digests}, http.Header{"Authorization": {"Bearer v1-s3cr3t-token"}}, []string{"S3CR3T-TOKEN"}, "S3CR3T"},
	} {
		for _, opts := range [][]interceptor.Option{nil, {hour}} {
			for how, fail := range map[string]func(text string) error{
				"error": func(text string) error { return errors.New("no session for " + text + " here") },
				"panic": func(text string) error { panic("no session for " + text + " here") },
				"base":  func(text string) error { return fmt.Errorf("no session for %q here", text) },
			} {
				t.Run(fmt.Sprintf("%s, %s, cached %t", name, how, opts != nil), func(t *testing.T) {
					for _, said := range test.said {
						out, spans := &logged{}, tracetest.NewSpanRecorder()
						tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
						verify := func(context.Context, string, http.Header) (*record, error) { return nil, fail(said) }
						a, err := interceptor.NewSessionAuth(verify, mapRecord, slices.Concat(opts, test.opts,
							[]interceptor.Option{interceptor.WithLogger(out.logger()), interceptor.WithTracerProvider(tracers)})...)
						if err != nil {
							t.Fatal(err)
						}
						if _, err := a.Authenticate(t.Context(), test.header); err == nil || strings.Contains(err.Error(), test.secret) {
							t.Errorf("err = %v", err)
						}
						all := out.text() + fmt.Sprint(spans.Ended()[0].Events(), spans.Ended()[0].Attributes(), spans.Ended()[0].Status())
						if strings.Contains(all, test.secret) || strings.Contains(all, base64.StdEncoding.EncodeToString([]byte(test.secret))) {
							t.Errorf("said %q, recorded %s", said, all)
						}
						if strings.Count(all, "[redacted]") < 2 || strings.Count(all, "no session for") < 2 {
							t.Errorf("said %q, recorded %s: not what was said without it", said, all)
						}
					}
				})
			}
		}
	}
}
