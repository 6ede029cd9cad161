package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

type caller = func(context.Context, grpc_testing.TestServiceClient, string) (string, error)

var minute = interceptor.WithCache(cache.Policy{TTL: time.Minute})

func TestEveryCarrierAuthenticatesEveryKindOfCall(t *testing.T) {
	carriers := map[string]struct {
		token string // as the verifier gets it
		pairs []string
		opts  []interceptor.Option
	}{
		"bearer":       {"t1", []string{"authorization", "Bearer t1"}, nil},
		"bearer first": {"t1", []string{"authorization", "bearer t1", "cookie", "sid=other"}, nil},
		"named cookie": {"t1", []string{"cookie", "theme=dark; sid=t1"}, []interceptor.Option{
			interceptor.WithExtractors(authmd.Cookie("sid")),
		}},
		"prefixed cookie": {"t1", []string{"cookie", "__Host-sid=t1; sid=forged"}, []interceptor.Option{
			interceptor.WithExtractors(authmd.Cookie("sid")),
		}},
		"cookie in crumbs": {"t1", []string{"cookie", "theme=dark", "cookie", "sid=t1"}, []interceptor.Option{
			interceptor.WithExtractors(authmd.Cookie("sid")),
		}},
		"whole Cookie header": {"a=1; sid=t1", []string{"cookie", "a=1; sid=t1"}, nil},
		"grpc-gateway cookie": {"sid=t1", []string{"grpcgateway-cookie", "sid=t1"}, nil},
		"grpc-gateway bearer": {"t1", []string{
			"authorization", "Bearer t1", "grpcgateway-authorization", "Bearer t1",
		}, nil},
		"custom header": {"t1", []string{"x-session-token", "t1"}, []interceptor.Option{
			interceptor.WithExtractors(authmd.HeaderToken("X-Session-Token")),
		}},
		"custom extractor": {"t1", []string{"x-legacy", "v1:t1"}, []interceptor.Option{
			interceptor.WithExtractors(authmd.ExtractorFunc(func(h http.Header) (string, bool) {
				return strings.CutPrefix(h.Get("X-Legacy"), "v1:")
			})),
		}},
	}
	for name, carrier := range carriers {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached %t", name, cached), func(t *testing.T) {
				o := newOwner(carrier.token)
				opts, verifications := carrier.opts, int64(2*len(kinds))
				if cached {
					opts, verifications = append(slices.Clip(opts), minute), 1
				}
				client := serve(t, &service{}, newAuth(t, o, opts...).ServerOptions()...)
				want := "user-of-" + carrier.token
				eachKind(t, func(t *testing.T, call caller) {
					for range 2 {
						if got, err := call(with(t, carrier.pairs...), client, want); got != want || err != nil {
							t.Errorf("got %q, %v, want %q", got, err, want)
						}
					}
				})
				if got := o.verified.Load(); got != verifications {
					t.Errorf("the owner was asked %d times, want %d", got, verifications)
				}
			})
		}
	}
}

