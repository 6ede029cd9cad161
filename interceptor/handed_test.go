package interceptor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestCredentialsThatAreNamedAreNotLogged: a verifier that is handed a credential by
// WithKeyHeaders may quote it, as it may one that an extractor found.
func TestCredentialsThatAreNamedAreNotLogged(t *testing.T) {
	for _, name := range []string{"Authorization", "Cookie"} {
		var logged strings.Builder
		verify := func(_ context.Context, _ string, header http.Header) (*benchSession, error) {
			return nil, errors.New("asking with " + header.Get(name))
		}
		a, err := interceptor.NewSessionAuth(verify, benchMap, interceptor.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))),
			interceptor.WithExtractors(authmd.HeaderToken("X-Token")), interceptor.WithKeyHeaders(name))
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"X-Token": {"t0ken"}, name: {"sid=hunter2-and-more"}}
		if _, err := a.Authenticate(t.Context(), header); err == nil {
			t.Fatal("it was let in")
		}
		if got := logged.String(); !strings.Contains(got, "asking with") || strings.Contains(got, "hunter2") {
			t.Errorf("%s: logged %s", name, got)
		}
	}
}

// TestNoPartOfACookieIsLogged, be it the credential or beside it, of a header that is not handed
// on as it came.
func TestNoPartOfACookieIsLogged(t *testing.T) {
	for claim, set := range map[string]struct {
		extractor authmd.Extractor
		header    http.Header
	}{
		"a cookie":      {authmd.Cookie("sid"), http.Header{"Cookie": {"sid=hunter2%2Dand-more"}}},
		"all cookies":   {authmd.CookieHeader(), http.Header{"Cookie": {"a=of-a; sid=hunter2-and-more"}}},
		"a bearer":      {authmd.Bearer(), http.Header{"Authorization": {"Bearer hunter2=and-more"}}},
		"another token": {authmd.HeaderToken("X-Token"), http.Header{"X-Token": {"hunter2=and-more"}}},
	} {
		var logged strings.Builder
		verify := func(_ context.Context, token string, header http.Header) (*benchSession, error) {
			_, value, _ := strings.Cut(header.Get("Cookie"), "sid=")
			return nil, fmt.Errorf("asking with <%s>, <%s>, <%s>", token, value, header)
		}
		a, err := interceptor.NewSessionAuth(verify, benchMap, interceptor.WithLogger(slog.New(slog.NewTextHandler(&logged, nil))),
			interceptor.WithExtractors(set.extractor), interceptor.WithKeyHeaders())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Authenticate(t.Context(), set.header); err == nil {
			t.Fatal("it was let in")
		}
		if got := logged.String(); !strings.Contains(got, "asking with") || strings.Contains(got, "hunter2") {
			t.Errorf("%s: logged %s", claim, got)
		}
	}
}

