package interceptor

import (
	"crypto/x509"
	"net/url"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
)

// ReadMetadataByCopy makes the interceptors read metadata as they would if
// grpc-go kept it in another way, until the returned func is called.
func ReadMetadataByCopy() (restore func()) {
	key := incomingKey
	incomingKey = nil
	return func() { incomingKey = key }
}

// ReadsMetadataInPlace reports whether they read it without copying.
func ReadsMetadataInPlace() bool { return incomingKey != nil }

// IsIdentityHeader and MatchMethod are for the fuzz targets.
var IsIdentityHeader = headername.IsIdentity

// TrustsSPIFFE parses a pattern of WithTrustedPeers and reports whether it trusts a
// certificate for this SPIFFE ID.
func TrustsSPIFFE(pattern string, id *url.URL) (bool, error) {
	p, err := parsePeers([]string{pattern})
	return err == nil && p.include(&x509.Certificate{URIs: []*url.URL{id}}), err
}
