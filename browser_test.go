package sessionauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

var foreign = refusal{codes.PermissionDenied, "origin not allowed", string(reason.OriginNotAllowed)}

func TestAllowedOrigins(t *testing.T) {
	const app, evil = "https://app.example.com", "https://evil.example.com"
	anywhere := authmd.ExtractorFunc(func(header http.Header) (string, bool) {
		token := strings.TrimPrefix(header.Get("Cookie"), "sid=")
		if token == "" {
			token = header.Get("X-Session")
		}
		return token, token != ""
	})
	allow := func(origins ...string) []interceptor.Option {
		return []interceptor.Option{
			interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid")),
			interceptor.WithCache(cache.Policy{TTL: time.Minute}),
			interceptor.WithAllowedOrigins(origins...),
		}
	}
	for claim, row := range map[string]struct {
		opts    []interceptor.Option
		headers []string
		refused bool
	}{
		"a cookie from a page of an allowed origin passes":        {allow(app), []string{"cookie", "sid=good", "origin", app}, false},
		"a cookie from a page of another origin is refused":       {allow(app), []string{"cookie", "sid=good", "origin", evil}, true},
		"the origin is found under grpc-gateway's name":           {allow(app), []string{"cookie", "sid=good", "grpcgateway-origin", evil}, true},
		"an allowed one is, too":                                  {allow(app), []string{"cookie", "sid=good", "grpcgateway-origin", app}, false},
		"a renamed cookie is a cookie":                            {allow(app), []string{"grpcgateway-cookie", "sid=good", "origin", evil}, true},
		"one of two origins is not allowed":                       {allow(app), []string{"cookie", "sid=good", "origin", app, "origin", evil}, true},
		"two names that differ count both":                        {allow(app), []string{"cookie", "sid=good", "origin", app, "grpcgateway-origin", evil}, true},
		"null is an origin that is not allowed":                   {allow(app), []string{"cookie", "sid=good", "origin", "null"}, true},
		"an empty origin is not allowed":                          {allow(app), []string{"cookie", "sid=good", "origin", ""}, true},
		"a longer host is another origin":                         {allow(app), []string{"cookie", "sid=good", "origin", app + ".evil.com"}, true},
		"a port makes another origin":                             {allow(app), []string{"cookie", "sid=good", "origin", app + ":8443"}, true},
		"http is another origin than https":                       {allow(app), []string{"cookie", "sid=good", "origin", "http://app.example.com"}, true},
		"each origin that is named is allowed":                    {allow(app, "http://localhost:5173"), []string{"cookie", "sid=good", "origin", "http://localhost:5173"}, false},
		"configured case does not matter":                         {allow("HTTPS://App.Example.com"), []string{"cookie", "sid=good", "origin", app}, false},
		"with no origins allowed no page is":                      {allow(), []string{"cookie", "sid=good", "origin", app}, true},
		"a call without an origin is not from a page":             {allow(app), []string{"cookie", "sid=good"}, false},
		"a bearer token is never sent unasked":                    {allow(app), []string{"authorization", "Bearer good", "origin", evil}, false},
		"a cookie that the verifier sees beside a bearer token":   {allow(app), []string{"authorization", "Bearer good", "cookie", "sid=bad", "origin", evil}, true},
		"an unlisted origin is fine when the option is not given": {allow(app)[:2], []string{"cookie", "sid=good", "origin", evil}, false},
		"an ExtractorFunc may have read the cookie": {
			[]interceptor.Option{interceptor.WithExtractors(anywhere), interceptor.WithAllowedOrigins(app)},
			[]string{"cookie", "sid=good", "origin", evil},
			true,
		},
		"an ExtractorFunc has not when there is none": {
			[]interceptor.Option{interceptor.WithExtractors(anywhere), interceptor.WithAllowedOrigins(app)},
			[]string{"x-session", "good", "origin", evil},
			false,
		},
		"optional auth lets no foreign cookie through": {
			append(allow(app), interceptor.WithOptionalAuth()), []string{"cookie", "sid=good", "origin", evil}, true,
		},
	} {
		t.Run(claim, func(t *testing.T) {
			o := newOwner("good")
			auth := newAuth(t, o, row.opts...)
			client := serve(t, &service{}, auth.ServerOptions()...)
			// From memory, too: a good call with the same credential goes first.
			first := slices.Clone(row.headers)
			for i := 0; i < len(first); i += 2 {
				if strings.HasSuffix(first[i], "origin") {
					first[i] = "x-other"
				}
			}
			if _, err := client.UnaryCall(with(t, first...), &grpc_testing.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
			verified := o.verified.Load()
			eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
				got, err := call(with(t, row.headers...), client, "user-of-good")
				if row.refused {
					foreign.check(t, err)
				} else if err != nil || got != "user-of-good" {
					t.Errorf("got %q, %v", got, err)
				}
			})
			if row.refused && o.verified.Load() != verified {
				t.Error("a callback ran for a call that is refused by its origin")
			}
		})
	}
}

