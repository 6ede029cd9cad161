package sessionauth_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestTheKeyIsAsWideAsWhatTheVerifierSees: of two requests that differ in a credential,
// whoever took it, neither is answered with the other's identity.
func TestTheKeyIsAsWideAsWhatTheVerifierSees(t *testing.T) {
	const theme = "theme=dark"
	extractors := func(e ...authmd.Extractor) interceptor.Option { return interceptor.WithExtractors(e...) }
	custom := authmd.ExtractorFunc(func(h http.Header) (string, bool) { return h.Get("X-Legacy"), true })
	h := func(pairs ...string) http.Header {
		header := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			header.Add(pairs[i], pairs[i+1])
		}
		return header
	}
	for name, test := range map[string]struct {
		opts     []interceptor.Option
		requests []http.Header
	}{
		"another scheme beside a cookie": {nil, []http.Header{
			h("Authorization", "Basic alice", "Cookie", theme), h("Authorization", "Basic bob", "Cookie", theme), h("Cookie", theme),
			h("Authorization", "Bearer carol", "Cookie", theme), h("Authorization", "Bearer\tcarol", "Cookie", theme),
		}},
		"another scheme beside a named cookie": {[]interceptor.Option{extractors(authmd.Bearer(), authmd.Cookie("sid"))}, []http.Header{
			h("Authorization", "Basic alice", "Cookie", "sid=1"), h("Authorization", "Basic bob", "Cookie", "sid=1"), h("Cookie", "sid=1"),
			h("Authorization", "Bearer carol", "Cookie", "sid=1"), h("Authorization", "Bearer\tcarol", "Cookie", "sid=1"), h("Authorization", "Bearercarol", "Cookie", "sid=1"),
		}},
		"no extractor reads Authorization": {[]interceptor.Option{extractors(authmd.Cookie("sid"))}, []http.Header{
			h("Authorization", "Bearer alice", "Cookie", "sid=1"), h("Authorization", "Bearer bob", "Cookie", "sid=1"), h("Cookie", "sid=1"),
		}},
		"no extractor reads cookies": {[]interceptor.Option{extractors(authmd.Bearer())}, []http.Header{
			h("Authorization", "Bearer t", "Cookie", "sid=alice"), h("Authorization", "Bearer t", "Cookie", "sid=bob"), h("Authorization", "Bearer t"),
		}},
		"an ExtractorFunc reads neither": {[]interceptor.Option{extractors(custom)}, []http.Header{
			h("X-Legacy", "t", "Cookie", "sid=alice"), h("X-Legacy", "t", "Cookie", "sid=bob"), h("X-Legacy", "t"),
			h("X-Legacy", "t", "Authorization", "Basic alice"), h("X-Legacy", "t", "Authorization", "Basic bob"),
		}},
		"a named header holds what is no token": {[]interceptor.Option{extractors(authmd.HeaderToken("X-Api-Key"), authmd.CookieHeader())}, []http.Header{
			h("X-Api-Key", "of alice", "Cookie", theme), h("X-Api-Key", "of bob", "Cookie", theme), h("Cookie", theme),
		}},
		"the same token in another place": {[]interceptor.Option{extractors(authmd.HeaderToken("X-A"), authmd.HeaderToken("X-B"))}, []http.Header{
			h("X-A", "t"), h("X-B", "t"), h("X-A", "t", "X-B", "t"),
		}},
		"the same token in another place, restricted": {[]interceptor.Option{
			extractors(authmd.HeaderToken("X-A"), authmd.HeaderToken("X-B")), interceptor.WithKeyHeaders(),
		}, []http.Header{h("X-A", "t"), h("X-B", "t"), h("X-A", "t", "X-B", "t")}},
		"values that are cut in another place": {[]interceptor.Option{extractors(authmd.Bearer(), authmd.Cookie("s")), interceptor.WithKeyHeaders("X-C")}, []http.Header{
			h("Authorization", "Bearer t", "X-C", "ab", "X-C", "c"), h("Authorization", "Bearer t", "X-C", "a", "X-C", "bc"), h("Authorization", "Bearer t", "X-C", "", "X-C", "abc"),
			h("Cookie", "s=a; s=bs=c"), h("Cookie", "s=as=b; s=c"), h("Cookie", "s=as=bs=c; s="),
		}},
		"a cookie and a header of one value": {[]interceptor.Option{
			extractors(authmd.Cookie("sid"), authmd.HeaderToken("X-A"), authmd.HeaderToken("X-B")), interceptor.WithKeyHeaders("X-C", "X-D"),
		}, []http.Header{
			h("X-A", "t", "X-C", "u"), h("X-A", "t", "X-D", "u"), h("X-B", "t", "X-C", "u"), h("X-A", "u", "X-C", "t"), h("X-A", "t", "X-C", "u", "X-D", "u"),
			h("Cookie", "sid=t", "X-C", "u"), h("Cookie", "sid=t; sid=u", "X-C", "u"),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(everything, subjectOf, append(slices.Clip(test.opts), minute)...)
			if err != nil {
				t.Fatal(err)
			}
			told := map[string]int{}
			for range 2 { // the second time from memory
				for i, request := range test.requests {
					found, err := a.Authenticate(t.Context(), request)
					if err != nil {
						t.Fatalf("%v: %v", request, err)
					}
					if other, ok := told[found.Identity.AuthContext().Subject]; ok && other != i {
						t.Errorf("%v got the answer for %v", request, test.requests[other])
					}
					told[found.Identity.AuthContext().Subject] = i
				}
			}
			if got := int(a.Stats().Misses); got != len(test.requests) {
				t.Errorf("%d verifications for %d requests", got, len(test.requests))
			}
		})
	}
}

