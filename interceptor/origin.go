package interceptor

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var (
	origin           = newHeaderName("origin")
	gatewayOrigin    = newHeaderName("grpcgateway-origin")
	fetchSite        = newHeaderName("sec-fetch-site")
	gatewayFetchSite = newHeaderName("grpcgateway-sec-fetch-site")
)

// defaultPorts are left out of an origin (RFC 6454 §6.2).
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin checks that s is written as browsers write an origin, but for case: one that
// no browser sends would let nobody in.
func parseOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "" || !strings.EqualFold(s, u.Scheme+"://"+u.Host) || !isBrowserHost(u):
		return "", fmt.Errorf(`interceptor: WithAllowedOrigins: %q: want "https://host" or "https://host:port" as browsers write it, in ASCII ("xn--…"), without a path or a wildcard`, s)
	case u.Port() != "" && u.Port() == defaultPorts[strings.ToLower(u.Scheme)]:
		return "", fmt.Errorf("interceptor: WithAllowedOrigins: %q: browsers leave the default port out, and so must this", s)
	}
	return strings.ToLower(s), nil
}

// isBrowserHost reports whether browsers write a host and port like this.
func isBrowserHost(u *url.URL) bool {
	if port := u.Port(); port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != port {
			return false
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return false
	}
	if strings.HasPrefix(u.Host, "[") {
		ip, err := netip.ParseAddr(u.Hostname())
		return err == nil && ip.Zone() == "" && ip.String() == strings.ToLower(u.Hostname())
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"
	return !strings.ContainsFunc(u.Hostname(), func(r rune) bool { return !strings.ContainsRune(allowed, r) })
}

// foreign reports whether a page of an origin that is not allowed made a browser
// send this call. A browser that sends no Origin, as with a GET, may still say where the
// page is from.
func (a *Authenticator) fromForeignPage(h headers) bool {
	named := false
	for _, name := range [...]headerName{origin, gatewayOrigin} {
		for _, value := range h.values(name) {
			if named = true; !slices.Contains(a.origins, value) {
				return true
			}
		}
	}
	return !named && (slices.Contains(h.values(fetchSite), "cross-site") || slices.Contains(h.values(gatewayFetchSite), "cross-site"))
}
