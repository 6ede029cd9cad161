// Package method matches the names of gRPC methods, and lists those of a server.
package method

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
)

// Set matches full method names as grpc.UnaryServerInfo gives them.
//
// The zero value matches nothing.
type Set struct {
	Patterns []string // as they were given
	all      bool
	services map[string]bool // "pkg.Service"
	methods  map[string]bool // "pkg.Service/Method"
}

// NewSet parses "pkg.Service/Method", "pkg.Service/*" and "*", each with or
// without a leading "/".
func NewSet(patterns []string) (Set, error) {
	s := Set{Patterns: patterns, services: map[string]bool{}, methods: map[string]bool{}}
	for _, pattern := range patterns {
		if pattern == "*" || pattern == "/*" {
			s.all = true
			continue
		}
		name := strings.TrimPrefix(pattern, "/")
		service, method, ok := strings.Cut(name, "/")
		if !ok || !IsName(service) || method != "*" && !IsName(method) {
			return Set{}, fmt.Errorf(
				`method pattern %q: want "pkg.Service/Method", "pkg.Service/*" or "*"`, pattern)
		}
		if method == "*" {
			s.services[service] = true
		} else {
			s.methods[name] = true
		}
	}
	return s, nil
}

// Match reports whether fullMethod, "/pkg.Service/Method", is in the set. A name
// of any other form is in no set but "*". The service ends at the last slash, as
// it does for grpc-go's own dispatch.
func (s *Set) Match(fullMethod string) bool {
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

// Unmatched returns the patterns that match no method of a server.
func (s *Set) Unmatched(methods []Method) []string {
	var unmatched []string
	for _, pattern := range s.Patterns {
		one, err := NewSet([]string{pattern})
		if err != nil || !slices.ContainsFunc(methods, func(m Method) bool { return one.Match(m.Full) }) {
			unmatched = append(unmatched, pattern)
		}
	}
	return unmatched
}

// IsName reports whether s can be a service or method name: no wildcard, no
// slash, nothing invisible.
func IsName(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '*' || c == '/' {
			return false
		}
	}
	return s != ""
}

// ServiceInfoProvider is a server that can list its methods, such as a [*grpc.Server].
type ServiceInfoProvider interface {
	GetServiceInfo() map[string]grpc.ServiceInfo
}

// Method is a method of a server.
type Method struct {
	Service, Name string
	Full          string // "/pkg.Service/Method"
	Stream        bool
}

// Of lists the methods of a server in order.
func Of(server ServiceInfoProvider) []Method {
	var methods []Method
	for service, info := range server.GetServiceInfo() {
		for _, m := range info.Methods {
			methods = append(methods, Method{
				service, m.Name, "/" + service + "/" + m.Name, m.IsClientStream || m.IsServerStream,
			})
		}
	}
	slices.SortFunc(methods, func(a, b Method) int { return cmp.Compare(a.Full, b.Full) })
	return methods
}
