// Package extauthz answers the ext_authz filter of Envoy: one Authenticator, with its cache
// and its Forget, and the same rules, decide about every request that comes through Envoy,
// whatever the servers behind it are written in.
//
// A [Server] is an envoy.service.auth.v3.Authorization. [Server.Serve] puts it on a
// listener beside the health service, or register it on a server of yours with
// authv3.RegisterAuthorizationServer:
//
//	auth, err := interceptor.NewSessionAuth(verify, mapSession)
//	check, err := extauthz.New(auth, extauthz.WithSharedSecret(secret))
//	err = check.Serve(ctx, listener)
//
// docs/envoy.md has a configuration of Envoy to go with it, which the tests of this package
// start.
//
// # What the upstream gets
//
// A request that is let through carries the identity as authcontext.EncodeHeader writes it,
// and the secret of [WithSharedSecret], so that interceptor.NewGatewayAuth in the upstream
// believes it. Every x-auth-* header of the client is taken away, and its credentials are
// unless [WithPassedHeaders] or [WithPassedCookies] lets them through.
//
// # What the client gets
//
// A refusal is in the protocol that the client speaks: a gRPC status with the details that
// the gRPC interceptors send; for gRPC-Web the same; for anything else an HTTP status with a
// body of application/problem+json (RFC 9457). What verify and map callbacks hand back with
// interceptor.SetResponseHeader reaches the client either way.
//
// # Security
//
// The answer to a Check holds the shared secret, and Check says who a session belongs to:
// nobody but Envoy may reach it. Serve it on a Unix socket that only Envoy may open, or over
// TLS that asks for Envoy's certificate; a loopback address is open to every process on the
// machine.
//
// Whatever cannot be understood is denied, by an answer and never by an error of the call,
// which Envoy would let pass under failure_mode_allow.
package extauthz
