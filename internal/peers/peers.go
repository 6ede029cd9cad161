// Package peers knows services by the client certificates that they call with.
package peers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Trust is what one option said: whose certificates are believed, and who must have
// signed them.
type Trust struct {
	// Option is the name of the option, for errors.
	Option string
	// Names are SPIFFE IDs, the beginnings of such with "/*", or DNS names.
	Names []string
	// Bound is whether one of Authorities must have signed, directly or through
	// others; false: whomever the TLS configuration verifies.
	Bound       bool
	Authorities []*x509.Certificate
}

// Set is the peers that are trusted. The zero Set holds none. It is safe for concurrent use.
type Set struct{ groups []group }

// group is one Trust, ready to be compared with.
type group struct {
	ids      []string // SPIFFE IDs
	prefixes []string // of SPIFFE IDs, each with a "/" at its end
	names    []string // DNS names in lower case

	bound       bool
	authorities []*x509.Certificate
}

// New returns the peers that any one of these names. The error tells what is wrong with
// each, and begins with the name of its option.
func New(trusts ...Trust) (Set, error) {
	var s Set
	var errs []error
	for _, t := range trusts {
		g := group{bound: t.Bound, authorities: slices.Clone(t.Authorities)}
		if t.Bound && (len(t.Authorities) == 0 || slices.Contains(t.Authorities, nil)) {
			errs = append(errs, fmt.Errorf("%s: no authority, or a nil one", t.Option))
		}
		for _, name := range t.Names {
			if !g.add(name) {
				errs = append(errs, fmt.Errorf(
					`%s: %q: want "spiffe://trust.domain/path", the same with "/*" at its end, or a DNS name`, t.Option, name))
			}
		}
		s.groups = append(s.groups, g)
	}
	return s, errors.Join(errs...)
}

// add adds a name, or reports that it is none.
func (g *group) add(name string) bool {
	prefix, all := strings.CutSuffix(name, "/*")
	switch {
	case all && (isSPIFFE(prefix, false) || isSPIFFE(prefix, true)):
		g.prefixes = append(g.prefixes, prefix+"/")
	case isSPIFFE(name, true):
		g.ids = append(g.ids, name)
	case isDNSName(name):
		g.names = append(g.names, strings.ToLower(name))
	default:
		return false
	}
	return true
}

// Called reports whether the call that ctx belongs to comes from one of the peers.
func (s *Set) Called(ctx context.Context) bool {
	if len(s.groups) == 0 {
		return false
	}
	from, ok := peer.FromContext(ctx)
	if !ok {
		return false
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	// What the client sent is in PeerCertificates, verified or not.
	return ok && s.Include(info.State.VerifiedChains)
}

// Include reports whether a certificate is that of one of the peers. It is the first of
// each of these chains, all of which crypto/tls has verified; they differ in who signed.
func (s *Set) Include(chains [][]*x509.Certificate) bool {
	return slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool {
		return len(chain) > 0 && slices.ContainsFunc(s.groups, func(g group) bool {
			return g.named(chain[0]) && (!g.bound || slices.ContainsFunc(chain, g.isAuthority))
		})
	})
}

func (g *group) isAuthority(cert *x509.Certificate) bool {
	return slices.ContainsFunc(g.authorities, cert.Equal)
}

// named reports whether one of the names is the certificate's.
func (g *group) named(leaf *x509.Certificate) bool {
	if slices.ContainsFunc(leaf.DNSNames, func(name string) bool { return slices.Contains(g.names, strings.ToLower(name)) }) {
		return true
	}
	// A certificate with two URIs, or of an authority, is nobody's SPIFFE ID (X.509-SVID §2, §4.1).
	if len(leaf.URIs) != 1 || leaf.IsCA {
		return false
	}
	id := leaf.URIs[0].String()
	return isSPIFFE(id, true) && (slices.Contains(g.ids, id) ||
		slices.ContainsFunc(g.prefixes, func(prefix string) bool { return strings.HasPrefix(id, prefix) }))
}