func TestCredentialsThatAreRefusedBeforeAnyCallback(t *testing.T) {
	long := strings.Repeat("x", 16<<10+1)
	tests := map[string]struct {
		pairs []string
		want  refusal
	}{
		"none":                              {nil, missing},
		"another scheme":                    {[]string{"authorization", "Basic dTpw"}, missing},
		"a scheme without a token":          {[]string{"authorization", "Bearer"}, missing},
		"a scheme with an empty token":      {[]string{"authorization", "Bearer "}, missing},
		"two words after the scheme":        {[]string{"authorization", "Bearer a b"}, missing},
		"an empty cookie header":            {[]string{"cookie", ""}, missing},
		"two bearers":                       {[]string{"authorization", "Bearer t1", "authorization", "Bearer t2"}, ambiguous},
		"a bearer and another scheme":       {[]string{"authorization", "Bearer t1", "authorization", "Basic dTpw"}, ambiguous},
		"comma-joined bearers":              {[]string{"authorization", "Bearer t1, Bearer t2"}, ambiguous},
		"comma-joined without a space":      {[]string{"authorization", "Bearer t1,Bearer t2"}, ambiguous},
		"a gateway bearer that differs":     {[]string{"authorization", "Bearer t1", "grpcgateway-authorization", "Bearer t2"}, ambiguous},
		"a gateway cookie that differs":     {[]string{"cookie", "sid=t1", "grpcgateway-cookie", "sid=t2"}, ambiguous},
		"a gateway cookie beside a bearer":  {[]string{"authorization", "Bearer t1", "cookie", "a=1", "grpcgateway-cookie", "a=2"}, ambiguous},
		"a bearer of more than 16 KiB":      {[]string{"authorization", "Bearer " + long}, invalid},
		"a cookie of more than 16 KiB":      {[]string{"cookie", "sid=" + long}, invalid},
		"a long cookie beside a good token": {[]string{"authorization", "Bearer t1", "cookie", "sid=" + long}, invalid},
	}
	for _, cached := range []bool{false, true} {
		o := newOwner("t1", "t2")
		var opts []interceptor.Option
		if cached {
			opts = append(opts, interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute}))
		}
		a := newAuth(t, o, opts...)
		client := serve(t, &service{}, a.ServerOptions()...)
		for name, test := range tests {
			t.Run(fmt.Sprintf("%s, cached %t", name, cached), func(t *testing.T) {
				eachKind(t, func(t *testing.T, call caller) {
					_, err := call(with(t, test.pairs...), client, "")
					test.want.check(t, err)
				})
			})
		}
		if n := o.verified.Load(); n != 0 {
			t.Errorf("the owner was asked %d times", n)
		}
		if s := a.Stats(); s != (cache.Stats{}) {
			t.Errorf("the cache was used: %+v", s)
		}
		if got, err := kinds["unary"](bearer(t, "t1"), client, ""); got != "user-of-t1" || err != nil {
			t.Errorf("the next good call got %q, %v", got, err)
		}
	}
}

func TestTwoHeaderTokensAreAmbiguous(t *testing.T) {
	o := newOwner("t1", "t2")
	client := serve(t, &service{}, newAuth(t, o, interceptor.WithExtractors(authmd.HeaderToken("X-Session-Token"))).ServerOptions()...)
	_, err := kinds["unary"](with(t, "x-session-token", "t1", "x-session-token", "t2"), client, "")
	ambiguous.check(t, err)
	if o.verified.Load() != 0 {
		t.Error("the owner was asked")
	}
}

