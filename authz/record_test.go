package authz_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authv1 "github.com/grpc-sessionauth/sessionauth/proto/connectum/auth/v1"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// decisions returns what the counter of decisions holds.
func decisions(t *testing.T, reader *sdkmetric.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	counted := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == telemetry.MetricDecisions {
				for _, point := range sum.DataPoints {
					counted[point.Attributes.Encoded(attribute.DefaultEncoder())] = point.Value
				}
			}
		}
	}
	return counted
}

func TestDecisionsAreCounted(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	a := newAuthz(t, authz.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))),
		authz.WithMeterProvider(nil), authz.WithMeterProvider((*sdkmetric.MeterProvider)(nil)),
		authz.WithPublicMethods("pkg.Open/*"),
		authz.WithRules(authz.Rule{Name: "readers", Methods: []string{"pkg.A/*"}, Effect: allow, Roles: []string{"reader"}}),
		authz.WithAuthorize(func(_ context.Context, caller *authcontext.AuthContext, _ string) (bool, error) {
			return caller.HasAnyRole("reader"), caller.Claims["error"].(error)
		}))
	failing := func(err error) context.Context {
		return as(t.Context(), authcontext.AuthContext{Claims: map[string]any{"error": err}})
	}
	for _, one := range []struct {
		ctx    context.Context
		method string
	}{
		{t.Context(), "/pkg.Open/Get"},
		{as(t.Context(), withRoles("reader")), "/pkg.A/Get"},
		{as(t.Context(), withRoles("reader")), "pkg.A/Get"},
		{t.Context(), "/pkg.A/Get"},
		{failing(errors.New("a bug")), "/pkg.B/Get"},
		{failing(interceptor.ErrUnavailable), "/pkg.B/Get"},
	} {
		_ = a.Authorize(one.ctx, one.method)
	}
	renewable := authcontext.NewRenewable(identity("reader"))
	_ = open(renewable.NewContext(t.Context()), a, "/pkg.A/Watch", func() error {
		for range 3 {
			if err := renewable.Renew(identity("reader")); err != nil { // which is nothing to count
				t.Error(err)
			}
		}
		return nil
	})
	want := map[string]int64{
		"sessionauth.decision=allow":                                     3,
		"error.type=access_denied,sessionauth.decision=deny":             1,
		"error.type=missing_credentials,sessionauth.decision=deny":       1,
		"error.type=authorization_failed,sessionauth.decision=deny":      1,
		"error.type=authorization_unavailable,sessionauth.decision=deny": 1,
	}
	if got := decisions(t, reader); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDenialsAreLogged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	a := newAuthz(t, authz.WithLogger(logger), authz.WithLogger(nil), authz.WithPublicMethods("pkg.Open/*"),
		authz.WithProtoOptions(described(t, nil, &authv1.MethodAuth{Internal: new(true)})),
		authz.WithInternalCallers(func(context.Context, *authcontext.AuthContext) bool { panic("no such role") }),
		authz.WithRules(authz.Rule{Name: "no-guests", Methods: []string{"pkg.A/*"}, Effect: deny, Roles: []string{"guest"}}),
		authz.WithAuthorize(func(_ context.Context, _ *authcontext.AuthContext, fullMethod string) (bool, error) {
			if fullMethod == "/pkg.B/Get" {
				return false, errors.New("no policy for it")
			}
			return true, nil
		}))
	for _, test := range []struct {
		name, method string
		ctx          context.Context
		want         string
	}{
		{"what is public", "/pkg.Open/Get", t.Context(), ""},
		{"what is allowed", "/pkg.A/Get", as(t.Context(), withRoles()), ""},
		{"a denial", "/pkg.A/Get", as(t.Context(), withRoles("guest")),
			`level=INFO msg="call denied" method=/pkg.A/Get rule=no-guests error.type=access_denied subject=somebody`},
		{"nobody", "/pkg.A/Get", t.Context(),
			`level=INFO msg="call denied" method=/pkg.A/Get rule="(no identity)" error.type=missing_credentials`},
		{"a callback that fails", "/pkg.B/Get", as(t.Context(), withRoles()),
			`level=WARN msg="call denied" method=/pkg.B/Get rule="(authorize callback)" error.type=authorization_failed subject=somebody cause="no policy for it"`},
		{"a callback that panics", "/pkg.Service/Call", as(t.Context(), withRoles()),
			`level=WARN msg="call denied" method=/pkg.Service/Call rule="(proto options)" error.type=access_denied subject=somebody cause="no such role"`},
		{"a name that a client made up", "/pkg.A/" + strings.Repeat("x", 1<<20) + "\n", as(t.Context(), withRoles()),
			`level=INFO msg="call denied" method=/pkg.A/` + strings.Repeat("x", 2<<10-len("/pkg.A/")) + `… rule="(malformed method name)" error.type=access_denied`},
	} {
		out.Reset()
		_ = a.Authorize(test.ctx, test.method)
		if got := strings.TrimSuffix(out.String(), "\n"); got != test.want {
			t.Errorf("%s: %.300s, want %.300s", test.name, got, test.want)
		}
	}
}

func TestAFloodOfDenialsIsNotAFloodOfLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		a := newAuthz(t, authz.WithLogger(slog.New(slog.NewTextHandler(&out, nil))))
		for range 1000 {
			_ = a.Authorize(t.Context(), "/pkg.A/Get")
		}
		time.Sleep(time.Second)
		_ = a.Authorize(t.Context(), "/pkg.A/Get")
		if text := out.String(); strings.Count(text, "\n") != 11 || strings.Count(text, "left_out=990") != 1 {
			t.Errorf("1000 denials and one:\n%s", text)
		}
	})
}
