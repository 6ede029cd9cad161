package sessionauth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestAnOptionThatMeansNothingHereFailsTheConstructor, or somebody would think themselves
// protected by it.
func TestAnOptionThatMeansNothingHereFailsTheConstructor(t *testing.T) {
	sessions := map[string]interceptor.Option{
		"WithCache":          interceptor.WithCache(cache.Policy{TTL: time.Minute}),
		"WithExtractors":     interceptor.WithExtractors(authmd.Bearer()),
		"WithKeyHeaders":     interceptor.WithKeyHeaders(),
		"WithKeyContext":     interceptor.WithKeyContext(func(_, to context.Context) (context.Context, string) { return to, "" }),
		"WithAllowedOrigins": interceptor.WithAllowedOrigins(),
		"WithOutageErrors":   interceptor.WithOutageErrors(func(error) bool { return false }),
		"WithStreamRecheck":  interceptor.WithStreamRecheck(time.Minute),
		"WithBus":            interceptor.WithBus(&bus{}, busSecret),
	}
	gateways := map[string]interceptor.Option{
		"WithSharedSecrets": interceptor.WithSharedSecrets(gatewaySecret),
		"WithSecretHeader":  interceptor.WithSecretHeader("x-mesh-secret"),
		"WithTrustedPeers":  interceptor.WithTrustedPeers("gateway.internal"),
	}
	o := newOwner()
	all, allGateways := []interceptor.Option{nil}, []interceptor.Option{}
	for name, opt := range sessions {
		all = append(all, opt)
		g, err := interceptor.NewGatewayAuth(gateways["WithSharedSecrets"], opt)
		if want := "interceptor: NewGatewayAuth: " + name + " is for NewSessionAuth"; g != nil || err == nil || err.Error() != want {
			t.Errorf("%v, %v, want %s", g, err, want)
		}
		if _, err := interceptor.NewSessionAuth(o.verify, mapRecord, opt); err != nil {
			t.Errorf("%s in its place: %v", name, err)
		}
	}
	for name, opt := range gateways {
		allGateways = append(allGateways, opt)
		a, err := interceptor.NewSessionAuth(o.verify, mapRecord, opt)
		if want := "interceptor: NewSessionAuth: " + name + " is for NewGatewayAuth"; a != nil || err == nil || err.Error() != want {
			t.Errorf("%v, %v, want %s", a, err, want)
		}
	}
	if _, err := interceptor.NewGatewayAuth(append(all, allGateways...)...); err == nil || strings.Count(err.Error(), "\n") != len(sessions)-1 {
		t.Errorf("not each of them is named: %v", err)
	}
	if _, err := interceptor.NewGatewayAuth(allGateways...); err != nil {
		t.Errorf("in their place: %v", err)
	}
	for name, opt := range map[string]interceptor.Option{
		"WithSkipMethods": interceptor.WithSkipMethods("*"), "WithOptionalAuth": interceptor.WithOptionalAuth(),
		"WithUnboundedStreams": interceptor.WithUnboundedStreams(), "WithLogger": interceptor.WithLogger(nil),
		"WithTracerProvider": interceptor.WithTracerProvider(nil), "WithMeterProvider": interceptor.WithMeterProvider(nil),
	} {
		_, one := interceptor.NewSessionAuth(o.verify, mapRecord, opt)
		_, other := interceptor.NewGatewayAuth(gateways["WithSharedSecrets"], opt)
		if err := errors.Join(one, other); err != nil {
			t.Errorf("%s, which is for both: %v", name, err)
		}
	}
}

// TestTheLeastThatAnOptionTakes is not refused.
func TestTheLeastThatAnOptionTakes(t *testing.T) {
	for name, opt := range map[string]interceptor.Option{
		"a recheck at once": interceptor.WithStreamRecheck(1),
		"eight extractors": interceptor.WithExtractors(
			authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(),
		),
		"a key header twice": interceptor.WithKeyHeaders("X-Tenant", "x-tenant", "Host"),
	} {
		if _, err := interceptor.NewSessionAuth(newOwner().verify, mapRecord, opt); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAShortSecretOfABusFailsTheConstructor(t *testing.T) {
	for secret, ok := range map[string]bool{"": false, busSecret[:31]: false, busSecret: true} {
		a, err := interceptor.NewSessionAuth(newOwner().verify, mapRecord, interceptor.WithBus(&bus{}, secret))
		if ok != (err == nil) || ok != (a != nil) || !ok && (!strings.HasPrefix(err.Error(), "interceptor: WithBus: secret 1 has ") || secret != "" && strings.Contains(err.Error(), secret)) {
			t.Errorf("%d bytes: %v", len(secret), err)
		}
	}
}

// TestWhatIsWrongIsNamedAllAtOnce: nobody has to start a server again for each mistake.
func TestWhatIsWrongIsNamedAllAtOnce(t *testing.T) {
	var none interceptor.VerifyFunc[*record]
	_, err := interceptor.NewSessionAuth(none, mapRecord, interceptor.WithSkipMethods("a"), interceptor.WithExtractors(nil, authmd.Cookie()),
		interceptor.WithKeyHeaders("te"), interceptor.WithCache(cache.Policy{TTL: -1, MaxEntries: -1}), interceptor.WithStreamRecheck(-1),
		interceptor.WithAllowedOrigins("*"), interceptor.WithBus(&bus{}, "short"), interceptor.WithSecretHeader("x"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"needs a verify and a map callback", `method pattern "a"`, "extractor 1 is nil", "extractor 2 has no valid", `WithKeyHeaders: "te"`,
		"TTL must be positive", "MaxEntries must not be negative", "WithStreamRecheck: the interval must be positive", `WithAllowedOrigins: "*"`,
		"WithBus: secret 1 has 5 bytes", "WithSecretHeader is for NewGatewayAuth",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in\n%v", want, err)
		}
	}
}
