package interceptor

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

var (
	origin        = newHeaderName("origin")
	gatewayOrigin = newHeaderName("grpcgateway-origin")
)

// defaultPorts are left out of an origin (RFC 6454 §6.2).
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin checks that s is written as browsers write an origin, but for case.
func parseOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "" || !strings.EqualFold(s, u.Scheme+"://"+u.Host) || strings.Contains(s, "*"):
		return "", fmt.Errorf(`interceptor: WithAllowedOrigins: %q: want "https://host" or "https://host:port", without a path or a wildcard`, s)
	case u.Port() != "" && u.Port() == defaultPorts[strings.ToLower(u.Scheme)]:
		return "", fmt.Errorf("interceptor: WithAllowedOrigins: %q: browsers leave the default port out, and so must this", s)
	}
	return strings.ToLower(s), nil
}

// foreign reports whether a page of an origin that is not allowed made a browser
// send this call.
func (a *Authenticator) foreign(h headers) bool {
	if a.origins == nil {
		return false
	}
	for _, name := range [...]headerName{origin, gatewayOrigin} {
		if slices.ContainsFunc(h.values(name), func(value string) bool { return !slices.Contains(a.origins, value) }) {
			return true
		}
	}
	return false
}