func TestAllowedOriginsAreChecked(t *testing.T) {
	for _, bad := range []string{
		"", "*", "app.example.com", "https://", "https://app.example.com/", "https://app.example.com/path",
		"https://*.example.com", "https://user@app.example.com", "https://app.example.com:443", "http://app.example.com:80",
		"null", "https://app.example.com?x", "https://a b", "//app.example.com",
	} {
		_, err := interceptor.NewSessionAuth(newOwner().verify, mapRecord, interceptor.WithAllowedOrigins("https://fine.example.com", bad))
		if err == nil || !strings.HasPrefix(err.Error(), "interceptor: WithAllowedOrigins: ") {
			t.Errorf("%q: err = %v", bad, err)
		}
	}
}

// refresher is an owner that refreshes the cookie in every verification.
func refresher(o *owner) interceptor.VerifyFunc[*record] {
	return func(ctx context.Context, token string, header http.Header) (*record, error) {
		if err := interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {"sid=" + token + "; HttpOnly"}}); err != nil {
			return nil, err
		}
		return o.verify(ctx, token, header)
	}
}

func setCookies(md grpcmd.MD) []string { return md.Get("set-cookie") }

// TestAnAnswerThatIsStaleBringsWhatTheFailedVerificationHandedBack.
func TestAnAnswerThatIsStaleBringsWhatTheFailedVerificationHandedBack(t *testing.T) {
	o := newOwner("good")
	auth, err := interceptor.NewSessionAuth(refresher(o), mapRecord, interceptor.WithCache(cache.Policy{TTL: 1, StaleIfError: time.Hour}))
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, &service{}, auth.ServerOptions()...)
	for _, fail := range []error{nil, interceptor.ErrUnavailable} {
		o.setFail(fail)
		var header grpcmd.MD
		if _, err := client.UnaryCall(bearer(t, "good"), &grpc_testing.SimpleRequest{}, grpc.Header(&header)); err != nil || len(setCookies(header)) != 1 {
			t.Errorf("%v, %v", header, err)
		}
	}
}

func TestResponseHeaderReachesTheCallThatCausedTheVerification(t *testing.T) {
	for claim, row := range map[string]struct {
		opts   []interceptor.Option
		second int // how many of the second call's
	}{
		"and, with a cache, no call that is answered from memory": {
			[]interceptor.Option{interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute})}, 0,
		},
		"and, without a cache, each call its own": {nil, 1},
	} {
		for _, token := range []string{"good", "bad"} {
			t.Run(claim+", "+token, func(t *testing.T) {
				auth, err := interceptor.NewSessionAuth(refresher(newOwner("good")), mapRecord, row.opts...)
				if err != nil {
					t.Fatal(err)
				}
				client := serve(t, &service{}, auth.ServerOptions()...)
				for i, want := range []int{1, row.second} {
					var header grpcmd.MD
					_, err := client.UnaryCall(bearer(t, token), &grpc_testing.SimpleRequest{}, grpc.Header(&header))
					if (err == nil) != (token == "good") {
						t.Fatalf("err = %v", err)
					}
					if got := setCookies(header); len(got) != want || want == 1 && got[0] != "sid="+token+"; HttpOnly" {
						t.Errorf("call %d got Set-Cookie %q, want %d", i+1, got, want)
					}
				}
			})
		}
	}
}