// statusWith is a status error with a detail, as another gRPC service returns it.
func statusWith(code codes.Code, message string) error {
	st, err := status.New(code, message).WithDetails(&errdetails.ResourceInfo{ResourceType: "tenant"})
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// okStatus claims to be a status, and one that says OK.
type okStatus struct{ error }

func (okStatus) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

type verdict struct {
	verify func(context.Context) (*record, error)
	mapper func(context.Context, *record) (*authcontext.AuthContext, error)
}

func verifyErr(err error) verdict {
	return verdict{verify: func(context.Context) (*record, error) { return nil, err }}
}

func mapErr(err error) verdict {
	return verdict{mapper: func(context.Context, *record) (*authcontext.AuthContext, error) { return nil, err }}
}

func mapTo(ac *authcontext.AuthContext) verdict {
	return verdict{mapper: func(context.Context, *record) (*authcontext.AuthContext, error) { return ac, nil }}
}

// TestErrorTable is the error table of the documentation, row by row.
func TestErrorTable(t *testing.T) {
	invalidBy := func(err error) error { return fmt.Errorf("row 7: %w", err) }
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	tests := map[string]struct {
		verdict
		want       refusal
		remembered bool // in the negative cache
	}{
		"verify wraps ErrInvalidSession": {verifyErr(invalidBy(interceptor.ErrInvalidSession)), invalid, true},
		"verify wraps both sentinels":    {verifyErr(errors.Join(interceptor.ErrUnavailable, interceptor.ErrInvalidSession)), invalid, true},
		"verify returns a nil session":   {verifyErr(nil), invalid, true},
		"map wraps ErrInvalidSession":    {mapErr(invalidBy(interceptor.ErrInvalidSession)), invalid, true},
		"map returns no AuthContext":     {mapTo(nil), invalid, false},
		"map returns an empty Subject":   {mapTo(&authcontext.AuthContext{Name: "x"}), invalid, false},
		"map returns an ExpiresAt that has passed": {
			mapTo(&authcontext.AuthContext{Subject: "x", ExpiresAt: time.Now().Add(-time.Second)}), expired, false,
		},
		"verify wraps ErrUnavailable":        {verifyErr(invalidBy(interceptor.ErrUnavailable)), unavailable, false},
		"verify returns a net.Error":         {verifyErr(invalidBy(dial)), unavailable, false},
		"verify returns DeadlineExceeded":    {verifyErr(invalidBy(context.DeadlineExceeded)), unavailable, false},
		"verify returns Unavailable":         {verifyErr(status.Error(codes.Unavailable, "secret-detail")), unavailable, false},
		"verify returns status deadline":     {verifyErr(status.Error(codes.DeadlineExceeded, "secret-detail")), unavailable, false},
		"verify returns ResourceExhausted":   {verifyErr(invalidBy(status.Error(codes.ResourceExhausted, "secret-detail"))), unavailable, false},
		"map wraps ErrUnavailable":           {mapErr(invalidBy(interceptor.ErrUnavailable)), unavailable, false},
		"verify returns another status":      {verifyErr(statusWith(codes.PermissionDenied, "tenant closed")), refusal{codes.PermissionDenied, "tenant closed", ""}, false},
		"verify wraps another status":        {verifyErr(invalidBy(statusWith(codes.PermissionDenied, "tenant closed"))), refusal{codes.PermissionDenied, "tenant closed", ""}, false},
		"map returns another status":         {mapErr(statusWith(codes.FailedPrecondition, "second factor")), refusal{codes.FailedPrecondition, "second factor", ""}, false},
		"verify returns a status that is OK": {verifyErr(okStatus{errors.New("secret-detail")}), notVerified, false},
		"verify returns any other error":     {verifyErr(errors.New("secret-detail")), notVerified, false},
		"verify returns Canceled by itself":  {verifyErr(context.Canceled), unavailable, false},
		"map returns any other error":        {mapErr(errors.New("secret-detail")), notMapped, false},
		"verify panics":                      {verdict{verify: func(context.Context) (*record, error) { panic("secret-detail") }}, notVerified, false},
		"map panics":                         {verdict{mapper: func(context.Context, *record) (*authcontext.AuthContext, error) { panic("secret-detail") }}, notMapped, false},
		"verify calls Goexit": {verdict{verify: func(context.Context) (*record, error) {
			runtime.Goexit()
			return nil, nil
		}}, notVerified, false},
	}
	for name, test := range tests {
		for _, cached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, cached %t", name, cached), func(t *testing.T) {
				o := newOwner("t1")
				verify := func(ctx context.Context, token string, header http.Header) (*record, error) {
					r, err := o.verify(ctx, token, header)
					if test.verify != nil {
						return test.verify(ctx)
					}
					return r, err
				}
				mapper := mapRecord
				if test.mapper != nil {
					mapper = test.mapper
				}
				var opts []interceptor.Option
				if cached {
					opts = append(opts, interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute}))
				}
				a, err := interceptor.NewSessionAuth(verify, mapper, opts...)
				if err != nil {
					t.Fatal(err)
				}
				client := serve(t, &service{}, a.ServerOptions()...)
				eachKind(t, func(t *testing.T, call caller) {
					_, err := call(bearer(t, "t1"), client, "")
					test.want.check(t, err)
				})
				want := int64(len(kinds))
				if cached && test.remembered {
					want = 1
				}
				if got := o.verified.Load(); got != want {
					t.Errorf("the owner was asked %d times, want %d", got, want)
				}
				if s := a.Stats(); s.Entries != 0 || s.NegativeEntries > 0 != (cached && test.remembered) {
					t.Errorf("the cache holds %+v", s)
				}
			})
		}
	}
}

func TestAStatusIsPassedOnWithItsDetails(t *testing.T) {
	o := newOwner()
	o.setFail(fmt.Errorf("wrapped: %w", statusWith(codes.PermissionDenied, "tenant closed")))
	client := serve(t, &service{}, newAuth(t, o).ServerOptions()...)
	_, err := kinds["unary"](bearer(t, "t1"), client, "")
	details := status.Convert(err).Details()
	if len(details) != 1 {
		t.Fatalf("details = %v", details)
	}
	if info, ok := details[0].(*errdetails.ResourceInfo); !ok || info.GetResourceType() != "tenant" {
		t.Errorf("details = %v", details)
	}
}

