package extauthz_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

// TestHeaderGamesThroughEnvoy sends what a client is free to send, as bytes of HTTP/1.1, through
// an Envoy that is less strict than that of the documentation. A request that carries no good
// credential reaches no upstream, and one that does reaches it as its caller's.
func TestHeaderGamesThroughEnvoy(t *testing.T) {
	t.Parallel()
	var o owner
	ada := o.SignIn(authcontext.AuthContext{Subject: "ada"})
	eve := o.SignIn(authcontext.AuthContext{Subject: "eve"})
	const file = "GET /files/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	good := "Authorization: Bearer " + ada + "\r\n"
	huge := strings.Repeat("a", 1<<20)
	games := map[string]struct {
		request string
		ada     bool // it is hers; otherwise refused
	}{
		"a good one":                           {file + good, true},
		"an identity without a credential":     {file + "X-Auth-Subject: eve\r\nX-Gateway-Secret: " + secret + "\r\n", false},
		"an identity with a credential":        {file + good + "X-Auth-Subject: eve\r\nx-auth-SUBJECT: eve\r\nX-Auth-Roles: [\"eve\"]\r\n", true},
		"aliases of an identity":               {file + good + "X_Auth_Subject: eve\r\nX.Auth.Subject: eve\r\nX-Auth_Subject: eve\r\nGrpcgateway-X-Auth-Subject: eve\r\nX-Auth-Subject-Bin: eve\r\nX_AUTH-subject: eve\r\n", true},
		"aliases of the secret":                {file + good + "X_Gateway_Secret: eve\r\nX-Gateway.Secret: eve\r\nGrpcgateway-X-Gateway-Secret: eve\r\n", true},
		"aliases of a credential":              {file + good + "X_Session_Token: eve\r\nProxy-Authorization: eve\r\nProxy_Authorization: eve\r\n", true},
		"an alias of a credential alone":       {file + "X_Session_Token: " + ada + "\r\n", false},
		"two credentials":                      {file + good + "Authorization: Bearer " + eve + "\r\n", false},
		"two credentials, the second in front": {file + "Authorization: Bearer " + eve + "\r\n" + good, false},
		"two credentials in one":               {file + "Authorization: Bearer " + ada + ", Bearer " + eve + "\r\n", false},
		"two tokens in headers":                {file + "X-Session-Token: " + ada + "\r\nX-Session-Token: " + eve + "\r\n", false},
		"one of grpc-gateway beside it":        {file + good + "Grpcgateway-Authorization: Bearer " + eve + "\r\n", false},
		"a folded line":                        {file + "Authorization: Bearer\r\n " + ada + "\r\n", true},
		"a folded line behind":                 {file + good + " , Bearer " + eve + "\r\n", false},
		"CR in a credential":                   {file + "Authorization: Bearer " + ada + "\rx\r\n", false},
		"LF in a credential":                   {file + "Authorization: Bearer x\nAuthorization: Bearer " + eve + "\r\n", false},
		"NUL in a credential":                  {file + "Authorization: Bearer " + ada + "\x00\r\n", false},
		"a credential that is no UTF-8":        {file + "Authorization: Bearer " + ada + "\xff\r\n", false},
		"a cookie that is no UTF-8":            {file + "Cookie: sid=" + ada + "\xff\r\n", false},
		"another header that is no UTF-8":      {file + good + "X-Other: \xff\xfe\r\n", true},
		"a space before a colon":               {file + "Authorization : Bearer " + ada + "\r\n", false},
		"a name with a space":                  {file + good + "X-Auth Subject: eve\r\n", false},
		"a pseudo-header":                      {file + good + ":path: /files/2\r\n", false},
		"two hosts":                            {file + good + "Host: b\r\n", true},
		"two lengths":                          {file + good + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", false},
		"a length and chunks":                  {file + good + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /", false},
		"chunks that are not":                  {file + good + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", false},
		"1 MiB of a credential":                {file + "Authorization: Bearer " + huge + "\r\n", false},
		"1 MiB of another header":              {file + good + "X-Other: " + huge + "\r\n", false},
		"1 MiB of cookies":                     {file + good + strings.Repeat("Cookie: "+strings.Repeat("a", 1<<10)+"=b\r\n", 1<<10), false},
		"a thousand headers":                   {file + good + strings.Repeat("X-Other: 1\r\n", 1000), false},
		"an absolute target":                   {"GET http://b/files/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", false},
		"an absolute target with a good one":   {"GET http://b/files/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + good, true},
		"a way round by the path":              {"POST /grpc.testing.TestService/EmptyCall/../UnaryCall HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", false},
		"the same, encoded":                    {"POST /grpc.testing.TestService/EmptyCall%2f%2e%2e%2fUnaryCall HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", false},
		"the same, by a backslash":             {"POST /grpc.testing.TestService/EmptyCall\\..\\UnaryCall HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", false},
		"a fragment":                           {"GET /open/1#/../../files/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", false},
		"a parameter of a path":                {"GET /open/..;/files/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", false},
		"a method in a header":                 {file + "X-HTTP-Method-Override: OPTIONS\r\n", false},
		"a preflight":                          {"OPTIONS /files/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n", false},
		"a tunnel":                             {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + good, false},
		"an upgrade to HTTP/2":                 {"GET /files/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", false},
		"an identity for one hop":              {"GET /files/1 HTTP/1.1\r\nHost: a\r\nConnection: close, x-auth-subject, x-gateway-secret\r\n" + good, true},
		"HTTP/1.0 without a host":              {"GET /files/1 HTTP/1.0\r\n", false},
	}
	// The same by HTTP/2, whose names and values Envoy decodes before it looks at them. The pairs
	// come after the pseudo-headers; one that begins with "!" replaces them all.
	crumbs := make([]string, 0, 8000)
	for range 4000 {
		crumbs = append(crumbs, "cookie", "a=b")
	}
	frames := map[string]struct {
		pairs []string
		ada   bool
	}{
		"a good one":                    {[]string{"authorization", "Bearer " + ada}, true},
		"crumbs of a cookie":            {[]string{"cookie", "a=b", "cookie", "sid=" + ada, "cookie", "c=d"}, true},
		"4000 crumbs":                   {append(crumbs, "cookie", "sid="+ada), false},
		"an identity, repeated":         {[]string{"authorization", "Bearer " + ada, "x-auth-subject", "eve", "x-auth-subject", "eve", "x-auth-subject-bin", "ZXZl"}, true},
		"two credentials":               {[]string{"authorization", "Bearer " + ada, "authorization", "Bearer " + eve}, false},
		"a name in upper case":          {[]string{"Authorization", "Bearer " + ada}, false},
		"CRLF in a value":               {[]string{"authorization", "Bearer " + ada, "x-other", "a\r\nx-auth-subject: eve"}, false},
		"NUL in a value":                {[]string{"authorization", "Bearer " + ada + "\x00"}, false},
		"CRLF in a name":                {[]string{"authorization", "Bearer " + ada, "x\r\nx-auth-subject", "eve"}, false},
		"no UTF-8 in a value":           {[]string{"authorization", "Bearer " + ada, "x-other", "\xff"}, true},
		"no UTF-8 in a credential":      {[]string{"authorization", "Bearer \xff" + ada}, false},
		"no UTF-8 in an identity":       {[]string{"authorization", "Bearer " + ada, "x-auth-\xff", "eve"}, false},
		"a connection":                  {[]string{"authorization", "Bearer " + ada, "connection", "x-auth-subject"}, false},
		"a chunked body":                {[]string{"authorization", "Bearer " + ada, "transfer-encoding", "chunked"}, false},
		"a second path":                 {[]string{":path", "/files/2", "authorization", "Bearer " + ada}, false},
		"a pseudo-header too late":      {[]string{"authorization", "Bearer " + ada, ":path", "/files/2"}, false},
		"another host beside authority": {[]string{"authorization", "Bearer " + ada, "host", "b"}, true},
		"no pseudo-header":              {[]string{"!", "", "authorization", "Bearer " + ada}, false},
		"1 MiB of a value":              {[]string{"authorization", "Bearer " + ada, "x-other", huge}, false},
	}
	const raw = "encode_raw_headers: true"
	for name, form := range map[string]string{"raw headers": raw, "joined headers": "encode_raw_headers: false"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall)), raw, form,
				"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW",
				"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED",
				"normalize_path: true", "normalize_path: false",
				"stat_prefix: front", "stat_prefix: front\n                delayed_close_timeout: 0.05s") // 1 s unless given
			mustEnd := func(t *testing.T, ada string, code int, body string) {
				t.Helper()
				if passed := code == http.StatusOK; passed != (ada != "") || code >= http.StatusInternalServerError && code != http.StatusNotImplemented || code == http.StatusTeapot {
					t.Errorf("%d\n%s", code, body)
				} else if passed && (!strings.Contains(body, `"Subject":"ada"`) || strings.Contains(body, "eve") || strings.Contains(body, ada)) {
					t.Errorf("the upstream saw %s", body)
				}
			}
			for name, game := range frames {
				t.Run("HTTP2, "+name, func(t *testing.T) {
					code, body := f.frames(t, game.pairs)
					mustEnd(t, map[bool]string{true: ada}[game.ada], code, body)
				})
			}
			for name, game := range games {
				t.Run(name, func(t *testing.T) {
					request := game.request
					if !strings.Contains(request, "\r\n\r\n") {
						request += "\r\n"
					}
					code, body := f.raw(t, request)
					mustEnd(t, map[bool]string{true: ada}[game.ada], code, body)
				})
			}
		})
	}
}

