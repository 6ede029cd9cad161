// Package secret holds the shared secrets by which services know each other.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

const (
	// DefaultHeader is where Connectum looks for the secret.
	DefaultHeader = "x-gateway-secret"
	// minLength is what 128 random bits take in hexadecimal, and maxLength bounds what
	// is hashed for anybody, in bytes.
	minLength, maxLength = 32, 1 << 10
)

// Set is the shared secrets of callers and the header in which they are told.
type Set struct {
	Header  string // in lower case
	plain   string // the header as headername.Is takes it
	digests [][sha256.Size]byte
}

// New checks a header, and secrets, which the option of this name was given. The error
// says what is wrong with each, and does not show it.
func New(option, header string, all []string) (Set, error) {
	s := Set{Header: strings.ToLower(header), plain: headername.Plain(header)}
	var errs []error
	if !authmd.Forwardable(header) || headername.IsIdentity(header) || strings.HasSuffix(s.Header, "-bin") {
		errs = append(errs, fmt.Errorf("WithSecretHeader: %q cannot hold a secret", header))
	}
	for i, secret := range all {
		if err := check(secret); err != nil {
			errs = append(errs, fmt.Errorf("%s: secret %d %w", option, i+1, err))
		}
		s.digests = append(s.digests, sha256.Sum256([]byte(secret)))
	}
	return s, errors.Join(errs...)
}

func check(secret string) error {
	switch {
	case len(secret) < minLength || len(secret) > maxLength:
		return fmt.Errorf("has %d bytes, want %d to %d", len(secret), minLength, maxLength)
	case strings.ContainsFunc(secret, func(r rune) bool { return r < '!' || r > '~' || r == ',' }):
		return errors.New("holds a byte that is not visible ASCII, or a comma")
	}
	return nil
}

// IsHeader reports whether a key could be read as the header of the secret: see
// headername.Is. It does so without a secret, too: callers that are known by their
// certificates may send the one that others check.
func (s *Set) IsHeader(key string) bool { return headername.Is(key, s.plain) }

// Told reports whether a header holds one of the secrets, and nothing else in its
// place. Aliases of its name are not read.
func (s *Set) Told(header map[string][]string) bool {
	if len(s.digests) == 0 {
		return false
	}
	told, times := "", 0
	for key, values := range header {
		if len(values) > 0 && strings.EqualFold(key, s.Header) {
			told, times = values[0], times+len(values)
		}
	}
	if times != 1 || len(told) > maxLength {
		return false
	}
	digest, known := sha256.Sum256([]byte(told)), 0
	for i := range s.digests { // all of them, whichever it is
		known |= subtle.ConstantTimeCompare(digest[:], s.digests[i][:])
	}
	return known == 1
}

// Concealed is a secret that fmt does not find, wherever it looks: it prints what is
// in the fields of a struct, too, and calls no methods of what is not exported.
type Concealed func() string

// Conceal returns secret as a [Concealed].
func Conceal(secret string) Concealed { return func() string { return secret } }
