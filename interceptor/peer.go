package interceptor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

const (
	// spiffeScheme begins a SPIFFE ID.
	spiffeScheme = "spiffe://"

	lowerCase = "abcdefghijklmnopqrstuvwxyz"
	upperCase = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits    = "0123456789"
)

// WithTrustedPeers trusts a caller with a client certificate that the server's TLS
// configuration has verified (tls.RequireAndVerifyClientCert, and ClientCAs), if it is
// for one of these names:
//
//   - "spiffe://trust.example/ns/prod/orders": this SPIFFE ID, the certificate's only URI
//   - "spiffe://trust.example/ns/prod/*": every SPIFFE ID that begins so, whole path
//     segments of it; "spiffe://trust.example/*" is the whole trust domain
//   - "orders.internal": this DNS name, in any case, among the certificate's subject
//     alternative names; its common name is not looked at, and a wildcard in it
//     matches nothing
//
// Anything else, or no name at all, makes [NewGatewayAuth] fail. A certificate that
// was asked for but not verified by crypto/tls itself (tls.RequireAnyClientCert, even
// with a VerifyPeerCertificate of one's own) makes nobody trusted.
func WithTrustedPeers(names ...string) Option {
	names = slices.Clone(names)
	return ofGateway("WithTrustedPeers", func(c *config) {
		c.trusting = c.trusting || len(names) > 0
		c.peers = slices.Concat(c.peers, names)
	})
}

// peers are the names of trusted callers as their certificates tell them.
type peers struct {
	ids      []string // SPIFFE IDs
	prefixes []string // of SPIFFE IDs, each with a "/" at its end
	names    []string // DNS names in lower case
}

func parsePeers(names []string) (peers, error) {
	var p peers
	var errs []error
	for _, name := range names {
		prefix, all := strings.CutSuffix(name, "/*")
		switch {
		case all && (isSPIFFE(prefix, false) || isSPIFFE(prefix, true)):
			p.prefixes = append(p.prefixes, prefix+"/")
		case isSPIFFE(name, true):
			p.ids = append(p.ids, name)
		case isDNSName(name):
			p.names = append(p.names, strings.ToLower(name))
		default:
			errs = append(errs, fmt.Errorf(
				`interceptor: WithTrustedPeers: %q: want "spiffe://trust.domain/path", the same with "/*" at its end, or a DNS name`, name))
		}
	}
	return p, errors.Join(errs...)
}

// called reports whether the call that ctx belongs to comes from one of the peers.
func (p *peers) called(ctx context.Context) bool {
	if len(p.ids)+len(p.prefixes)+len(p.names) == 0 {
		return false
	}
	from, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	// What the client sent is in PeerCertificates, verified or not.
	return ok && len(info.State.VerifiedChains) > 0 && len(info.State.VerifiedChains[0]) > 0 &&
		p.include(info.State.VerifiedChains[0][0])
}

// include reports whether one of the names is the certificate's.
func (p *peers) include(leaf *x509.Certificate) bool {
	if slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return slices.Contains(p.names, strings.ToLower(name)) }) {
		return true
	}
	// A certificate with two URIs, or of an authority, is nobody's SPIFFE ID (X.509-SVID §2, §4.1).
	if len(leaf.URIs) != 1 || leaf.IsCA {
		return false
	}
	id := leaf.URIs[0].String()
	return isSPIFFE(id, true) && (slices.Contains(p.ids, id) ||
		slices.ContainsFunc(p.prefixes, func(prefix string) bool { return strings.HasPrefix(id, prefix) }))
}

// isSPIFFE reports whether s is a SPIFFE ID with a path, or, without, a trust domain:
// in the one form that there is of it (SPIFFE-ID §2), so that prefixes can be compared.
func isSPIFFE(s string, path bool) bool {
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	domain, segments, hasPath := strings.Cut(rest, "/")
	if !ok || hasPath != path || len(s) > 2048 || len(domain) > 255 || !consistsOf(domain, lowerCase+digits+".-_") {
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
	if err == nil || len(s) > 253 {
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