// frames sends the headers of a request by HTTP/2 and returns the status code, 0 for a stream or
// connection that is reset, and the body that comes with it.
func (f *front) frames(t *testing.T, pairs []string) (code int, body string) {
	t.Helper()
	conn, err := net.Dial("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(startTimeout))
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	if pairs[0] != "!" {
		pairs = append([]string{":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/files/1"}, pairs...)
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] != "!" {
			_ = encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
	}
	go func() { // Envoy may answer before it has read all
		_, _ = io.WriteString(conn, http2.ClientPreface)
		_ = framer.WriteSettings()
		first := true
		for first || block.Len() > 0 {
			fragment := block.Next(16 << 10)
			if first {
				err = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fragment, EndStream: true, EndHeaders: block.Len() == 0})
			} else {
				err = framer.WriteContinuation(1, block.Len() == 0, fragment)
			}
			if first = false; err != nil {
				return
			}
		}
	}()
	var text strings.Builder
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				t.Fatal(err)
			}
			return code, text.String()
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, c := range []byte(frame.PseudoValue("status")) {
				code = 10*code + int(c-'0')
			}
		case *http2.DataFrame:
			text.Write(frame.Data())
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return code, text.String()
		}
		if frame.Header().Flags.Has(http2.FlagDataEndStream) && frame.Header().StreamID == 1 {
			return code, text.String()
		}
	}
}
