package e2e_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/vanguard/vanguardgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	accountv1 "github.com/grpc-sessionauth/sessionauth/examples/betterauth/account/v1"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

type accounts struct {
	accountv1.UnimplementedAccountServiceServer
}

func (accounts) WhoAmI(ctx context.Context, _ *accountv1.WhoAmIRequest) (*accountv1.WhoAmIResponse, error) {
	who, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	return &accountv1.WhoAmIResponse{Subject: who.Subject}, nil
}

// serveWeb puts grpc-gateway, and vanguard for Connect and gRPC-Web, in front of a gRPC
// server, and returns the URL of both.
func serveWeb(t *testing.T, auth *interceptor.Authenticator) string {
	t.Helper()
	server := grpc.NewServer(auth.ServerOptions()...)
	accountv1.RegisterAccountServiceServer(server, accounts{})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	gateway := runtime.NewServeMux(
		runtime.WithIncomingHeaderMatcher(authmd.GatewayIncomingHeader),
		runtime.WithOutgoingHeaderMatcher(authmd.GatewayOutgoingHeader))
	if err := accountv1.RegisterAccountServiceHandlerClient(t.Context(), gateway, accountv1.NewAccountServiceClient(conn)); err != nil {
		t.Fatal(err)
	}
	transcoder, err := vanguardgrpc.NewTranscoder(server)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/", gateway)
	mux.Handle("/", transcoder)
	web := httptest.NewServer(mux)
	t.Cleanup(func() {
		web.Close()
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return web.URL
}

// TestCookieGoesBackToTheBrowser has better-auth refresh a session, and remove the cookie of
// one that has ended, on the way through everything that a browser can speak.
func TestCookieGoesBackToTheBrowser(t *testing.T) {
	t.Parallel()
	o := newOwner(t, map[string]any{"session": map[string]any{"expiresIn": 7200, "updateAge": 0}})
	v, err := betterauth.New(o.url, betterauth.WithRefresh())
	if err != nil {
		t.Fatal(err)
	}
	const method = "/account.v1.AccountService/WhoAmI"
	for name, way := range map[string]struct {
		method, path, contentType, body string
	}{
		"REST":     {http.MethodGet, "/v1/whoami", "", ""},
		"Connect":  {http.MethodPost, method, "application/json", "{}"},
		"gRPC-Web": {http.MethodPost, method, "application/grpc-web+proto", "\x00\x00\x00\x00\x00"},
	} {
		t.Run(name, func(t *testing.T) {
			url := serveWeb(t, newAuth(t, v.Verify, v.Map, interceptor.WithExtractors(v.Extractors()...),
				interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute})))
			call := func(cookie string) (status int, body, setCookie string) {
				t.Helper()
				request, err := http.NewRequestWithContext(t.Context(), way.method, url+way.path, strings.NewReader(way.body))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Cookie", cookie)
				request.Header.Set("Connect-Protocol-Version", "1")
				if way.contentType != "" {
					request.Header.Set("Content-Type", way.contentType)
				}
				response, err := http.DefaultTransport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Body.Close() }()
				text, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				return response.StatusCode, string(text), strings.Join(response.Header["Set-Cookie"], "\n")
			}

			ada := o.signUp(t, strings.ToLower(name))
			status, body, cookie := call(ada.cookie())
			if status != http.StatusOK || !strings.Contains(body, ada.id) || !strings.HasPrefix(cookie, ada.cookie()+";") || !strings.Contains(cookie, "Max-Age=7200") {
				t.Errorf("verified: %d %q, Set-Cookie %q", status, body, cookie)
			}
			if status, body, cookie = call(ada.cookie()); status != http.StatusOK || !strings.Contains(body, ada.id) || cookie != "" {
				t.Errorf("from memory: %d %q, Set-Cookie %q", status, body, cookie)
			}

			ben := o.signUp(t, "ben-"+strings.ToLower(name))
			o.post(t, "/api/auth/sign-out", struct{}{}, "Cookie", ben.cookie())
			refused := func() (cookie string) {
				t.Helper()
				status, body, cookie := call(ben.cookie())
				if strings.Contains(body, ben.id) || !strings.Contains(body, "invalid session") && status == http.StatusUnauthorized {
					t.Errorf("signed out: %d %q", status, body)
				}
				if way.contentType != "application/grpc-web+proto" && status != http.StatusUnauthorized {
					t.Errorf("signed out: %d", status)
				}
				return cookie
			}
			if cookie := refused(); !strings.HasPrefix(cookie, cookieName+"=;") || !strings.Contains(cookie, "Max-Age=0") {
				t.Errorf("signed out: Set-Cookie %q", cookie)
			}
			if cookie := refused(); cookie != "" {
				t.Errorf("refused from memory: Set-Cookie %q", cookie)
			}
		})
	}
}
