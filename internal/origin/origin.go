// Package origin tells calls that a browser made for pages of one's own from those that it
// made for the pages of others.
package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
)

// defaultPorts are left out of an origin (RFC 6454 §6.2).
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parse checks that s is written as browsers write an origin, but for case: one that
// no browser sends would let nobody in.
func parse(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Hostname() == "" || !strings.EqualFold(s, u.Scheme+"://"+u.Host) || !isBrowserHost(u):
		return "", fmt.Errorf(`%q: want "https://host" or "https://host:port" as browsers write it, in ASCII ("xn--…"), without a path or a wildcard`, s)
	case u.Port() != "" && u.Port() == defaultPorts[strings.ToLower(u.Scheme)]:
		return "", fmt.Errorf("%q: browsers leave the default port out, and so must this", s)
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

// Set is the origins of one's own.
type Set []string

// New returns the set of these origins. The error names each that is not written as
// browsers write it.
func New(origins []string) (Set, error) {
	set := make(Set, 0, len(origins))
	var errs []error
	for _, s := range origins {
		allowed, err := parse(s)
		if err != nil {
			errs = append(errs, err)
		}
		set = append(set, allowed)
	}
	return set, errors.Join(errs...)
}

var (
	originHeaders    = [...]incoming.Name{incoming.NewName("origin"), incoming.NewName("grpcgateway-origin")}
	fetchSiteHeaders = [...]incoming.Name{incoming.NewName("sec-fetch-site"), incoming.NewName("grpcgateway-sec-fetch-site")}
)

// Foreign reports whether a page of another origin made a browser send a call with these
// headers. A browser that sends no Origin, as with a GET, may still say where the page is from.
func (s Set) Foreign(h incoming.Headers) bool {
	named := false
	for _, name := range originHeaders {
		for _, origin := range h.Values(name) {
			if named = true; !slices.Contains(s, origin) {
				return true
			}
		}
	}
	return !named && slices.ContainsFunc(fetchSiteHeaders[:], func(name incoming.Name) bool {
		return slices.Contains(h.Values(name), "cross-site")
	})
}
