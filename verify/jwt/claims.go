package jwt

import (
	"fmt"
	"strings"
)

// paths are those of the claims that become part of an identity; empty: none does.
type paths struct{ subject, name, roles, scopes string }

// claim returns what is at a path.
func claim(claims map[string]any, path string) (any, bool) {
	if value, ok := claims[path]; ok || path == "" {
		return value, ok
	}
	name, rest, dotted := strings.Cut(path, ".")
	inner, ok := claims[name].(map[string]any)
	if !dotted || !ok {
		return nil, false
	}
	return claim(inner, rest)
}

// text returns a claim that is a string; empty if it is not there.
func text(claims map[string]any, path string) (string, error) {
	value, ok := claim(claims, path)
	s, isString := value.(string)
	if ok && value != nil && !isString {
		return "", fmt.Errorf("jwt: claim %q: %T, want a string", path, value)
	}
	return s, nil
}

// plain returns a value that is a string, or nothing.
func plain(value any) string {
	s, _ := value.(string)
	return s
}

// list returns a claim that is an array of strings, or one string, which split takes
// apart; nil if it is not there.
func list(claims map[string]any, path string, split func(string) []string) ([]string, error) {
	value, ok := claim(claims, path)
	if !ok || value == nil {
		return nil, nil
	}
	switch value := value.(type) {
	case string:
		return split(value), nil
	case []any:
		all := make([]string, 0, len(value))
		for _, element := range value {
			s, ok := element.(string)
			if !ok {
				return nil, fmt.Errorf("jwt: claim %q: an array with a %T, want strings", path, element)
			}
			all = append(all, s)
		}
		return all, nil
	}
	return nil, fmt.Errorf("jwt: claim %q: %T, want a string or an array of strings", path, value)
}
