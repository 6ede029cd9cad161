package metadata

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Extractor finds a credential in the header of a request. Extract returns the
// token and true, or false when the request carries none. The header is as
// [Header] returns it and must not be modified or retained.
//
// Implementations must be safe to call concurrently. One that also implements
// [Source] is faster, and sounder behind a cache.
type Extractor interface {
	Extract(header http.Header) (token string, ok bool)
}

// ExtractorFunc adapts a function to an [Extractor].
//
// The interceptor has to convert the metadata of every call for it, and knows
// nothing of the credential but the token: with interceptor.WithKeyHeaders, the
// verify callback gets that token and the named headers, not the header that the
// token was found in. Implement [Source] to do better.
type ExtractorFunc func(header http.Header) (token string, ok bool)

// Extract calls f.
func (f ExtractorFunc) Extract(header http.Header) (string, bool) { return f(header) }

// Source is an [Extractor] that reads one header and can name every credential
// in it, as those of this package do. It lets the interceptor look at that
// header alone, put all of it that matters into the cache key, and forward no
// more than that.
type Source interface {
	Extractor
	// Header returns the canonical name of the header that is read. An empty
	// name means that the extractor was built from bad input and can find
	// nothing: interceptor.NewSessionAuth refuses it.
	Header() string
	// AppendCredentials appends every credential in values, the values of that
	// header, to dst. The first one with a token is the one that Extract
	// returns. values must not be modified or retained.
	AppendCredentials(dst []Credential, values []string) []Credential
}

// Namer is a [Source] that knows what the owner of the sessions calls a session whose
// token was spelled like this: percent-encoded or not, quoted, with a signature behind it.
// The interceptor forgets by these names: it applies AppendNames both to what the Source
// finds in a request and to the argument of Forget, and two spellings are one session
// if they have a name in common. A Source that is no Namer has the name [PlainToken] gives.
type Namer interface {
	Source
	// AppendNames appends the names of the session behind token to dst. It must
	// not depend on anything but token. Of several the last one is the most particular:
	// Forget goes by that one alone, since its argument may be a whole Cookie header, and
	// others share some of its cookies.
	AppendNames(dst []string, token string) []string
}

// Credential is one credential in a request. It formats as a fixed text, so that
// no fmt verb can leak it.
type Credential struct {
	// Value is the header value that carries this credential and nothing else.
	Value string
	// Token is the token in it. It may be empty for a cookie without a value:
	// that is no credential, but a verifier could read it.
	Token string
}

// Format implements [fmt.Formatter] and never prints the credential.
func (Credential) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Credential[redacted]")) }

// source is how the extractors of this package are written: a header and the way
// to read it.
type source struct {
	header string
	read   func(dst []Credential, values []string) []Credential
	names  func(dst []string, token string) []string // nil: PlainToken
}

func (s source) Header() string { return s.header }

func (s source) AppendCredentials(dst []Credential, values []string) []Credential {
	return s.read(dst, values)
}

func (s source) AppendNames(dst []string, token string) []string {
	if s.names == nil {
		return append(dst, PlainToken(token))
	}
	return s.names(dst, token)
}

func (s source) Extract(header http.Header) (string, bool) {
	for _, credential := range s.read(nil, header[s.header]) {
		if credential.Token != "" {
			return credential.Token, true
		}
	}
	return "", false
}

// Bearer extracts the token of "Authorization: Bearer <token>", the scheme in
// any case (RFC 6750 §2.1). A token holds visible ASCII characters only, and no
// comma.
func Bearer() Extractor { return source{header: "Authorization", read: readBearer} }

func readBearer(dst []Credential, values []string) []Credential {
	const scheme = "Bearer "
	for _, value := range values {
		value = strings.TrimSpace(value)
		if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
			continue
		}
		token := strings.TrimLeft(value[len(scheme):], " ")
		if !isVisible(token) || strings.IndexByte(token, ',') >= 0 {
			continue
		}
		if value[:len(scheme)] != scheme || len(value) != len(scheme)+len(token) {
			value = scheme + token // one form for all spellings of the scheme
		}
		dst = append(dst, Credential{Value: value, Token: token})
	}
	return dst
}

// HeaderToken extracts the token from a header that is the token, such as
// X-Session-Token. Surrounding white space is removed; the rest must be visible
// ASCII without a comma, since proxies join repeated headers by commas. name is in any
// case; a name that is no header name, or that is not [Forwardable], makes
// interceptor.NewSessionAuth fail.
//
// Where the header is repeated, the first token is the one that Extract returns. Values
// that hold none are passed over, so they are no credentials, but a verifier that gets the
// header sees them: whoever reads the header must refuse values that differ, as the
// interceptor does.
func HeaderToken(name string) Extractor {
	if !Forwardable(name) {
		return source{read: readNothing}
	}
	return source{header: textproto.CanonicalMIMEHeaderKey(name), read: readHeaderToken}
}

