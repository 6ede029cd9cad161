package metadata

import (
	"net/url"
	"strings"
)

// Named returns an [Extractor] that finds what e finds, for sessions whose owner calls
// them by another name than their token: form returns that name, for any spelling of
// the token. It is applied to the tokens in requests and to the argument of Forget alike,
// and Forget goes by the argument as it is, too. For a cookie that express-session or cookie-parser
// has signed, say:
//
//	authmd.Named(authmd.Cookie("connect.sid"), authmd.UnsignedToken)
//
// form must depend on nothing but its argument and be safe to call concurrently. An e
// that is no [Source], or a nil form, makes interceptor.NewSessionAuth fail.
func Named(e Extractor, form func(token string) string) Extractor {
	s, ok := e.(Source)
	if !ok || form == nil {
		return source{read: readNothing}
	}
	return named{s, form}
}

type named struct {
	Source

	form func(token string) string
}

// Unwrap returns the extractor that does the finding.
func (n named) Unwrap() Source { return n.Source }

// AppendNames appends what form returns, or, for nothing, what it would be without form: a
// session must have a name.
func (n named) AppendNames(dst []string, token string) []string {
	if name := n.form(token); name != "" {
		return append(dst, name)
	}
	return append(dst, PlainToken(token))
}

// PlainToken returns the value that a cookie's spelling stands for: without white space
// and one pair of double quotes around it, percent-encoding undone where it is valid. It is the
// name of a session unless its extractor knows a better one.
func PlainToken(token string) string {
	token = strings.TrimSpace(token)
	if len(token) >= 2 && token[0] == '"' && token[len(token)-1] == '"' {
		token = token[1 : len(token)-1]
	}
	if strings.IndexByte(token, '%') < 0 {
		return token
	}
	if plain, err := url.PathUnescape(token); err == nil {
		return plain
	}
	return token
}

// UnsignedToken is [PlainToken] of a token with a signature behind its last dot, which it
// cuts off, as it does the "s:" that Express puts in front of signed cookies. A token
// without a dot is its own name.
func UnsignedToken(token string) string {
	token = strings.TrimPrefix(PlainToken(token), "s:")
	if dot := strings.LastIndexByte(token, '.'); dot > 0 {
		return token[:dot]
	}
	return token
}

// namePairs names a whole Cookie header by each of its cookies, "name=value", the value
// as PlainToken has it, and, last, by all of them. Values alone would make strangers of all
// who have theme=dark share a name.
func namePairs(dst []string, line string) []string {
	first := len(dst)
	for pair := range strings.SplitSeq(line, ";") {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			value, name = name, ""
		}
		if name, value = strings.TrimSpace(name), PlainToken(value); name != "" || value != "" {
			dst = append(dst, name+"="+value)
		}
	}
	if len(dst)-first > 1 {
		dst = append(dst, strings.Join(dst[first:], "; "))
	}
	return dst
}