func TestErrorsMatchTheSentinels(t *testing.T) {
	o := newOwner("good")
	a := newAuth(t, o)
	header := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	if _, err := a.Authenticate(t.Context(), header("bad")); !errors.Is(err, interceptor.ErrInvalidSession) || errors.Is(err, interceptor.ErrUnavailable) {
		t.Errorf("unknown session: %v", err)
	}
	o.setFail(interceptor.ErrUnavailable)
	if _, err := a.Authenticate(t.Context(), header("good")); !errors.Is(err, interceptor.ErrUnavailable) || errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("outage: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner()
		o.set("t1", &record{User: "ada", Expires: time.Now().Add(30 * time.Second)})
		o.set("t2", &record{User: "bob"})
		client := serve(t, &service{}, newAuth(t, o, minute).ServerOptions()...)
		call := func(token string) error {
			_, err := kinds["bidi stream"](bearer(t, token), client, "")
			return err
		}
		step := func(wait time.Duration, token string, verified int64, want *refusal) {
			t.Helper()
			time.Sleep(wait) // of the bubble: no time passes outside
			err := call(token)
			if want != nil {
				want.check(t, err)
			} else if err != nil {
				t.Error(err)
			}
			if got := o.verified.Load(); got != verified {
				t.Errorf("the owner was asked %d times, want %d", got, verified)
			}
		}
		step(0, "t1", 1, nil)
		step(29*time.Second, "t1", 1, nil)    // still in memory
		step(time.Second, "t1", 2, &expired)  // its own expiry is earlier than the TTL
		step(0, "t2", 3, nil)                 // has no expiry of its own
		step(59*time.Second, "t2", 3, nil)    // a hit,
		step(time.Second, "t2", 4, nil)       // which did not extend its life
		o.set("t2", nil)                      // signed out
		step(59*time.Second, "t2", 4, nil)    // served until the TTL is over
		step(time.Second, "t2", 5, &invalid)  // and no longer
		step(24*time.Hour, "t2", 6, &invalid) // without a NegativeTTL refusals are not remembered
	})
}

func TestSkippedMethodsNeedNoCredential(t *testing.T) {
	const method = "/grpc.testing.TestService/UnaryCall"
	tests := map[string]struct {
		patterns []string
		skipped  bool
	}{
		"no pattern":                        {nil, false},
		"the method":                        {[]string{"grpc.testing.TestService/UnaryCall"}, true},
		"the method with a slash":           {[]string{method}, true},
		"the service":                       {[]string{"grpc.testing.TestService/*"}, true},
		"everything":                        {[]string{"*"}, true},
		"another method":                    {[]string{"grpc.testing.TestService/EmptyCall"}, false},
		"a service with this one as prefix": {[]string{"grpc.testing.TestServiceX/*", "grpc.testing.Test/*"}, false},
		"another case":                      {[]string{"grpc.testing.testservice/unarycall"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := newOwner("t1")
			a := newAuth(t, o, interceptor.WithSkipMethods(test.patterns...))
			byAuthFunc := []grpc.ServerOption{grpc.UnaryInterceptor(auth.UnaryServerInterceptor(a.AuthFunc))}
			for how, opts := range map[string][]grpc.ServerOption{"interceptor": a.ServerOptions(), "AuthFunc": byAuthFunc} {
				client := serve(t, &service{}, opts...)
				got, err := kinds["unary"](with(t), client, "")
				if test.skipped && (got != "anonymous" || err != nil) {
					t.Errorf("%s: got %q, %v", how, got, err)
				}
				if !test.skipped {
					missing.check(t, err)
				}
			}
		})
	}
}