func readHeaderToken(dst []Credential, values []string) []Credential {
	for _, value := range values {
		if token := strings.TrimSpace(value); isVisible(token) && strings.IndexByte(token, ',') < 0 {
			dst = append(dst, Credential{Value: token, Token: token})
		}
	}
	return dst
}

// CookieHeader takes the whole Cookie header as the token, for frameworks that
// read cookies themselves. Any cookie of the request, an advertiser's too, is
// then part of the cache key: prefer [Cookie] where the name is known.
func CookieHeader() Extractor {
	return source{header: cookieHeader, read: readCookieHeader, names: namePairs}
}

func readCookieHeader(dst []Credential, values []string) []Credential {
	for _, value := range values {
		if line := strings.TrimSpace(value); line != "" {
			dst = append(dst, Credential{Value: line, Token: line})
		}
	}
	return dst
}

// Cookie extracts the value of the first of these cookies that is present with a
// value. Each is also looked for under the prefixes that say who has set it, as far as
// browsers enforce them (RFC 6265bis §4.1.3), and what proves more comes first, whatever
// the order of names:
//
//   - __Host-: this very host, over TLS. Nobody else can.
//   - __Secure-: somebody over TLS. That may be a sibling domain, with a cookie for the
//     domain that both belong to.
//   - no prefix: anybody, a sibling domain or who is on the path of a plain HTTP request.
//
// So whoever can set a weaker cookie cannot hide a stronger one behind it; but a browser
// that has no stronger one sends theirs. A name that is given with a prefix is looked for
// as it is. Names are case-sensitive. The value is taken as it was sent, percent-encoding
// included, but for double quotes around it.
//
// Where a name is repeated, which is legal (other Path or Domain), the first
// value is the token and all of them are credentials. No names, or one that is
// no cookie name, makes interceptor.NewSessionAuth fail.
func Cookie(names ...string) Extractor {
	if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return !isToken(name) }) {
		return source{read: readNothing}
	}
	spellings := make([]string, 0, 3*len(names))
	for _, prefix := range cookiePrefixes {
		for _, name := range names {
			switch given := prefixOf(name); given {
			case prefix:
				spellings = append(spellings, name)
			case "":
				spellings = append(spellings, prefix+name)
			}
		}
	}
	return source{header: cookieHeader, read: func(dst []Credential, values []string) []Credential {
		for _, spelling := range spellings {
			for _, line := range values {
				dst = appendCookies(dst, spelling, line)
			}
		}
		return dst
	}}
}

// cookiePrefixes are those of RFC 6265bis, the one that proves most first.
var cookiePrefixes = []string{"__Host-", "__Secure-", ""}

// prefixOf returns the prefix that a cookie's name has.
func prefixOf(name string) string {
	for _, prefix := range cookiePrefixes {
		if strings.HasPrefix(name, prefix) {
			return prefix
		}
	}
	return ""
}

// appendCookies appends every cookie of this name in a Cookie header line. It
// reads leniently, as browsers write: net/http's parser refuses the whole line
// for one odd cookie of somebody else's.
func appendCookies(dst []Credential, name, line string) []Credential {
	var end int
	for at := 0; ; at = end {
		found := strings.Index(line[at:], name)
		if found < 0 {
			return dst
		}
		start := at + found
		end = start + len(name)
		before := strings.TrimRight(line[:start], " \t")
		if before != "" && before[len(before)-1] != ';' || end == len(line) || line[end] != '=' {
			continue // the name is part of something else
		}
		if length := strings.IndexByte(line[end:], ';'); length >= 0 {
			end += length
		} else {
			end = len(line)
		}
		pair := strings.TrimRight(line[start:end], " \t")
		token := pair[len(name)+1:]
		if len(token) >= 2 && token[0] == '"' && token[len(token)-1] == '"' {
			token = token[1 : len(token)-1]
		}
		dst = append(dst, Credential{Value: pair, Token: token})
	}
}

func readNothing(dst []Credential, _ []string) []Credential { return dst }

// isVisible reports whether token is made of visible ASCII characters, '!' to '~'.
func isVisible(token string) bool {
	const each = 0x0101010101010101
	rest := token
	for ; len(rest) >= 8; rest = rest[8:] {
		eight := uint64(rest[0]) | uint64(rest[1])<<8 | uint64(rest[2])<<16 | uint64(rest[3])<<24 |
			uint64(rest[4])<<32 | uint64(rest[5])<<40 | uint64(rest[6])<<48 | uint64(rest[7])<<56
		// A byte's highest bit is set by itself, by the difference for a byte below '!', or by
		// the sum for 0x7f. What carries over into the next byte comes from one that is refused.
		if (eight|(eight-'!'*each)|(eight+each))&(0x80*each) != 0 {
			return false
		}
	}
	for i := range len(rest) {
		if rest[i]-'!' > '~'-'!' {
			return false
		}
	}
	return token != ""
}
