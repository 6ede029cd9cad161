package method_test

import (
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/internal/method"
)

func TestMethodPatterns(t *testing.T) {
	tests := map[string]struct {
		pattern, fullMethod string
		want                bool
	}{
		"the method itself":                      {"pkg.S/Get", "/pkg.S/Get", true},
		"a leading slash in the pattern":         {"/pkg.S/Get", "/pkg.S/Get", true},
		"another method":                         {"pkg.S/Get", "/pkg.S/GetAll", false},
		"a method that this one is a prefix of":  {"pkg.S/GetAll", "/pkg.S/Get", false},
		"every method of the service":            {"pkg.S/*", "/pkg.S/Get", true},
		"a service that has it as a prefix":      {"pkg.S/*", "/pkg.SX/Get", false},
		"a service that it is a prefix of":       {"pkg.SX/*", "/pkg.S/Get", false},
		"a service inside another package":       {"pkg.S/*", "/other.pkg.S/Get", false},
		"another case":                           {"pkg.S/*", "/PKG.s/Get", false},
		"no leading slash":                       {"pkg.S/Get", "pkg.S/Get", false},
		"no leading slash, by service":           {"pkg.S/*", "pkg.S/Get", false},
		"a doubled leading slash":                {"pkg.S/Get", "//pkg.S/Get", false},
		"a doubled slash in the middle":          {"pkg.S/*", "/pkg.S//Get", false},
		"three parts: the service ends last":     {"pkg.S/*", "/pkg.S/Get/Extra", false},
		"no method":                              {"pkg.S/*", "/pkg.S/", false},
		"no service":                             {"pkg.S/*", "/Get", false},
		"an empty name":                          {"pkg.S/*", "", false},
		"a literal asterisk by another's method": {"pkg.S/Get", "/pkg.S/*", false},
		"everything":                             {"*", "/pkg.S/Get", true},
		"everything, malformed names included":   {"/*", "pkg.S", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := matches(test.fullMethod, test.pattern)
			if err != nil || got != test.want {
				t.Errorf("%q matches %q = %t, %v", test.pattern, test.fullMethod, got, err)
			}
		})
	}
}

// FuzzMethodPatterns: a pattern that is accepted matches what it says, and no name
// that grpc-go would dispatch elsewhere.
func FuzzMethodPatterns(f *testing.F) {
	for _, pattern := range []string{"pkg.S/Get", "/pkg.S/*", "*", "", "/", "a//b", "a/b/c", "*/x", "a/*b", " a/b", "a/\x00"} {
		f.Add(pattern, "/pkg.S/Get")
		f.Add(pattern, pattern)
	}
	f.Fuzz(func(t *testing.T, pattern, fullMethod string) {
		matched, err := matches(fullMethod, pattern)
		if err != nil {
			if !strings.Contains(err.Error(), "method pattern") {
				t.Errorf("the error does not say what is wrong: %v", err)
			}
			return
		}
		if pattern == "*" || pattern == "/*" {
			if !matched {
				t.Errorf("* does not match %q", fullMethod)
			}
			return
		}
		// As grpc-go takes a name apart: one slash off the front, then the last one.
		slash := strings.LastIndex(fullMethod, "/")
		dispatched := strings.HasPrefix(fullMethod, "/") && slash > 0
		service, method, _ := strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
		want := dispatched && fullMethod[1:slash] == service &&
			(fullMethod[slash+1:] == method || method == "*" && slash < len(fullMethod)-1)
		if matched != want {
			t.Errorf("%q matches %q = %t, want %t", pattern, fullMethod, matched, want)
		}
	})
}

// matches parses patterns and matches fullMethod against them.
func matches(fullMethod string, patterns ...string) (bool, error) {
	s, err := method.NewSet(patterns)
	return err == nil && s.Match(fullMethod), err
}
