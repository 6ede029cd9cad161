package interceptor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// methodSet matches full method names as grpc.UnaryServerInfo gives them.
type methodSet struct {
	patterns []string
	all      bool
	services map[string]bool // "pkg.Service"
	methods  map[string]bool // "pkg.Service/Method"
}

// newMethodSet parses "pkg.Service/Method", "pkg.Service/*" and "*", each with or
// without a leading "/".
func newMethodSet(patterns []string) (methodSet, error) {
	s := methodSet{patterns: patterns, services: map[string]bool{}, methods: map[string]bool{}}
	for _, pattern := range patterns {
		if pattern == "*" || pattern == "/*" {
			s.all = true
			continue
		}
		name := strings.TrimPrefix(pattern, "/")
		service, method, ok := strings.Cut(name, "/")
		if !ok || !isName(service) || method != "*" && !isName(method) {
			return methodSet{}, fmt.Errorf(
				`interceptor: method pattern %q: want "pkg.Service/Method", "pkg.Service/*" or "*"`, pattern)
		}
		if method == "*" {
			s.services[service] = true
		} else {
			s.methods[name] = true
		}
	}
	return s, nil
}

// match reports whether fullMethod, "/pkg.Service/Method", is in the set. A name
// of any other form is in no set but "*". The service ends at the last slash, as
// it does for grpc-go's own dispatch.
func (s *methodSet) match(fullMethod string) bool {
	if s.all {
		return true
	}
	if len(s.services) == 0 && len(s.methods) == 0 {
		return false
	}
	name, ok := strings.CutPrefix(fullMethod, "/")
	if !ok {
		return false
	}
	slash := strings.LastIndexByte(name, '/')
	return slash > 0 && slash < len(name)-1 && (s.methods[name] || s.services[name[:slash]])
}

// unmatched returns the patterns that match no method of a server.
func (s *methodSet) unmatched(methods []serverMethod) []string {
	var unmatched []string
	for _, pattern := range s.patterns {
		one, err := newMethodSet([]string{pattern})
		if err != nil || !slices.ContainsFunc(methods, func(m serverMethod) bool { return one.match(m.full) }) {
			unmatched = append(unmatched, pattern)
		}
	}
	return unmatched
}

// check reports in one error, one a line, the patterns that match no method of a server.
func (s *methodSet) check(server ServiceInfoProvider) error {
	unmatched := s.unmatched(methodsOf(server.GetServiceInfo()))
	errs := make([]error, 0, len(unmatched))
	for _, pattern := range unmatched {
		errs = append(errs, fmt.Errorf("interceptor: WithSkipMethods: %q matches no method of the server", pattern))
	}
	return errors.Join(errs...)
}

// isName reports whether s can be a service or method name: no wildcard, no
// slash, nothing invisible.
func isName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '*' || c == '/' {
			return false
		}
	}
	return s != ""
}
