package interceptor_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func times(value string, n int) []string {
	values := make([]string, n)
	for i := range values {
		values[i] = value
	}
	return values
}

// TestWhatIsTooMuchIsNotEvenRead: a request beyond the bounds is refused before anything
// is joined, copied or hashed, which shows in what that allocates.
func TestWhatIsTooMuchIsNotEvenRead(t *testing.T) {
	const few = 8 // the refusal's own: a context, a counter's attributes
	policy := interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute})
	setups := map[string][]interceptor.Option{
		"default":    {policy},
		"no cache":   nil,
		"Cookie(s)":  {policy, interceptor.WithExtractors(authmd.Cookie("s"))},
		"restricted": {policy, interceptor.WithExtractors(authmd.Cookie("s"), authmd.Bearer()), interceptor.WithKeyHeaders("x-tenant")},
		"custom": {policy, interceptor.WithExtractors(authmd.ExtractorFunc(func(http.Header) (string, bool) {
			t.Error("the extractor ran")
			return "", false
		}))},
	}
	requests := map[string]grpcmd.MD{
		"crumbs":                       {"cookie": times(strings.Repeat("s=;", 1300), 4000)},
		"257 small crumbs":             {"cookie": times("s=1", 257)},
		"257 cookies in a crumb":       {"cookie": {strings.Repeat("s=;", 256)}},
		"64 KiB and a byte":            {"cookie": times(strings.Repeat("s", 1<<14), 4), "authorization": {"B"}},
		"a cookie of more than 64 KiB": {"cookie": {strings.Repeat("s", 1<<16+1)}},
		"renamed crumbs":               {"grpcgateway-cookie": times(strings.Repeat("s=;", 1300), 4000)},
		"renamed bearers":              {"grpcgateway-authorization": times("Bearer t", 4000)},
		"bearers":                      {"authorization": times("Bearer t", 4000)},
		"1,025 keys":                   {},
	}
	for i := range 1025 {
		requests["1,025 keys"][fmt.Sprint("k", i)] = []string{"v"}
	}
	info := &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/UnaryCall"}
	handler := func(context.Context, any) (any, error) { t.Error("the handler ran"); return struct{}{}, nil }
	for setup, opts := range setups {
		for request, md := range requests {
			t.Run(setup+", "+request, func(t *testing.T) {
				intercept := newBenchAuth(t, opts...).UnaryServerInterceptor()
				ctx := grpcmd.NewIncomingContext(t.Context(), md)
				var err error
				allocated := testing.AllocsPerRun(20, func() { _, err = intercept(ctx, nil, info, handler) })
				if err == nil || !strings.HasSuffix(err.Error(), "invalid session") {
					t.Errorf("err = %v", err)
				}
				if allocated > few {
					t.Errorf("%v allocations", allocated)
				}
			})
		}
	}
}

