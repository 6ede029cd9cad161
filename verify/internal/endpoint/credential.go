package endpoint

import (
	"net/http"
	"strings"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Credential is the one that decides, in the form in which it is sent on: a Cookie,
// "name=value" as it came, or a Token. It formats as a fixed text.
type Credential struct {
	authmd.Credential

	Cookie bool
}

// Choose finds out which credential of a request token is: that of one of others,
// the value of a session cookie, or a whole Cookie header with a session cookie in
// it. A token that is nowhere in header, from an extractor of the user's own, is
// taken for a token. It is false when there is no credential that can be sent on.
//
// Only what Choose returns may be forwarded. A framework that gets a second
// credential may answer for that one.
func Choose(token string, header http.Header, cookies authmd.Extractor, others ...authmd.Extractor) (Credential, bool) {
	for _, other := range others {
		for _, c := range credentials(other, header) {
			if c.Token == token {
				return Credential{Credential: c}, IsVisible(token)
			}
		}
	}
	found := credentials(cookies, header)
	for _, c := range found {
		if c.Token == token {
			return Credential{c, true}, token != "" && IsVisible(c.Value)
		}
	}
	if line, ok := authmd.CookieHeader().Extract(header); ok && line == token {
		for _, c := range found {
			if c.Token != "" {
				return Credential{c, true}, IsVisible(c.Value)
			}
		}
		return Credential{}, false
	}
	return Credential{Credential: authmd.Credential{Value: token, Token: token}}, IsVisible(token)
}

func credentials(e authmd.Extractor, header http.Header) []authmd.Credential {
	source, ok := e.(authmd.Source)
	if !ok {
		return nil
	}
	return source.AppendCredentials(nil, header[source.Header()])
}

// IsCookieName reports whether name can be the name of a cookie.
func IsCookieName(name string) bool {
	source, ok := authmd.Cookie(name).(authmd.Source)
	return ok && source.Header() != ""
}

// IsVisible reports whether s is made of visible ASCII characters.
func IsVisible(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool { return c < '!' || c > '~' }) < 0
}
