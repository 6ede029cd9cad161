package httpauth

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
)

// routes says what stands behind the patterns of a ServeMux. Nil: there are none.
type routes struct{ mux *http.ServeMux }

// route is what stands behind one: the name of a method, or nothing.
type route string

// ServeHTTP makes it a handler, which is never served.
func (route) ServeHTTP(http.ResponseWriter, *http.Request) {}

// newRoutes returns the routes of an option.
func newRoutes(option string, patterns map[string]string) (*routes, error) {
	if len(patterns) == 0 {
		return nil, nil //nolint:nilnil // nil is none
	}
	t := &routes{http.NewServeMux()}
	var errs []error
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		place := pattern
		if space := strings.IndexAny(pattern, " \t"); space >= 0 {
			place = strings.TrimLeft(pattern[space:], " \t")
		}
		if !strings.HasPrefix(place, "/") {
			errs = append(errs, fmt.Errorf(`httpauth: %s: %q: want "/path" or "METHOD /path", without a host, which the client chooses`, option, pattern))
			continue
		}
		if panicked := catch.Protect(func() { t.mux.Handle(pattern, route(patterns[pattern])) }); panicked != nil {
			errs = append(errs, fmt.Errorf("httpauth: %s: %q is no pattern of http.ServeMux, or conflicts with another", option, pattern))
		}
	}
	return t, errors.Join(errs...)
}

func skipRoutes(patterns []string) (*routes, error) {
	named := make(map[string]string, len(patterns))
	for _, pattern := range patterns {
		named[pattern] = ""
	}
	return newRoutes("WithSkipPatterns", named)
}

func methodRoutes(methods map[string]string) (*routes, error) {
	named := make(map[string]string, len(methods))
	var errs []error
	for pattern, full := range methods {
		full = "/" + strings.TrimPrefix(full, "/")
		service, name, _ := strings.Cut(full[1:], "/")
		if !method.IsName(service) || !method.IsName(name) {
			errs = append(errs, fmt.Errorf(`httpauth: WithMethods: %q: want "pkg.Service/Method"`, full[1:]))
		}
		named[pattern] = full
	}
	t, err := newRoutes("WithMethods", named)
	return t, errors.Join(append(errs, err)...)
}

// find returns the name behind the pattern that a request matches. It is false for one whose
// path can be read in two ways, lest the handler, or a server behind it, read the other: as it is
// encoded, decoded, or decoded once more.
func (t *routes) find(r *http.Request) (name string, ok bool) {
	if t == nil || r.Method == http.MethodConnect || !isPlain(r.URL.Path) {
		return "", false
	}
	if name, ok = t.match(r); !ok {
		return "", false
	}
	if r.URL.RawPath != "" && !t.leads(r, r.URL.Path, name) {
		return "", false
	}
	if again := decoded(r.URL.Path); again != r.URL.Path && (!isPlain(again) || !t.leads(r, again, name)) {
		return "", false
	}
	return name, true
}

// decoded returns a path without its percent-encoding, as lenient servers read it: what they cannot decode
// stays.
func decoded(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	plain := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := [1]byte{path[i]}
		if path[i] == '%' && i+2 < len(path) {
			if _, err := hex.Decode(c[:], []byte(path[i+1:i+3])); err == nil {
				i += 2
			} else {
				c[0] = '%'
			}
		}
		plain = append(plain, c[0])
	}
	return string(plain)
}

// leads reports whether the name behind the pattern that r would match is this one if its path, decoded, were path.
func (t *routes) leads(r *http.Request, path, name string) bool {
	found, ok := t.match(&http.Request{Method: r.Method, Host: r.Host, URL: &url.URL{Path: path}})
	return ok && found == name
}

func (t *routes) match(r *http.Request) (string, bool) {
	handler, _ := t.mux.Handler(r)
	found, ok := handler.(route) // and not a redirect
	return string(found), ok
}

// isPlain reports whether a path, decoded, means the same to all who read it.
func isPlain(decoded string) bool {
	clean := path.Clean(decoded)
	if clean != "/" && strings.HasSuffix(decoded, "/") {
		clean += "/"
	}
	return clean == decoded && !strings.ContainsAny(decoded, "\\\x00") &&
		!strings.Contains(decoded, "/..;") && !strings.Contains(decoded, "/.;") // dot segments to servlets
}