func TestBadOptionsFailInTheConstructor(t *testing.T) {
	o := newOwner()
	tests := map[string]struct {
		opt  interceptor.Option
		want string
	}{
		"a pattern without a method":     {interceptor.WithSkipMethods("pkg.Service"), `method pattern "pkg.Service"`},
		"an empty pattern":               {interceptor.WithSkipMethods(""), `method pattern ""`},
		"a pattern with half a wildcard": {interceptor.WithSkipMethods("pkg.Service/Get*"), `method pattern "pkg.Service/Get*"`},
		"a wildcard for the service":     {interceptor.WithSkipMethods("*/Get"), `method pattern "*/Get"`},
		"two slashes in front":           {interceptor.WithSkipMethods("//pkg.Service/Get"), `method pattern "//pkg.Service/Get"`},
		"three parts":                    {interceptor.WithSkipMethods("a/b/c"), `method pattern "a/b/c"`},
		"a cache without a TTL":          {interceptor.WithCache(cache.Policy{}), "TTL must be positive"},
		"a negative NegativeTTL":         {interceptor.WithCache(cache.Policy{TTL: 1, NegativeTTL: -1}), "NegativeTTL must not be negative"},
		"no extractor":                   {interceptor.WithExtractors(), "at least one extractor"},
		"nine extractors": {interceptor.WithExtractors(
			authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(), authmd.Bearer(),
		), "9 extractors, want 8 or fewer"},
		"a nil extractor":              {interceptor.WithExtractors(authmd.Bearer(), nil), "extractor 2 is nil"},
		"a nil ExtractorFunc":          {interceptor.WithExtractors(authmd.ExtractorFunc(nil)), "extractor 1 is nil"},
		"a cookie without a name":      {interceptor.WithExtractors(authmd.Cookie()), "extractor 1 has no valid header or cookie name"},
		"a cookie with a bad name":     {interceptor.WithExtractors(authmd.Cookie("a b")), "extractor 1 has no valid header or cookie name"},
		"a header that is never there": {interceptor.WithExtractors(authmd.HeaderToken("grpc-timeout")), "extractor 1 has no valid header or cookie name"},
		"a key header with a bad name": {interceptor.WithKeyHeaders("X Tenant"), `"X Tenant" is never in the header`},
		"a key header never forwarded": {interceptor.WithKeyHeaders("Connection"), `"Connection" is never in the header`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a, err := interceptor.NewSessionAuth(o.verify, mapRecord, test.opt)
			if a != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("NewSessionAuth = %v, %v, want an error with %q", a, err, test.want)
			}
		})
	}
	for name, build := range map[string]func() (*interceptor.Authenticator, error){
		"no verify": func() (*interceptor.Authenticator, error) { return interceptor.NewSessionAuth(nil, mapRecord) },
		"no map":    func() (*interceptor.Authenticator, error) { return interceptor.NewSessionAuth(o.verify, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := build(); a != nil || err == nil || !strings.Contains(err.Error(), "needs a verify and a map callback") {
				t.Errorf("NewSessionAuth = %v, %v", a, err)
			}
		})
	}
	t.Run("nil options are ignored", func(t *testing.T) {
		_, err := interceptor.NewSessionAuth(o.verify, mapRecord, nil,
			interceptor.WithTracerProvider(nil), interceptor.WithMeterProvider(nil), interceptor.WithKeyContext(nil))
		if err != nil {
			t.Error(err)
		}
	})
}

func TestOptionalAuth(t *testing.T) {
	o := newOwner("t1")
	client := serve(t, &service{}, newAuth(t, o, interceptor.WithOptionalAuth()).ServerOptions()...)
	eachKind(t, func(t *testing.T, call caller) {
		if got, err := call(with(t), client, "anonymous"); got != "anonymous" || err != nil {
			t.Errorf("without a credential: %q, %v", got, err)
		}
		if got, err := call(bearer(t, "t1"), client, "user-of-t1"); got != "user-of-t1" || err != nil {
			t.Errorf("with a good one: %q, %v", got, err)
		}
		_, err := call(bearer(t, "junk"), client, "")
		invalid.check(t, err)
		for _, malformed := range []string{"Bearer a b", "bearer", "Bearer "} {
			_, err = call(with(t, "authorization", malformed), client, "")
			missing.check(t, err)
		}
		if got, err := call(with(t, "authorization", "Basic eDp5"), client, "anonymous"); got != "anonymous" || err != nil {
			t.Errorf("with another scheme: %q, %v", got, err)
		}
		_, err = call(with(t, "authorization", "Bearer t1", "authorization", "Bearer junk"), client, "")
		ambiguous.check(t, err)
	})
}