// TestBaggageDecidesForNobodyElse: it is the client's, and otelgrpc hands it on.
func TestBaggageDecidesForNobodyElse(t *testing.T) {
	verify := func(ctx context.Context, token string, _ http.Header) (string, error) {
		return token + " of " + baggage.FromContext(ctx).Member("tenant").Value(), nil
	}
	for name, test := range map[string]struct {
		opts []interceptor.Option
		want func(tenant string) string
	}{
		"behind a cache it is not carried over": {[]interceptor.Option{minute}, func(string) string { return "t1 of " }},
		"unless WithKeyContext does": {[]interceptor.Option{minute, interceptor.WithKeyContext(func(from, to context.Context) (context.Context, string) {
			bag := baggage.FromContext(from)
			return baggage.ContextWithBaggage(to, bag), bag.String()
		})}, func(tenant string) string { return "t1 of " + tenant }},
		"without one it is the call's own": {nil, func(tenant string) string { return "t1 of " + tenant }},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(verify, subjectOf, test.opts...)
			if err != nil {
				t.Fatal(err)
			}
			stats := otelgrpc.NewServerHandler(otelgrpc.WithPropagators(propagation.Baggage{}))
			client := serve(t, &service{}, append(a.ServerOptions(), grpc.StatsHandler(stats))...)
			for _, tenant := range []string{"red", "blue", "red"} {
				ctx := with(t, "authorization", "Bearer t1", "baggage", "tenant="+tenant)
				if got, err := kinds["unary"](ctx, client, ""); got != test.want(tenant) || err != nil {
					t.Errorf("tenant %s got %q, %v", tenant, got, err)
				}
			}
		})
	}
}

