package jwt

import (
	"crypto/ed25519"
	"errors"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// ed25519Algorithm is EdDSA by its name of RFC 9864, which go-jose does not know.
const ed25519Algorithm = jose.SignatureAlgorithm("Ed25519")

// accessToken is the typ of an access token (RFC 9068 §2.1).
const accessToken = "at+jwt"

// typeOf returns what a token says that it is, in lower case and without application/, as RFC
// 7515 §4.1.9 has it. It is false for a typ that is no text.
func typeOf(header jose.Header) (string, bool) {
	value, ok := header.ExtraHeaders[jose.HeaderType]
	if !ok {
		return "", true
	}
	text, ok := value.(string)
	return canonicalType(text), ok
}

func canonicalType(text string) string {
	return strings.TrimPrefix(strings.ToLower(text), "application/")
}

// keyFor returns what verifies a signature of this algorithm by a key. It is false if the key
// is for another one. Whether the algorithm is one for its type, go-jose checks.
func keyFor(key *jose.JSONWebKey, algorithm jose.SignatureAlgorithm) (any, bool) {
	public, isEd := key.Key.(ed25519.PublicKey)
	named := jose.SignatureAlgorithm(key.Algorithm)
	if isEd && named == ed25519Algorithm {
		named = jose.EdDSA
	}
	wanted := algorithm
	if algorithm == ed25519Algorithm {
		wanted = jose.EdDSA
	}
	switch {
	case named != "" && named != wanted:
		return nil, false
	case algorithm != ed25519Algorithm:
		return key.Key, true
	}
	return edVerifier(public), isEd
}

// edVerifier is a [jose.OpaqueVerifier].
type edVerifier ed25519.PublicKey

var errSignature = errors.New("another signature")

// VerifyPayload implements [jose.OpaqueVerifier].
func (v edVerifier) VerifyPayload(payload, signature []byte, algorithm jose.SignatureAlgorithm) error {
	if algorithm != ed25519Algorithm || !ed25519.Verify(ed25519.PublicKey(v), payload, signature) {
		return errSignature
	}
	return nil
}