// TestWhatIsJustNotTooMuch: the bounds refuse nobody that they should not.
func TestWhatIsJustNotTooMuch(t *testing.T) {
	policy := interceptor.WithCache(cache.Policy{TTL: time.Minute})
	verify := func(context.Context, string, http.Header) (*benchSession, error) { return &benchSession{"user-1"}, nil }
	const good = "Bearer t"
	for name, test := range map[string]struct {
		md   grpcmd.MD
		opts []interceptor.Option
	}{
		"255 cookies":                {grpcmd.MD{"cookie": {strings.Repeat("s=1;", 254) + "s=1"}}, []interceptor.Option{interceptor.WithExtractors(authmd.Cookie("s"))}},
		"255 crumbs":                 {grpcmd.MD{"cookie": times("s=1", 255)}, []interceptor.Option{interceptor.WithExtractors(authmd.Cookie("s"))}},
		"a token of 16 KiB":          {grpcmd.MD{"authorization": {"Bearer " + strings.Repeat("t", 1<<14-len("Bearer "))}}, nil},
		"60 KiB of cookies":          {grpcmd.MD{"authorization": {good}, "cookie": {strings.Repeat("s", 60<<10)}}, []interceptor.Option{interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid"))}},
		"1,024 keys":                 {manyKeys(1023, good), nil},
		"200 KB of other headers":    {grpcmd.MD{"authorization": {good}, "x-other": times(strings.Repeat("v", 1000), 200)}, nil},
		"whatever nobody looks at":   {grpcmd.MD{"authorization": {good}, "x-other": times(strings.Repeat("v", 1000), 4000)}, []interceptor.Option{interceptor.WithKeyHeaders()}},
		"an identity that is hidden": {grpcmd.MD{"authorization": {good}, "x-auth-roles": times(`["admin"]`, 1000)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(verify, benchMap, append(test.opts, policy)...)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.AuthFunc(grpcmd.NewIncomingContext(t.Context(), test.md)); err != nil {
				t.Error(err)
			}
		})
	}
}

func manyKeys(n int, bearer string) grpcmd.MD {
	md := grpcmd.MD{"authorization": {bearer}}
	for i := range n {
		md[fmt.Sprint("k", i)] = []string{"v"}
	}
	return md
}

// TestAHeaderThatIsHandedOnWholeIsBounded: without WithKeyHeaders the verifier would get
// all of it.
func TestAHeaderThatIsHandedOnWholeIsBounded(t *testing.T) {
	for name, md := range map[string]grpcmd.MD{
		"more than 256 KiB":  {"authorization": {"Bearer " + benchToken}, "x-other": times(strings.Repeat("v", 1000), 300)},
		"1,025 values":       {"authorization": {"Bearer " + benchToken}, "x-other": times("v", 1025)},
		"a key of 256 KiB":   {"authorization": {"Bearer " + benchToken}, strings.Repeat("k", 1<<18): {"v"}},
		"4,000 binary ones":  {"authorization": {"Bearer " + benchToken}, "x-other-bin": times("v", 4000)},
		"4,000 of an origin": {"authorization": {"Bearer " + benchToken}, "origin": times("https://evil.example", 4000)},
	} {
		for setup, opts := range map[string][]interceptor.Option{"cached": {interceptor.WithCache(cache.Policy{TTL: time.Minute})}, "not cached": nil} {
			t.Run(name+", "+setup, func(t *testing.T) {
				_, err := newBenchAuth(t, opts...).AuthFunc(grpcmd.NewIncomingContext(t.Context(), md))
				if err == nil || !strings.HasSuffix(err.Error(), "invalid session") {
					t.Errorf("err = %v", err)
				}
			})
		}
	}
}

// TestAHeaderThatIsSuppliedIsBounded: one of net/http may hold a megabyte of anything.
func TestAHeaderThatIsSuppliedIsBounded(t *testing.T) {
	many := http.Header{"Authorization": {"Bearer " + benchToken}}
	for i := range 2000 {
		many[fmt.Sprint("X-K", i)] = []string{"v"}
	}
	for name, header := range map[string]http.Header{
		"names":              many,
		"a name of 1 MiB":    {"Authorization": {"Bearer " + benchToken}, "X" + strings.Repeat("k", 1<<20): {"v"}},
		"what Connection is": {"Authorization": {"Bearer " + benchToken}, "Connection": {strings.Repeat("a,", 1<<19)}},
		"crumbs":             {"Cookie": times(strings.Repeat("s=;", 1300), 200)},
	} {
		t.Run(name, func(t *testing.T) {
			a := newBenchAuth(t, interceptor.WithCache(cache.Policy{TTL: time.Minute}), interceptor.WithKeyHeaders())
			var err error
			allocated := testing.AllocsPerRun(5, func() { _, err = a.Authenticate(t.Context(), header) })
			if err == nil || !strings.HasSuffix(err.Error(), "invalid session") {
				t.Errorf("err = %v", err)
			}
			if allocated > 8 {
				t.Errorf("%v allocations", allocated)
			}
		})
	}
}