func TestForeignPagesWhateverElseTheySend(t *testing.T) {
	const app, evil = "https://app.example.com", "https://evil.example.com"
	named := interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid"))
	foreignSource := interceptor.WithExtractors(authmd.Bearer(), loud{authmd.Cookie("sid").(authmd.Source)})
	for claim, test := range map[string]struct {
		opts    []interceptor.Option
		pairs   []string
		refused bool
	}{
		"a junk bearer token beside a good cookie":               {[]interceptor.Option{named}, []string{"authorization", "Bearer junk", "cookie", "sid=good", "origin", evil}, true},
		"the same from a page of one's own":                      {[]interceptor.Option{named}, []string{"authorization", "Bearer good", "cookie", "sid=good", "origin", app}, false},
		"a cookie that no extractor reads":                       {[]interceptor.Option{interceptor.WithExtractors(authmd.Bearer())}, []string{"authorization", "Bearer good", "cookie", "sid=good", "origin", evil}, true},
		"a cookie of another name":                               {[]interceptor.Option{named}, []string{"authorization", "Bearer good", "cookie", "theme=dark", "origin", evil}, true},
		"a cookie of another name that is not handed over":       {[]interceptor.Option{named, interceptor.WithKeyHeaders()}, []string{"authorization", "Bearer good", "cookie", "theme=dark", "origin", evil}, false},
		"a cookie that is, by its name":                          {[]interceptor.Option{named, interceptor.WithKeyHeaders("cookie")}, []string{"authorization", "Bearer good", "cookie", "theme=dark", "origin", evil}, true},
		"a credential that is, since it was found":               {[]interceptor.Option{named, interceptor.WithKeyHeaders()}, []string{"authorization", "Bearer good", "cookie", "sid=good", "origin", evil}, true},
		"one that a Source of the user's found":                  {[]interceptor.Option{foreignSource, interceptor.WithKeyHeaders()}, []string{"authorization", "Bearer good", "cookie", "sid=good", "origin", evil}, true},
		"a bearer token alone":                                   {[]interceptor.Option{named}, []string{"authorization", "Bearer good", "origin", evil}, false},
		"a page of another site without an Origin":               {[]interceptor.Option{named}, []string{"cookie", "sid=good", "sec-fetch-site", "cross-site"}, true},
		"the same renamed by grpc-gateway":                       {[]interceptor.Option{named}, []string{"cookie", "sid=good", "grpcgateway-sec-fetch-site", "cross-site"}, true},
		"a page of another site that is allowed by its Origin":   {[]interceptor.Option{named}, []string{"cookie", "sid=good", "sec-fetch-site", "cross-site", "origin", app}, false},
		"a page of the same site without an Origin":              {[]interceptor.Option{named}, []string{"cookie", "sid=good", "sec-fetch-site", "same-origin"}, false},
		"a bearer token from a page of another site":             {[]interceptor.Option{named}, []string{"authorization", "Bearer good", "sec-fetch-site", "cross-site"}, false},
		"an Origin in another case is none that a browser sends": {[]interceptor.Option{named}, []string{"cookie", "sid=good", "origin", "https://App.example.com"}, true},
	} {
		for _, setup := range [][]interceptor.Option{{minute}, nil} {
			t.Run(fmt.Sprintf("%s, cached %t", claim, setup != nil), func(t *testing.T) {
				o := newOwner("good", "junk")
				client := serve(t, &service{}, newAuth(t, o, slices.Concat(test.opts, setup, []interceptor.Option{interceptor.WithAllowedOrigins(app)})...).ServerOptions()...)
				got, err := kinds["unary"](with(t, test.pairs...), client, "")
				switch {
				case test.refused:
					foreign.check(t, err)
					if o.verified.Load() != 0 {
						t.Error("the owner was asked")
					}
				case err != nil || got != "user-of-good":
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	}
}

// loud is a Source of a user's.
type loud struct{ authmd.Source }

func TestOriginsThatNoBrowserSendsFailInTheConstructor(t *testing.T) {
	for origin, ok := range map[string]bool{
		"https://app.example.com:0443": false, "https://app.example.com:08443": false, "https://app.example.com:": false, "https://app.example.com:65536": false,
		"https://app.example.com:+1": false, "https://app.example.com:0": true, "https://bücher.example": false, "https://xn--bcher-kva.example": true,
		"https://app_1.example": true, "https://app example": false, "https://%61pp.example": false,
		"https://[::1]": true, "https://[::1]:8443": true, "https://[0:0:0:0:0:0:0:1]": false, "https://[::0001]": false, "https://[2001:DB8::1]": true,
		"https://[fe80::1%25eth0]": false, "https://[::ffff:1.2.3.4]": true, "https://[::1": false, "https://::1": false, "https://[1.2.3.4]": false,
		"http://127.0.0.1:5173": true, "http://localhost": true, "capacitor://localhost": true, "https://app.example.com#x": false,
	} {
		_, err := interceptor.NewSessionAuth(newOwner().verify, mapRecord, interceptor.WithAllowedOrigins(origin))
		if ok && err != nil {
			t.Errorf("%q: %v", origin, err)
		}
		if !ok && (err == nil || !strings.HasPrefix(err.Error(), "interceptor: WithAllowedOrigins: "+fmt.Sprintf("%q", origin))) {
			t.Errorf("%q: err = %v", origin, err)
		}
	}
}

// TestAHeaderThatHoldsOneCredentialHoldsOne: of several values two parties could take
// different ones.
func TestAHeaderThatHoldsOneCredentialHoldsOne(t *testing.T) {
	extractors := interceptor.WithExtractors(authmd.HeaderToken("X-Session-Token"), authmd.Bearer(), loud{authmd.HeaderToken("X-Loud").(authmd.Source)})
	for name, pairs := range map[string][]string{
		"one of which is no token":           {"x-session-token", "evil one", "x-session-token", "good"},
		"the other way round":                {"x-session-token", "good", "x-session-token", "evil one"},
		"joined":                             {"x-session-token", "evil one,good"},
		"joined, with a space":               {"x-session-token", "good, evil"},
		"one of which is empty":              {"x-session-token", "good", "x-session-token", ""},
		"a comma alone":                      {"x-session-token", "good,"},
		"of a Source of the user's":          {"x-loud", "good", "x-loud", "evil one"},
		"beside a good one of another place": {"authorization", "Bearer good", "x-session-token", "good", "x-session-token", "evil"},
		"bearers, one of which is none":      {"authorization", "Bearer good", "authorization", "Bearer evil one"},
		"a bearer and an empty one":          {"authorization", "Bearer good", "authorization", ""},
	} {
		for setup, opts := range map[string][]interceptor.Option{
			"": nil, ", cached": {minute}, ", restricted": {minute, interceptor.WithKeyHeaders()}, ", optional": {interceptor.WithOptionalAuth()},
		} {
			t.Run(name+setup, func(t *testing.T) {
				o := newOwner("good", "evil")
				a := newAuth(t, o, append(slices.Clip(opts), extractors)...)
				client := serve(t, &service{}, a.ServerOptions()...)
				_, err := kinds["unary"](with(t, pairs...), client, "")
				ambiguous.check(t, err)
				header := http.Header{}
				for i := 0; i < len(pairs); i += 2 {
					header.Add(pairs[i], pairs[i+1])
				}
				_, err = a.Authenticate(t.Context(), header)
				ambiguous.check(t, err)
				if o.verified.Load() != 0 {
					t.Error("the owner was asked")
				}
			})
		}
	}
	for name, header := range map[string]http.Header{
		"two Authorizations": {"Cookie": {"sid=good"}, "Authorization": {"Basic alice", "Basic bob"}}, "two in one": {"Cookie": {"sid=good"}, "Authorization": {"Basic alice, Basic bob"}},
	} {
		_, err := newAuth(t, newOwner("good"), interceptor.WithExtractors(authmd.Cookie("sid"))).Authenticate(t.Context(), header)
		if err == nil {
			t.Errorf("%s that no extractor reads: no error", name)
			continue
		}
		ambiguous.check(t, err)
	}
	o := newOwner("good")
	client := serve(t, &service{}, newAuth(t, o, extractors).ServerOptions()...)
	if got, err := kinds["unary"](with(t, "x-session-token", "good", "x-session-token", "good"), client, ""); got != "user-of-good" || err != nil {
		t.Errorf("the same twice: %q, %v", got, err)
	}
}

// TestAGatewaysConflictIsSeenByAuthenticate, too: a header may come from anywhere.
func TestAGatewaysConflictIsSeenByAuthenticate(t *testing.T) {
	o := newOwner("t1", "t2")
	for setup, opts := range map[string][]interceptor.Option{"": nil, "cached": {minute}, "restricted": {minute, interceptor.WithKeyHeaders()}, "optional": {interceptor.WithOptionalAuth()}} {
		a := newAuth(t, o, opts...)
		for name, header := range map[string]http.Header{
			"bearers":                   {"Authorization": {"Bearer t1"}, "Grpcgateway-Authorization": {"Bearer t2"}},
			"cookies":                   {"Cookie": {"sid=t1"}, "Grpcgateway-Cookie": {"sid=t2"}},
			"cookies beside a bearer":   {"Authorization": {"Bearer t1"}, "Cookie": {"sid=t1"}, "Grpcgateway-Cookie": {"sid=t2"}},
			"bearers beside a cookie":   {"Authorization": {"Basic a"}, "Cookie": {"sid=t1"}, "Grpcgateway-Authorization": {"Basic b"}},
			"metadata that is a header": {"authorization": {"Bearer t1"}, "grpcgateway-authorization": {"Bearer t2"}},
		} {
			_, err := a.Authenticate(t.Context(), header)
			if err == nil {
				t.Errorf("%s %s: no error", setup, name)
				continue
			}
			ambiguous.check(t, err)
		}
	}
	if o.verified.Load() != 0 {
		t.Error("the owner was asked")
	}
}

// TestAMalformedTokenIsNotAnonymous: a call that meant to say who it is from is not let in
// as nobody's.
func TestAMalformedTokenIsNotAnonymous(t *testing.T) {
	extractors := interceptor.WithExtractors(authmd.HeaderToken("X-Session-Token"), authmd.Bearer(), authmd.Cookie("sid"))
	client := serve(t, &service{}, newAuth(t, newOwner(), extractors, interceptor.WithOptionalAuth()).ServerOptions()...)
	for name, pairs := range map[string][]string{
		"a token header with a space": {"x-session-token", "a b"},
		"an empty token header":       {"x-session-token", ""},
		"a bearer token with a space": {"authorization", "Bearer a b"},
		"a bearer without one":        {"authorization", "BEARER"},
		"a bearer with a tab":         {"authorization", "Bearer\tt"},
		"a bearer with odd bytes":     {"authorization", "Bearer \"t\x7f"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(pairs[1], "\x7f") || strings.Contains(pairs[1], "\t") { // which grpc-go does not send
				_, err := newAuth(t, newOwner(), extractors, interceptor.WithOptionalAuth()).Authenticate(t.Context(), http.Header{"Authorization": {pairs[1]}})
				missing.check(t, err)
				return
			}
			_, err := kinds["unary"](with(t, pairs...), client, "")
			missing.check(t, err)
		})
	}
	for name, pairs := range map[string][]string{
		"another scheme": {"authorization", "Basic dTpw"}, "another cookie": {"cookie", "theme=dark"}, "an empty cookie of the name": {"cookie", "sid="}, "nothing": nil,
	} {
		if got, err := kinds["unary"](with(t, pairs...), client, ""); got != "anonymous" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestTheBoundsOnCredentials is the 64 KiB that all of them may have, and the 16 KiB of one.
func TestTheBoundsOnCredentials(t *testing.T) {
	verify := func(context.Context, string, http.Header) (string, error) { return "ada", nil }
	extractors := interceptor.WithExtractors(authmd.Cookie("a", "b", "c", "d", "e"), authmd.HeaderToken("X-A"), authmd.HeaderToken("X-B"))
	line := func(size int, names ...string) string {
		pairs := make([]string, len(names))
		for i, name := range names {
			pairs[i] = name + "=" + strings.Repeat("x", size-len(name)-1)
		}
		return strings.Join(pairs, "; ")
	}
	const kib = 1 << 10
	for name, test := range map[string]struct {
		header  http.Header
		refused bool
	}{
		"60 KiB in four":               {http.Header{"Cookie": {line(15*kib, "a", "b", "c", "d")}}, false},
		"a cookie of 16 KiB":           {http.Header{"Cookie": {line(16*kib, "a")}}, false},
		"a cookie of a byte more":      {http.Header{"Cookie": {line(16*kib+1, "a")}}, true},
		"75 KiB in five":               {http.Header{"Cookie": {line(15*kib, "a", "b", "c", "d", "e")}}, true},
		"68 KiB with those of headers": {http.Header{"Cookie": {line(15*kib, "a", "b", "c")}, "X-A": {strings.Repeat("x", 15*kib)}, "X-B": {strings.Repeat("x", 8*kib)}}, true},
		"60 KiB with those of headers": {http.Header{"Cookie": {line(15*kib, "a", "b")}, "X-A": {strings.Repeat("x", 15*kib)}, "X-B": {strings.Repeat("x", 15*kib)}}, false},
		"68 KiB with named headers":    {http.Header{"Cookie": {line(15*kib, "a", "b")}, "X-Tenant": {strings.Repeat("x", 38*kib)}}, true},
		"a named header of 60 KiB":     {http.Header{"Cookie": {"a=1"}, "X-Tenant": {strings.Repeat("x", 60*kib)}}, false},
		"an Authorization of 64 KiB":   {http.Header{"Cookie": {"a=1"}, "Authorization": {"Basic " + strings.Repeat("x", 64*kib)}}, true},
	} {
		for setup, opts := range map[string][]interceptor.Option{"": nil, ", cached": {interceptor.WithCache(cache.Policy{TTL: time.Minute})}} {
			t.Run(name+setup, func(t *testing.T) {
				a, err := interceptor.NewSessionAuth(verify, subjectOf, append(slices.Clip(opts), extractors, interceptor.WithKeyHeaders("X-Tenant"))...)
				if err != nil {
					t.Fatal(err)
				}
				_, err = a.Authenticate(t.Context(), test.header)
				if test.refused {
					invalid.check(t, err)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
	}
}