// TestConnectionIsBounded: each name in it is compared with every header.
func TestConnectionIsBounded(t *testing.T) {
	verify := func(context.Context, string, http.Header) (*benchSession, error) { return &benchSession{"user-1"}, nil }
	a, err := interceptor.NewSessionAuth(verify, benchMap)
	if err != nil {
		t.Fatal(err)
	}
	for size, good := range map[int]bool{4 << 10: true, 4<<10 + 1: false} {
		header := http.Header{"Authorization": {"Bearer t"}, "Connection": {strings.Repeat(",", size)}}
		if _, err := a.Authenticate(t.Context(), header); (err == nil) != good {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// TestCredentialsAreCountedOverAllExtractors: several may find the same ones.
func TestCredentialsAreCountedOverAllExtractors(t *testing.T) {
	verify := func(context.Context, string, http.Header) (*benchSession, error) { return &benchSession{"user-1"}, nil }
	a, err := interceptor.NewSessionAuth(verify, benchMap, interceptor.WithExtractors(authmd.Cookie("s"), authmd.Cookie("s", "other")))
	if err != nil {
		t.Fatal(err)
	}
	for cookies, good := range map[int]bool{128: true, 129: false} {
		_, err := a.Authenticate(t.Context(), http.Header{"Cookie": {strings.Repeat("s=1;", cookies)}})
		if (err == nil) != good || err != nil && !strings.HasSuffix(err.Error(), "invalid session") {
			t.Errorf("%d credentials: %v", 2*cookies, err)
		}
	}
}

// TestACookieThatAFuncMayHaveReadIsGuarded, though the verifier gets no header of it.
func TestACookieThatAFuncMayHaveReadIsGuarded(t *testing.T) {
	read := authmd.ExtractorFunc(func(h http.Header) (string, bool) { return h.Get("Cookie"), true })
	a := newBenchAuth(t, interceptor.WithExtractors(read), interceptor.WithKeyHeaders(), interceptor.WithAllowedOrigins("https://a.example"))
	_, err := a.Authenticate(t.Context(), http.Header{"Cookie": {"sid=1"}, "Origin": {"https://b.example"}})
	if err == nil || !strings.HasSuffix(err.Error(), "origin not allowed") {
		t.Errorf("err = %v", err)
	}
}

// TestATokenOfTwoExtractorsIsHandedOnOnce, and not as a header that is repeated.
func TestATokenOfTwoExtractorsIsHandedOnOnce(t *testing.T) {
	var got []string
	verify := func(_ context.Context, _ string, header http.Header) (*benchSession, error) {
		got = header.Values("Authorization")
		return &benchSession{"user-1"}, nil
	}
	a, err := interceptor.NewSessionAuth(verify, benchMap,
		interceptor.WithExtractors(authmd.Bearer(), authmd.Bearer()), interceptor.WithKeyHeaders())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), http.Header{"Authorization": {"Bearer t"}}); err != nil || len(got) != 1 {
		t.Errorf("handed %q, %v", got, err)
	}
}

// TestAliasesOfASecretAreHidden: "_", "." and "-" are one to some.
func TestAliasesOfASecretAreHidden(t *testing.T) {
	for name, aliases := range map[string][]string{
		"_secret":       {"_secret", "-secret", ".secret"},
		"mesh-secret-a": {"mesh-secret-a", "mesh_secret.a"},
		"z-secret":      {"Z-Secret"},
	} {
		g, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(strings.Repeat("s", 32)),
			interceptor.WithSecretHeader(name), interceptor.WithSkipMethods("*"))
		if err != nil {
			t.Fatal(err)
		}
		md := grpcmd.MD{}
		for _, alias := range aliases {
			md[alias] = []string{"x"}
		}
		ctx, err := g.AuthFunc(grpcmd.NewIncomingContext(t.Context(), md))
		if md, _ := grpcmd.FromIncomingContext(ctx); err != nil || len(md) > 0 {
			t.Errorf("%s: %d keys reach the handler, %v", name, len(md), err)
		}
	}
}

// slowSource takes an hour to find credentials.
type slowSource struct{ authmd.Source }

func (slowSource) AppendCredentials(dst []authmd.Credential, _ []string) []authmd.Credential {
	time.Sleep(time.Hour)
	return dst
}

// TestAnExtractorOfAUserIsNotWaitedForForEver, in whatever it is wrapped.
func TestAnExtractorOfAUserIsNotWaitedForForEver(t *testing.T) {
	source, _ := authmd.Bearer().(authmd.Source)
	for claim, extractor := range map[string]authmd.Extractor{
		"as it is": slowSource{source}, "named": authmd.Named(slowSource{source}, strings.ToUpper),
		"named twice": authmd.Named(authmd.Named(slowSource{source}, strings.ToUpper), strings.ToUpper),
	} {
		synctest.Test(t, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(benchVerify, benchMap, interceptor.WithExtractors(extractor))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			if _, err := a.Authenticate(ctx, http.Header{"Authorization": {"Bearer t"}}); err == nil || time.Since(began) != cache.DefaultVerifyTimeout {
				t.Errorf("%s: %v after %v", claim, err, time.Since(began))
			}
			time.Sleep(time.Hour)
		})
	}
}

// TestASchemeIsWrittenInAnyCase: it is not part of what is asked for.
func TestASchemeIsWrittenInAnyCase(t *testing.T) {
	asked := 0
	a, err := interceptor.NewSessionAuth(func(_ context.Context, token string, _ http.Header) (*benchSession, error) {
		asked++
		return &benchSession{token}, nil
	}, benchMap, interceptor.WithCache(cache.Policy{TTL: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"Bearer t", "bearer t", "BEARER  t"} {
		if _, err := a.Authenticate(t.Context(), http.Header{"Authorization": {value}}); err != nil {
			t.Errorf("%q: %v", value, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}
