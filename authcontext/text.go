package authcontext

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxName bounds a name, in UTF-16 code units, in which Connectum counts.
	maxName = 255
	// extended begins a name in the form of RFC 8187.
	extended = "UTF-8''"
)

func (f field) errorf(format string, args ...any) error {
	return fmt.Errorf("authcontext: %s: %w", f.name, fmt.Errorf(format, args...))
}

// check reports what is not written into any header.
func (f field) check(value string) error {
	if len(value) > f.max {
		return f.errorf("%d bytes, at most %d", len(value), f.max)
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return f.errorf("a byte that is not visible ASCII")
		}
	}
	return f.trimmed(value)
}

// read returns the text of a header, or what no header may hold. Headers of Node hold a
// character up to U+00FF as one byte. Other senders write UTF-8; a value that is that too
// would be another text to whoever takes it for that.
func (f field) read(value string) (string, error) {
	if len(value) > f.max {
		return "", f.errorf("%d bytes, at most %d", len(value), f.max)
	}
	text := value
	if strings.ContainsFunc(value, func(r rune) bool { return r > unicode.MaxASCII }) {
		if utf8.ValidString(value) {
			return "", f.errorf("text that may be UTF-8 or ISO 8859-1")
		}
		text = fromLatin1(value)
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "", f.errorf("a control character")
	}
	return text, f.trimmed(text)
}

func fromLatin1(value string) string {
	runes := make([]rune, len(value))
	for i := range len(value) {
		runes[i] = rune(value[i])
	}
	return string(runes)
}

// trimmed reports white space around a value, which some parties cut off.
func (f field) trimmed(value string) error {
	if strings.TrimSpace(value) != value {
		return f.errorf("a space at its beginning or end")
	}
	return nil
}

// single is for a header that holds one value and could have been joined of two.
func (f field) single(value string) error {
	if strings.Contains(value, ",") {
		return f.errorf("a comma")
	}
	return nil
}

// checkSubject is single, but for the names of LDAP directories.
func checkSubject(subject string) error {
	if isDistinguishedName(subject) {
		return nil
	}
	return subjectField.single(subject)
}

// relativeName is a relative distinguished name of RFC 4514 at the beginning of a text:
// its type, and its value, in which a backslash escapes the special characters.
var relativeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)=(?:[^ ",;<>\\]|\\.)(?: *(?:[^ ",;<>\\]|\\.))*`)

// isDistinguishedName reports whether s is a distinguished name and cannot have been
// joined of two that end with domain components (RFC 4519 §2.4), as names do in most
// directories. Two others that were joined make a third, which names nobody.
func isDistinguishedName(s string) bool {
	for domain := false; ; {
		found := relativeName.FindStringSubmatch(s)
		if found == nil {
			return false
		}
		component := strings.EqualFold(found[1], "DC")
		if domain && !component {
			return false
		}
		domain = component
		s = s[len(found[0]):]
		if s == "" {
			return true
		}
		if s[0] != ',' {
			return false
		}
		s = s[1:]
	}
}

// isText reports whether s is UTF-8, without U+FFFD, which stands for text that was
// lost on the way.
func isText(s string) bool { return !strings.ContainsRune(s, utf8.RuneError) }

// isLine is isText of one line without control characters.
func isLine(s string) bool { return isText(s) && !strings.ContainsFunc(s, unicode.IsControl) }

func encodeName(name string) (string, error) {
	switch units := len(utf16.Encode([]rune(name))); {
	case units > maxName:
		return "", nameField.errorf("%d characters, at most %d", units, maxName)
	case !isLine(name):
		return "", nameField.errorf("a control character, or text that is not UTF-8")
	case nameField.check(name) == nil && nameField.single(name) == nil && !strings.HasPrefix(name, extended):
		return name, nil
	}
	return extended + strings.ReplaceAll(url.QueryEscape(name), "+", "%20"), nil
}

func decodeName(value string) (string, error) {
	encoded, ok := strings.CutPrefix(value, extended)
	if !ok {
		if units := len(utf16.Encode([]rune(value))); units > maxName {
			return "", nameField.errorf("%d characters, at most %d", units, maxName)
		}
		return value, nameField.single(value)
	}
	name, err := url.PathUnescape(encoded)
	if err != nil || name == "" || strings.ContainsFunc(encoded, isNotExtended) || !isLine(name) || len(utf16.Encode([]rune(name))) > maxName {
		return "", nameField.errorf("not a name as of RFC 8187")
	}
	return name, nil
}

// isNotExtended reports whether RFC 8187 §3.2.1 has no such character in a value.
func isNotExtended(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && !strings.ContainsRune("%!#$&+-.^_`|~", r)
}
