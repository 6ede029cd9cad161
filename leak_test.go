package sessionauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

const (
	secret = "s3cr3t+tok3n/with=odd%20chars"
	pepper = "s3cr3t-cookie"
)

// leaky is a session that holds its own token, as better-auth's does.
type leaky struct{ Token string }

// structError is an error that %#v would print in full.
type structError struct{ Token string }

func (e structError) Error() string { return "verify of " + e.Token }

// TestNoTokenComesOut drives every way a call can end and searches everything
// that the library gives out.
func TestNoTokenComesOut(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))

	var out bytes.Buffer
	dump := func(what string, v any) {
		fmt.Fprintf(&out, "%s: %v | %+v | %#v | %s | %q\n", what, v, v, v, v, v)
		slog.New(slog.NewTextHandler(&out, nil)).Info(what, "v", v)
	}
	dial := &url.Error{Op: "Get", URL: "http://owner.test/?t=" + url.QueryEscape(secret) + "&c=" + pepper, Err: errors.New("refused")}
	ends := map[string]struct {
		verify func() (*leaky, error)
		mapper func() (*authcontext.AuthContext, error)
	}{
		"success":      {},
		"error":        {verify: func() (*leaky, error) { return nil, fmt.Errorf("no row for %q, %s", secret, pepper) }},
		"struct error": {verify: func() (*leaky, error) { return nil, structError{secret} }},
		"invalid":      {verify: func() (*leaky, error) { return nil, fmt.Errorf("%w: %s", interceptor.ErrInvalidSession, secret) }},
		"net error":    {verify: func() (*leaky, error) { return nil, dial }},
		"panic":        {verify: func() (*leaky, error) { panic("token " + secret) }},
		"panic value":  {verify: func() (*leaky, error) { panic(structError{secret}) }},
		"map error":    {mapper: func() (*authcontext.AuthContext, error) { return nil, errors.New(secret) }},
		"map panic":    {mapper: func() (*authcontext.AuthContext, error) { panic(&leaky{secret}) }},
		"header error": {verify: func() (*leaky, error) {
			return nil, errors.New("Authorization: Bearer " + secret + "; Cookie: a=b; sid=" + pepper)
		}},
		"escaped error": {verify: func() (*leaky, error) {
			return nil, errors.New(url.PathEscape(secret) + " " + strings.ReplaceAll(secret, "%20", " "))
		}},
	}
	md := grpcmd.Pairs("authorization", "Bearer "+secret, "cookie", "a=b; sid="+pepper)
	for name, end := range ends {
		verify := func(context.Context, string, http.Header) (*leaky, error) {
			if end.verify != nil {
				return end.verify()
			}
			return &leaky{secret}, nil
		}
		mapper := func(_ context.Context, s *leaky) (*authcontext.AuthContext, error) {
			if end.mapper != nil {
				return end.mapper()
			}
			return &authcontext.AuthContext{Subject: "ada", Claims: map[string]any{"session": *s, "token": s.Token}}, nil
		}
		for _, opts := range [][]interceptor.Option{nil, {interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute})}} {
			opts = append(opts, interceptor.WithTracerProvider(tracers), interceptor.WithMeterProvider(meters))
			a, err := interceptor.NewSessionAuth(verify, mapper, opts...)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				rpc, span := tracers.Tracer("test").Start(grpcmd.NewIncomingContext(t.Context(), md), "rpc")
				ctx, err := a.AuthFunc(rpc)
				span.End()
				if err != nil {
					dump(name, err)
					dump(name, errors.Unwrap(err))
				} else {
					ac, _ := authcontext.FromContext(ctx)
					dump(name, ac)
					dump(name, *ac)
					dump(name, struct{ AC *authcontext.AuthContext }{ac})
					dump(name, struct{ AC authcontext.AuthContext }{*ac})
					// A context prints what it carries, and grpc's own part of it, the
					// metadata, is not ours to hide.
					carried, _ := authcontext.FromContext(ctx)
					dump(name, authcontext.NewIdentity(carried, leaky{secret}).NewContext(t.Context()))
					dump(name, authcontext.NewIdentity(carried, leaky{secret}))
				}
				dump(name, a)
				dump(name, a.Stats())
				found, _ := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer " + secret}, "Cookie": {"a=b; sid=" + pepper}})
				dump(name, found)
				dump(name, found.Session)
			}
		}
	}
	dump("key", cache.NewKey(secret))
	bearer, _ := authmd.Bearer().(authmd.Source)
	dump("credential", bearer.AppendCredentials(nil, []string{"Bearer " + secret}))
	dump("panic", &catch.PanicError{Value: secret, Stack: []byte(secret)})
	dump("panic", error(&catch.PanicError{Value: secret, Stack: []byte(secret)}))

	recorded := 0
	for _, span := range spans.Ended() {
		for _, attribute := range span.Attributes() {
			fmt.Fprintf(&out, "span %s: %s=%s\n", span.Name(), attribute.Key, attribute.Value.String())
		}
		fmt.Fprintf(&out, "span status: %s\n", span.Status().Description)
		for _, event := range span.Events() {
			recorded++
			for _, attribute := range event.Attributes {
				fmt.Fprintf(&out, "event %s: %s=%s\n", event.Name, attribute.Key, attribute.Value.String())
			}
		}
	}
	if recorded == 0 {
		t.Error("no cause was recorded on any span: nothing was tested")
	}
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &metrics); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(&out).Encode(metrics.ScopeMetrics); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		for _, form := range []string{secret, pepper, url.QueryEscape(secret), "s3cr3t", fmt.Sprintf("%x", secret)} {
			if strings.Contains(line, form) {
				t.Errorf("%q comes out:\n%s", form, line)
				break
			}
		}
	}
	for _, want := range []string{"no row for", "verify of", "exception.stacktrace", "panic(string)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the causes on the spans do not say %q", want)
		}
	}
}
