package forwardauth

import (
	"net/http"
	"slices"
	"strings"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// cookies are the session cookies of an endpoint, all of which together are the
// credential. It is an [authmd.Source].
type cookies struct {
	names []string
	split bool // also name_0, name_1, …, the pieces of one that is too long
}

func (cookies) Header() string { return "Cookie" }

func (c cookies) Extract(header http.Header) (string, bool) {
	for _, found := range c.AppendCredentials(nil, header["Cookie"]) {
		if found.Token != "" {
			return found.Token, true
		}
	}
	return "", false
}

// AppendCredentials appends the session cookies in the order in which they came.
func (c cookies) AppendCredentials(dst []authmd.Credential, values []string) []authmd.Credential {
	for _, line := range values {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.Trim(pair, " \t")
			cookie, value, ok := strings.Cut(pair, "=")
			if !ok || !c.has(cookie) {
				continue
			}
			if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			dst = append(dst, authmd.Credential{Value: pair, Token: value})
		}
	}
	return dst
}

// has reports whether a cookie of this name is one of them.
func (c cookies) has(cookie string) bool {
	if slices.Contains(c.names, cookie) {
		return true
	}
	at := strings.LastIndexByte(cookie, '_')
	return c.split && at > 0 && slices.Contains(c.names, cookie[:at]) && isNumber(cookie[at+1:])
}

func isNumber(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c < '0' || c > '9' }) < 0
}

// line is the Cookie header with these cookies and no other. It is false when one of
// them cannot be sent.
func (c cookies) line(header http.Header) (string, bool) {
	found := c.AppendCredentials(nil, header["Cookie"])
	pairs := make([]string, 0, len(found))
	for _, cookie := range found {
		if !endpoint.IsVisible(cookie.Value) {
			return "", false
		}
		pairs = append(pairs, cookie.Value)
	}
	return strings.Join(pairs, "; "), true
}
