package extauthz_test

import (
	"net/http"
	"strings"
	"testing"

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
		"HTTP/1.0 without a host":              {"GET /files/1 HTTP/1.0\r\n", false},
	}
	const raw = "encode_raw_headers: true"
	for name, form := range map[string]string{"raw headers": raw, "joined headers": "encode_raw_headers: false"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, newServer(t, newAuth(t, &o, skipsEmptyCall)), raw, form,
				"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW",
				"path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED",
				"normalize_path: true", "normalize_path: false")
			for name, game := range games {
				t.Run(name, func(t *testing.T) {
					request := game.request
					if !strings.Contains(request, "\r\n\r\n") {
						request += "\r\n"
					}
					code, rest := f.raw(t, request)
					if passed := code == http.StatusOK; passed != game.ada || code >= http.StatusInternalServerError && code != http.StatusNotImplemented || code == http.StatusTeapot {
						t.Errorf("%d\n%s", code, rest)
					} else if passed && (!strings.Contains(rest, `"Subject":"ada"`) || strings.Contains(rest, "eve") || strings.Contains(rest, ada)) {
						t.Errorf("the upstream saw %s", rest)
					}
				})
			}
		})
	}
}
