package interceptor

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

const (
	// secretHeader is where Connectum looks for the secret.
	secretHeader = "x-gateway-secret"
	// minSecret is what 128 random bits take in hexadecimal, and maxSecret bounds what
	// is hashed for anybody, in bytes.
	minSecret, maxSecret = 32, 1 << 10
)

// GatewayOption configures a [GatewayAuth]. A nil GatewayOption is ignored.
type GatewayOption interface{ applyGateway(*gatewayConfig) }

// SecretOption is an option of [NewGatewayAuth] and of [NewForwarder].
type SecretOption interface {
	GatewayOption
	ForwardOption
}

type gatewayFunc func(*gatewayConfig)

func (f gatewayFunc) applyGateway(c *gatewayConfig) { f(c) }

type gatewayConfig struct {
	common

	trusting bool // some trust was asked for, if only of nobody
	header   string
	secrets  []string
	peers    []string
}

func newGatewayConfig(opts []GatewayOption) gatewayConfig {
	c := gatewayConfig{header: secretHeader}
	for _, opt := range opts {
		if opt != nil {
			opt.applyGateway(&c)
		}
	}
	return c
}

// WithSharedSecrets trusts a caller that sends one of these secrets, once, in the
// header of [WithSecretHeader]. To replace a secret give both, the old one and the new
// one, until no caller has the old one. They are compared in constant time.
//
// A secret has 32 bytes to 1 KiB of visible ASCII without commas, and should be random:
// the output of "openssl rand -hex 32", say. None, or another one, makes
// [NewGatewayAuth] fail. Callers must send it over TLS only.
func WithSharedSecrets(secrets ...string) GatewayOption {
	secrets = slices.Clone(secrets)
	return gatewayFunc(func(c *gatewayConfig) {
		c.trusting = c.trusting || len(secrets) > 0
		c.secrets = slices.Concat(c.secrets, secrets)
	})
}

// WithSecretHeader names the header that holds the shared secret, in any case. By
// default it is x-gateway-secret, as with Connectum. A name that cannot hold one, or
// that begins with x-auth-, makes the constructor fail.
func WithSecretHeader(name string) SecretOption { return secretHeaderOption(name) }

type secretHeaderOption string

func (name secretHeaderOption) applyGateway(c *gatewayConfig) { c.header = string(name) }

// secrets are the shared secrets of callers and the header in which they are told.
type secrets struct {
	header  string // in lower case
	plain   string // the header with "-" for "_" and "."
	digests [][sha256.Size]byte
}

func parseSecrets(option, header string, all []string) (secrets, error) {
	s := secrets{header: strings.ToLower(header), plain: strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(header))}
	var errs []error
	if !authmd.Forwardable(header) || isIdentityHeader(header) || strings.HasSuffix(s.header, "-bin") {
		errs = append(errs, fmt.Errorf("interceptor: WithSecretHeader: %q cannot hold a secret", header))
	}
	for i, secret := range all {
		if err := checkSecret(secret); err != nil {
			errs = append(errs, fmt.Errorf("interceptor: %s: secret %d %w", option, i+1, err))
		}
		s.digests = append(s.digests, sha256.Sum256([]byte(secret)))
	}
	return s, errors.Join(errs...)
}

func checkSecret(secret string) error {
	switch {
	case len(secret) < minSecret || len(secret) > maxSecret:
		return fmt.Errorf("has %d bytes, want %d to %d", len(secret), minSecret, maxSecret)
	case !isVisible(secret) || strings.Contains(secret, ","):
		return errors.New("holds a byte that is not visible ASCII, or a comma")
	}
	return nil
}

// isHeader reports whether a key could be read as the header of the secret: see
// isIdentityHeader.
func (s *secrets) isHeader(key string) bool {
	for hasPrefix(key, gatewayPrefix) && !hasPrefix(s.plain, gatewayPrefix) {
		key = key[len(gatewayPrefix):]
	}
	if len(s.digests) == 0 || !hasPrefix(key, s.plain) {
		return false
	}
	rest := key[len(s.plain):]
	return rest == "" || len(rest) == len("-bin") && hasPrefix(rest, "-bin")
}

// told reports whether a header holds one of the secrets, and nothing else in its
// place. Aliases of its name are not read.
func (s *secrets) told(header map[string][]string) bool {
	if len(s.digests) == 0 {
		return false
	}
	told, times := "", 0
	for key, values := range header {
		if len(values) > 0 && strings.EqualFold(key, s.header) {
			told, times = values[0], times+len(values)
		}
	}
	if times != 1 || len(told) > maxSecret {
		return false
	}
	digest, known := sha256.Sum256([]byte(told)), 0
	for i := range s.digests { // all of them, whichever it is
		known |= subtle.ConstantTimeCompare(digest[:], s.digests[i][:])
	}
	return known == 1
}

// isVisible reports whether s is made of visible ASCII characters.
func isVisible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// concealed is a secret that fmt does not find, wherever it looks: it prints what is
// in the fields of a struct, too, and calls no methods of what is not exported.
type concealed func() string

func conceal(secret string) concealed { return func() string { return secret } }
