package interceptor

import "slices"

// WithSharedSecrets trusts a caller that sends one of these secrets, once, in the
// header of [WithSecretHeader]. To replace a secret give both, the old one and the new
// one, until no caller has the old one. They are compared in constant time.
//
// A secret has 32 bytes to 1 KiB of visible ASCII without commas, and should be random:
// the output of "openssl rand -hex 32", say. None, or another one, makes
// [NewGatewayAuth] fail. Callers must send it over TLS only.
func WithSharedSecrets(secrets ...string) Option {
	secrets = slices.Clone(secrets)
	return ofGateway("WithSharedSecrets", func(c *config) {
		c.trusting = c.trusting || len(secrets) > 0
		c.secrets = slices.Concat(c.secrets, secrets)
	})
}

// WithSecretHeader names the header that holds the shared secret, in any case. By
// default it is x-gateway-secret, as with Connectum. A name that cannot hold one, or
// that begins with x-auth-, makes [NewGatewayAuth] fail.
func WithSecretHeader(name string) Option {
	return ofGateway("WithSecretHeader", func(c *config) { c.secretHeader = name })
}
