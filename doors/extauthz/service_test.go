package extauthz_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/doors/extauthz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "0123456789abcdef0123456789abcdef"

// owner is an owner of sessions who hands back a cookie with every verification.
type owner struct {
	authtest.Owner

	cookies []string
}

func (o *owner) verify(ctx context.Context, token string, header http.Header) (*authtest.Session, error) {
	if len(o.cookies) > 0 {
		if err := interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": o.cookies}); err != nil {
			return nil, err
		}
	}
	if token == "panic" {
		panic(token)
	}
	return o.Verify(ctx, token, header)
}

func newAuth(t testing.TB, o *owner, opts ...interceptor.Option) *interceptor.Authenticator {
	t.Helper()
	auth, err := interceptor.NewSessionAuth(o.verify, o.Map, append([]interceptor.Option{
		interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie("sid"), authmd.HeaderToken("X-Session-Token")),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

func newServer(t testing.TB, auth *interceptor.Authenticator, opts ...extauthz.Option) *extauthz.Server {
	t.Helper()
	s, err := extauthz.New(auth, append([]extauthz.Option{extauthz.WithSharedSecret(secret)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// socket returns the path of a Unix socket, which must be short.
func socket(t testing.TB) string { return filepath.Join(t.TempDir(), "s") }

// serveUntil has s answer on a Unix socket until stop, at the latest until the test ends.
func serveUntil(t testing.TB, s authv3.AuthorizationServer, path string) (stop func()) {
	t.Helper()
	listener := listen(t, path)
	if check, ok := s.(*extauthz.Server); ok {
		ctx, cancel := context.WithCancel(context.Background())
		return background(t, listener, func(l net.Listener) error { return check.Serve(ctx, l) }, cancel)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, s)
	return background(t, listener, server.Serve, server.Stop)
}

func listen(t testing.TB, path string) net.Listener {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// background serves until end, at the latest until the test ends.
func background(t testing.TB, listener net.Listener, serve func(net.Listener) error, end func()) (stop func()) {
	t.Helper()
	served := make(chan error, 1)
	go func() { served <- serve(listener) }()
	stop = sync.OnceFunc(func() {
		end()
		if err := <-served; err != nil && !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func dial(t testing.TB, target string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dialCheck serves s and returns a client of it.
func dialCheck(t testing.TB, s *extauthz.Server) authv3.AuthorizationClient {
	t.Helper()
	path := socket(t)
	serveUntil(t, s, path)
	return authv3.NewAuthorizationClient(dial(t, "unix:"+path))
}

const (
	grpcType  = "application/grpc"
	unaryCall = "/grpc.testing.TestService/UnaryCall"
)

// ask is a request as Envoy puts it: the pairs of headers joined in a map.
func ask(method, path string, pairs ...string) *authv3.CheckRequest {
	joined := map[string]string{":path": path, ":method": method, ":authority": "api.example", ":scheme": "https"}
	for i := 0; i < len(pairs); i += 2 {
		separator := ","
		if pairs[i] == "cookie" {
			separator = "; "
		}
		if old, ok := joined[pairs[i]]; ok {
			joined[pairs[i]] = old + separator + pairs[i+1]
		} else {
			joined[pairs[i]] = pairs[i+1]
		}
	}
	return request(&authv3.AttributeContext_HttpRequest{Method: method, Path: path, Host: "api.example", Headers: joined})
}

// askRaw is ask with raw headers.
func askRaw(method, path string, pairs ...string) *authv3.CheckRequest {
	list := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		list.Headers = append(list.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return request(&authv3.AttributeContext_HttpRequest{Method: method, Path: path, Host: "api.example", HeaderMap: list})
}

func request(h *authv3.AttributeContext_HttpRequest) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{Http: h}}}
}

// forwarded is what the upstream gets of a request, as Envoy makes it of an answer: it sets
// headers first and removes after that.
func forwarded(in *authv3.CheckRequest, ok *authv3.OkHttpResponse) http.Header {
	header := http.Header{}
	h := in.GetAttributes().GetRequest().GetHttp()
	for key, value := range h.GetHeaders() {
		if !strings.HasPrefix(key, ":") {
			header[key] = []string{value}
		}
	}
	for _, value := range h.GetHeaderMap().GetHeaders() {
		key := strings.ToLower(value.GetKey()) // as Envoy's own names are
		header[key] = append(header[key], string(value.GetRawValue()))
	}
	for _, set := range ok.GetHeaders() {
		if set.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			panic("an append to what the client has sent")
		}
		header[set.GetHeader().GetKey()] = []string{set.GetHeader().GetValue()}
	}
	for _, name := range ok.GetHeadersToRemove() {
		delete(header, name)
	}
	return header
}

// allowed reports whether Envoy lets a request pass.
func allowed(out *authv3.CheckResponse, err error) bool {
	return err == nil && out.GetStatus().GetCode() == int32(codes.OK)
}

// upstreamAuth is what guards an upstream that trusts Envoy.
func upstreamAuth(t testing.TB, opts ...interceptor.Option) *interceptor.GatewayAuth {
	t.Helper()
	g, err := interceptor.NewGatewayAuth(append([]interceptor.Option{interceptor.WithSharedSecrets(secret)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// caller is whom the upstream takes a request to be of; "" for one that it refuses.
func caller(t testing.TB, in *authv3.CheckRequest, out *authv3.CheckResponse) (*authcontext.AuthContext, http.Header, error) {
	t.Helper()
	if out.GetOkResponse() == nil {
		return nil, nil, errors.New("denied")
	}
	header := forwarded(in, out.GetOkResponse())
	found, err := upstreamAuth(t).Authenticate(t.Context(), header)
	return found.AuthContext(), header, err
}
