package betterauth

import (
	"net/http"
	"strings"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// cookies are those that a request is verified by: the session token and, where there is no
// database, the session data beside it. It is an [authmd.Source].
type cookies struct {
	token     authmd.Source
	data      string // the plain name; empty: only the token counts
	tokenName string
}

func newCookies(names CookieNames, stateless bool) cookies {
	token, _ := authmd.Cookie(names.SessionToken).(authmd.Source)
	c := cookies{token: token, tokenName: names.SessionToken}
	if stateless {
		c.data = names.SessionData
	}
	return c
}

func (c cookies) Header() string { return c.token.Header() }

func (c cookies) Extract(header http.Header) (string, bool) { return c.token.Extract(header) }

// AppendCredentials appends the session tokens and then the data that goes with the first.
func (c cookies) AppendCredentials(dst []authmd.Credential, values []string) []authmd.Credential {
	before := len(dst)
	dst = c.token.AppendCredentials(dst, values)
	if c.data == "" {
		return dst
	}
	for _, found := range dst[before:] {
		if found.Token != "" {
			return c.appendData(dst, found.Value, values)
		}
	}
	return dst
}

// appendData appends the session data, whole or in chunks, that goes with a token's cookie:
// the one with the same __Secure- in front.
func (c cookies) appendData(dst []authmd.Credential, tokenCookie string, values []string) []authmd.Credential {
	for _, line := range values {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			if cookie, value, ok := strings.Cut(pair, "="); ok && c.goesWith(tokenCookie, cookie) {
				dst = append(dst, authmd.Credential{Value: pair, Token: value})
			}
		}
	}
	return dst
}

// goesWith reports whether a cookie holds session data for the token in another one.
func (c cookies) goesWith(tokenCookie, cookie string) bool {
	sent, _, _ := strings.Cut(tokenCookie, "=")
	prefix := strings.TrimSuffix(sent, c.tokenName)
	rest, ok := strings.CutPrefix(cookie, prefix+c.data)
	if !ok || c.data == "" {
		return false
	}
	number, chunk := strings.CutPrefix(rest, ".")
	return rest == "" || chunk && number != "" && strings.Trim(number, "0123456789") == ""
}

// line is what is sent as the Cookie header beside a session token. It is false where a
// cookie cannot be sent.
func (c cookies) line(tokenCookie string, header http.Header) (string, bool) {
	pairs := []string{tokenCookie}
	for _, found := range c.appendData(nil, tokenCookie, header[c.Header()]) {
		if !endpoint.IsVisible(found.Value) {
			return "", false
		}
		pairs = append(pairs, found.Value)
	}
	return strings.Join(pairs, "; "), true
}

// ours reports whether a cookie that better-auth sets is one of those that were sent with
// this token's.
func (c cookies) ours(tokenCookie, cookie string) bool {
	sent, _, _ := strings.Cut(tokenCookie, "=")
	return cookie == sent || c.goesWith(tokenCookie, cookie)
}