func TestIdentityHeadersOfTheClientNeverReachAHandler(t *testing.T) {
	spoofs := []string{
		"x-auth-subject", "x-auth-roles", "x_auth_subject", "x.auth.subject", "x-auth_subject", "x_auth-subject",
		"x-auth-claims-bin", "grpcgateway-x-auth-subject", "grpcgateway-x_auth_subject", "grpcgateway-grpcgateway-x-auth-subject",
		"x-auth-anything-at-all",
	}
	innocent := []string{"x-request-id", "x-authority", "x-author-name", "x-forwarded-for", "authorization"}
	var pairs []string
	for _, key := range append(slices.Clone(spoofs), innocent[:4]...) {
		pairs = append(pairs, key, "root")
	}
	options := map[string][]interceptor.Option{
		"authenticated": nil,
		"cached":        {minute},
		"skipped":       {interceptor.WithSkipMethods("*")},
		"optional":      {interceptor.WithOptionalAuth()},
	}
	for name, opts := range options {
		o := newOwner("t1")
		a := newAuth(t, o, opts...)
		ways := map[string][]grpc.ServerOption{
			"interceptors": a.ServerOptions(),
			"AuthFunc": {
				grpc.UnaryInterceptor(auth.UnaryServerInterceptor(a.AuthFunc)),
				grpc.StreamInterceptor(auth.StreamServerInterceptor(a.AuthFunc)),
			},
		}
		for way, serverOptions := range ways {
			t.Run(name+" by "+way, func(t *testing.T) {
				s := &service{}
				client := serve(t, s, serverOptions...)
				eachKind(t, func(t *testing.T, call caller) {
					ctx := with(t, pairs...)
					if name != "optional" {
						ctx = grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer t1")
					} else {
						ctx = grpcmd.AppendToOutgoingContext(ctx, "authorization", "Basic eDp5")
					}
					if _, err := call(ctx, client, map[string]string{"authenticated": "user-of-t1", "cached": "user-of-t1"}[name]); err != nil {
						t.Fatal(err)
					}
					for _, key := range spoofs {
						if values := s.lastSeen().Get(key); len(values) > 0 {
							t.Errorf("the handler saw %s: %q", key, values)
						}
					}
					for _, key := range innocent {
						if len(s.lastSeen().Get(key)) == 0 {
							t.Errorf("the handler did not see %s", key)
						}
					}
				})
				for key := range o.headersOfLast() {
					if strings.Contains(strings.ToLower(key), "auth") && !slices.Contains([]string{"Authorization", "X-Authority", "X-Author-Name"}, key) {
						t.Errorf("the verifier saw %s", key)
					}
				}
			})
		}
	}
}

func TestATokenHeaderMayBeAnIdentityHeader(t *testing.T) {
	o := newOwner("t1")
	s := &service{}
	client := serve(t, s, newAuth(t, o, interceptor.WithExtractors(authmd.HeaderToken("X-Auth-Token"))).ServerOptions()...)
	if got, err := kinds["unary"](with(t, "x-auth-token", "t1", "x-auth-subject", "root"), client, ""); got != "user-of-t1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if len(s.lastSeen().Get("x-auth-token")) > 0 {
		t.Error("the handler saw the token")
	}
	if h := o.lastHeader(); h.Get("X-Auth-Token") != "t1" || h.Get("X-Auth-Subject") != "" {
		t.Errorf("the verifier saw %v", h)
	}
}

// overridden is a service with an AuthFuncOverride of its own.
type overridden struct {
	service
	a *interceptor.Authenticator
}

func (o *overridden) AuthFuncOverride(ctx context.Context, fullMethod string) (context.Context, error) {
	if strings.HasSuffix(fullMethod, "/StreamingOutputCall") {
		return ctx, nil // this one is public
	}
	return o.a.AuthFunc(ctx)
}

