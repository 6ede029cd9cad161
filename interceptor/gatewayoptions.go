package interceptor

import (
	"slices"

	"github.com/grpc-sessionauth/sessionauth/internal/peers"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// GatewayOption configures a [GatewayAuth]. A nil GatewayOption is ignored.
type GatewayOption interface{ applyGateway(*gatewayConfig) }

type gatewayFunc func(*gatewayConfig)

func (f gatewayFunc) applyGateway(c *gatewayConfig) { f(c) }

type gatewayConfig struct {
	common

	trusting bool // some trust was asked for, if only of nobody
	header   string
	secrets  []string
	peers    []peers.Trust
}

func newGatewayConfig(opts []GatewayOption) gatewayConfig {
	c := gatewayConfig{header: secret.DefaultHeader}
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
func WithSecretHeader(name string) GatewayOption {
	return gatewayFunc(func(c *gatewayConfig) { c.header = name })
}
