package interceptor

import (
	"crypto/x509"
	"slices"

	"github.com/grpc-sessionauth/sessionauth/internal/peers"
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
//
// Every authority in ClientCAs may sign for every one of these names, those of another
// authority's trust domain included. With more than one of them use
// [WithTrustedPeersOf].
func WithTrustedPeers(names ...string) Option {
	return trusting(peers.Trust{Option: "WithTrustedPeers", Names: slices.Clone(names)})
}

// WithTrustedPeersOf is [WithTrustedPeers] for names that only these authorities may
// sign for: one of them must stand in the chain, from the client's certificate to one of
// ClientCAs, that crypto/tls has verified. It may be given more than once, with the
// authorities of one trust domain each:
//
//	interceptor.WithTrustedPeersOf(ours, "spiffe://trust.example/*"),
//	interceptor.WithTrustedPeersOf(partners, "spiffe://partner.example/gateway"),
//
// It does not make an authority one of ClientCAs. While an authority is being replaced,
// give the old one and the new one. None, or a nil one, makes [NewGatewayAuth] fail; the
// slice is copied, the certificates must not be modified.
func WithTrustedPeersOf(authorities []*x509.Certificate, names ...string) Option {
	return trusting(peers.Trust{
		Option: "WithTrustedPeersOf", Names: slices.Clone(names), Bound: true, Authorities: slices.Clone(authorities),
	})
}

func trusting(t peers.Trust) Option {
	return ofGateway(t.Option, func(c *config) {
		c.trusting = c.trusting || len(t.Names) > 0
		c.peers = append(c.peers, t)
	})
}
