package redact

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// view is a text as somebody reads it who undoes one kind of escape.
type view struct {
	read     []byte
	from, to []int32 // where in the text the bytes of read begin and end
}

// viewsOf returns the text as it is, and without the escapes that it may have, each as far
// as limit bytes of it.
func viewsOf(text string, limit int) []view {
	views := []view{newView(text, limit, 0, nil)}
	if strings.Contains(text, "%") {
		views = append(views, newView(text, limit, '%', percent))
	}
	if strings.Contains(text, `\`) {
		views = append(views, newView(text, limit, '\\', backslash))
	}
	return views
}

// newView reads text with unescape, which appends what an escape at the beginning of its text
// means and returns its length; 0: it is none.
func newView(text string, limit int, mark byte, unescape func(dst []byte, text string) ([]byte, int)) view {
	size := min(len(text), limit)
	v := view{make([]byte, 0, size), make([]int32, 0, size), make([]int32, 0, size)}
	for at := 0; at < len(text) && len(v.read) < limit; {
		length := 0
		if unescape != nil && text[at] == mark {
			v.read, length = unescape(v.read, text[at:])
		}
		if length == 0 {
			v.read, length = append(v.read, text[at]), 1
		}
		for len(v.from) < len(v.read) {
			v.from, v.to = append(v.from, int32(at)), append(v.to, int32(at+length)) //nolint:gosec // about limit
		}
		at += length
	}
	return v
}

// percent reads "%2e".
func percent(dst []byte, text string) ([]byte, int) {
	if len(text) < 3 {
		return dst, 0
	}
	c, err := strconv.ParseUint(text[1:3], 16, 8)
	if err != nil {
		return dst, 0
	}
	return append(dst, byte(c)), 3
}

// backslash reads an escape of Go's or JSON's string literals.
func backslash(dst []byte, text string) ([]byte, int) {
	if len(text) > 1 && (text[1] == '/' || text[1] == '\'') {
		return append(dst, text[1]), 2
	}
	c, multibyte, tail, err := strconv.UnquoteChar(text, '"')
	switch {
	case err != nil:
		return dst, 0
	case multibyte:
		dst = utf8.AppendRune(dst, c)
	default:
		dst = append(dst, byte(c)) //nolint:gosec // below 256, as multibyte says
	}
	return dst, len(text) - len(tail)
}

// mark marks those bytes of the text's beginning that belong to a secret.
func (v *view) mark(secret []bool, known *forms) {
	until := int32(0)
	for i, at := range v.from {
		if int(at) >= len(secret) {
			return
		}
		if n := known.beginning(v.read[i:]); n > 0 {
			until = max(until, v.to[i+n-1])
		}
		for end := min(v.to[i], until, int32(len(secret))); at < end; at++ { //nolint:gosec // at most maxText
			secret[at] = true
		}
	}
}