func TestComposition(t *testing.T) {
	o := newOwner("t1")
	a := newAuth(t, o, minute)
	var order []string
	unary := func(name string) grpc.UnaryServerInterceptor {
		return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			_, ok := authcontext.FromContext(ctx)
			order = append(order, fmt.Sprintf("%s sees an identity: %t", name, ok))
			return handler(ctx, req)
		}
	}
	stream := func(name string) grpc.StreamServerInterceptor {
		return func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			_, ok := authcontext.FromContext(ss.Context())
			order = append(order, fmt.Sprintf("%s sees an identity: %t", name, ok))
			return handler(srv, ss)
		}
	}
	notStream := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return c.Method != "StreamingOutputCall" })
	tests := map[string]struct {
		srv    grpc_testing.TestServiceServer
		opts   []grpc.ServerOption
		public string // the kind that needs no credential
	}{
		"in a chain": {&service{}, []grpc.ServerOption{
			grpc.ChainUnaryInterceptor(unary("outer"), a.UnaryServerInterceptor(), unary("inner")),
			grpc.ChainStreamInterceptor(stream("outer"), a.StreamServerInterceptor(), stream("inner")),
		}, ""},
		"go-grpc-middleware's auth": {&service{}, []grpc.ServerOption{
			grpc.ChainUnaryInterceptor(unary("outer"), auth.UnaryServerInterceptor(a.AuthFunc), unary("inner")),
			grpc.ChainStreamInterceptor(stream("outer"), auth.StreamServerInterceptor(a.AuthFunc), stream("inner")),
		}, ""},
		"a service's AuthFuncOverride": {&overridden{a: a}, []grpc.ServerOption{
			grpc.ChainUnaryInterceptor(unary("outer"), auth.UnaryServerInterceptor(a.AuthFunc), unary("inner")),
			grpc.ChainStreamInterceptor(stream("outer"), auth.StreamServerInterceptor(a.AuthFunc), stream("inner")),
		}, "server stream"},
		"go-grpc-middleware's selector": {&service{}, []grpc.ServerOption{
			grpc.ChainUnaryInterceptor(unary("outer"), selector.UnaryServerInterceptor(a.UnaryServerInterceptor(), notStream), unary("inner")),
			grpc.ChainStreamInterceptor(stream("outer"), selector.StreamServerInterceptor(a.StreamServerInterceptor(), notStream), stream("inner")),
		}, "server stream"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := serve(t, test.srv, test.opts...)
			for kind, call := range kinds {
				order = nil
				got, err := call(bearer(t, "t1"), client, "user-of-t1")
				want, sees := "user-of-t1", true
				if kind == test.public {
					want, sees = "anonymous", false
				}
				if got != want || err != nil {
					t.Errorf("%s: got %q, %v, want %q", kind, got, err, want)
				}
				if seen := []string{"outer sees an identity: false", fmt.Sprintf("inner sees an identity: %t", sees)}; !slices.Equal(order, seen) {
					t.Errorf("%s: %q, want %q", kind, order, seen)
				}
				_, err = call(with(t), client, "anonymous")
				if kind != test.public {
					missing.check(t, err)
				} else if err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
		})
	}
}

func TestBehindOtelgrpc(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	o := newOwner("t1")
	a := newAuth(t, o, minute, interceptor.WithTracerProvider(provider))
	opts := append(a.ServerOptions(), grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(provider))))
	client := serve(t, &service{}, opts...)
	for _, call := range []context.Context{bearer(t, "t1"), bearer(t, "t1"), bearer(t, "junk"), with(t)} {
		_, _ = kinds["unary"](call, client, "")
	}
	// The RPC's span ends after the client has its answer, and may have made its next call.
	rpcs := func() (rpcs, verifications []sdktrace.ReadOnlySpan) {
		byStart := func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) }
		for _, span := range slices.SortedFunc(slices.Values(spans.Ended()), byStart) {
			if span.Name() == telemetry.SpanVerify {
				verifications = append(verifications, span)
			} else {
				rpcs = append(rpcs, span)
			}
		}
		return rpcs, verifications
	}
	for r, _ := rpcs(); len(r) < 4; r, _ = rpcs() {
		runtime.Gosched()
	}
	calls, verifications := rpcs()
	if len(verifications) != 2 {
		t.Fatalf("%d verifications, want 2: one for each token", len(verifications))
	}
	for i, want := range []string{"miss ", "hit ", "miss invalid_session", "rejected missing_credentials"} {
		var result, errorType string
		for _, attribute := range calls[i].Attributes() {
			switch attribute.Key {
			case telemetry.KeyResult:
				result = attribute.Value.AsString()
			case telemetry.KeyErrorType:
				errorType = attribute.Value.AsString()
			}
		}
		if got := result + " " + errorType; got != want {
			t.Errorf("call %d: span says %q, want %q", i+1, got, want)
		}
	}
	for i, rpc := range []sdktrace.ReadOnlySpan{calls[0], calls[2]} {
		if verifications[i].Parent().SpanID() != rpc.SpanContext().SpanID() {
			t.Errorf("verification %d is no child of the RPC that started it", i+1)
		}
	}
}