func TestResponseHeaderReachesStreams(t *testing.T) {
	auth, err := interceptor.NewSessionAuth(refresher(newOwner("good")), mapRecord,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, &service{}, auth.ServerOptions()...)
	for i, want := range []int{1, 0} {
		stream, err := client.StreamingOutputCall(bearer(t, "good"), &grpc_testing.StreamingOutputCallRequest{})
		if err != nil {
			t.Fatal(err)
		}
		header, err := stream.Header()
		if err != nil {
			t.Fatal(err)
		}
		if got := setCookies(header); len(got) != want {
			t.Errorf("stream %d got Set-Cookie %q, want %d", i+1, got, want)
		}
		for err == nil {
			_, err = stream.Recv()
		}
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

// TestResponseHeaderIsNotShared: of many callers that wait for one verification, only
// the one that started it gets what it hands back.
func TestResponseHeaderIsNotShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("good")
		verify := refresher(o)
		auth, err := interceptor.NewSessionAuth(func(ctx context.Context, token string, header http.Header) (*record, error) {
			time.Sleep(time.Second) // in the bubble: all the others come to wait
			return verify(ctx, token, header)
		}, mapRecord, interceptor.WithCache(cache.Policy{TTL: time.Minute}))
		if err != nil {
			t.Fatal(err)
		}
		client := serve(t, &service{}, auth.ServerOptions()...)
		var got atomic.Int64
		for range 50 {
			go func() {
				var header grpcmd.MD
				if _, err := client.UnaryCall(bearerCtx("good"), &grpc_testing.SimpleRequest{}, grpc.Header(&header)); err != nil {
					t.Error(err)
				}
				got.Add(int64(len(setCookies(header))))
			}()
		}
		time.Sleep(time.Minute)
		if got.Load() != 1 || o.verified.Load() != 1 {
			t.Errorf("%d callers got the cookie of %d verifications, want 1 of 1", got.Load(), o.verified.Load())
		}
	})
}

// TestResponseHeaderOfAnAbandonedVerificationIsLost: what it says after its call has
// been answered goes to no other.
func TestResponseHeaderOfAnAbandonedVerificationIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int64
		auth, err := interceptor.NewSessionAuth(func(ctx context.Context, token string, _ http.Header) (*record, error) {
			if runs.Add(1) == 1 {
				time.Sleep(10 * time.Second) // past VerifyTimeout, deaf to ctx
			}
			return &record{User: token}, interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {"a=b"}})
		}, mapRecord, interceptor.WithCache(cache.Policy{TTL: time.Minute, VerifyTimeout: time.Second}))
		if err != nil {
			t.Fatal(err)
		}
		client := serve(t, &service{}, auth.ServerOptions()...)
		var header grpcmd.MD
		_, err = client.UnaryCall(bearerCtx("good"), &grpc_testing.SimpleRequest{}, grpc.Header(&header))
		unavailable.check(t, err)
		if len(setCookies(header)) != 0 {
			t.Errorf("the abandoned call got %q", header)
		}
		time.Sleep(time.Minute)
		if _, err = client.UnaryCall(bearerCtx("good"), &grpc_testing.SimpleRequest{}, grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		if got := setCookies(header); len(got) != 1 {
			t.Errorf("Set-Cookie = %q, want one", got)
		}
	})
}

func TestResponseHeaderIsChecked(t *testing.T) {
	for claim, header := range map[string]http.Header{
		"a line break":       {"Set-Cookie": {"a=b\r\nEvil: 1"}},
		"a byte over 0x7e":   {"Set-Cookie": {"a=\xff"}},
		"a name of gRPC":     {"Grpc-Status": {"0"}},
		"a hop-by-hop name":  {"Connection": {"close"}},
		"a pseudo-header":    {":status": {"200"}},
		"a binary name":      {"Trace-Bin": {"x"}},
		"a name that is odd": {"Set Cookie": {"a=b"}},
		"too much":           {"Set-Cookie": {strings.Repeat("a", 17<<10)}},
	} {
		t.Run(claim, func(t *testing.T) {
			auth, err := interceptor.NewSessionAuth(func(ctx context.Context, token string, _ http.Header) (*record, error) {
				if err := interceptor.SetResponseHeader(ctx, header); err == nil {
					t.Error("no error")
				}
				return &record{User: token}, interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {"fine=1"}})
			}, mapRecord)
			if err != nil {
				t.Fatal(err)
			}
			client := serve(t, &service{}, auth.ServerOptions()...)
			var got grpcmd.MD
			if _, err := client.UnaryCall(bearer(t, "good"), &grpc_testing.SimpleRequest{}, grpc.Header(&got)); err != nil {
				t.Fatal(err)
			}
			if cookies := setCookies(got); len(cookies) != 1 || cookies[0] != "fine=1" {
				t.Errorf("Set-Cookie = %q", cookies)
			}
		})
	}
	if err := interceptor.SetResponseHeader(context.Background(), http.Header{"Set-Cookie": {"a=b"}}); err != nil {
		t.Errorf("outside of a verification: %v", err)
	}
}
