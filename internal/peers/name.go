package peers

import (
	"net/netip"
	"strings"
)

const (
	// spiffeScheme begins a SPIFFE ID.
	spiffeScheme = "spiffe://"
	// maxID and maxDomain bound a SPIFFE ID and its trust domain, in bytes (SPIFFE-ID §2.1, §2.3).
	maxID, maxDomain = 2048, 255
	// maxDNSName bounds a DNS name in bytes, without the dot at its end (RFC 1035 §2.3.4).
	maxDNSName = 253

	lowerCase = "abcdefghijklmnopqrstuvwxyz"
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits    = "0123456789"
)

// isSPIFFE reports whether s is a SPIFFE ID with a path, or, without, a trust domain:
// in the one form that there is of it (SPIFFE-ID §2), so that prefixes can be compared.
func isSPIFFE(s string, path bool) bool {
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	domain, segments, hasPath := strings.Cut(rest, "/")
	if !ok || hasPath != path || len(s) > maxID || len(domain) > maxDomain || !consistsOf(domain, lowerCase+digits+".-_") {
		return false
	}
	if !path {
		return true
	}
	for segment := range strings.SplitSeq(segments, "/") {
		if segment == "." || segment == ".." || !consistsOf(segment, lowerCase+upperCase+digits+".-_") {
			return false
		}
	}
	return true
}

// isDNSName reports whether s is a name that a certificate can be for, and no pattern
// or address.
func isDNSName(s string) bool {
	_, err := netip.ParseAddr(s)
	if err == nil || len(s) > maxDNSName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !consistsOf(label, lowerCase+upperCase+digits+"-_") {
			return false
		}
	}
	return true
}

// consistsOf reports whether s has characters and all of them are among these.
func consistsOf(s, characters string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(characters, r) })
}
