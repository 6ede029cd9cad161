// Package interceptor authenticates sessions in front of gRPC handlers.
//
// [NewSessionAuth] takes two callbacks, one that asks the session's owner whether
// a credential is good and one that turns the answer into an identity, and
// returns an [Authenticator]. Register its [Authenticator.ServerOptions] with
// grpc.NewServer, or its interceptors one by one with grpc.ChainUnaryInterceptor
// and grpc.ChainStreamInterceptor, or its [Authenticator.AuthFunc] with
// go-grpc-middleware's auth package. Handlers read the identity with
// authcontext.FromContext.
//
// [NewGatewayAuth] takes the place of NewSessionAuth in a service that others call in
// the name of their callers. Who may call what is package authz's to decide, and what a
// client sends package clientauth's.
//
// # Security
//
// Everything fails closed. A call without a credential, with two that contradict
// one another, or with one that the verifier does not confirm never reaches the
// handler, unless its method was named in [WithSkipMethods] or, for a call with no
// credential at all, [WithOptionalAuth] was given. Incoming x-auth-* metadata, by
// which services tell each other identities, never reaches a handler.
//
// With a cache, an answer is kept under the digest of every credential that the
// extractors find. A verifier that looks at anything else in the request, a
// tenant header say, must have it named in [WithKeyHeaders]; it then receives
// nothing but what is in the key. A shared verification does not see the context
// of the call that started it; see [WithKeyContext].
//
// # Errors
//
// Every error is a gRPC status whose message is a fixed text, never the cause:
// that goes to the span of the verification. Each carries a
// google.rpc.ErrorInfo with one of the reasons of package reason. What a verifier returns decides
// between "this session is no good" and "could not find out": see
// [ErrInvalidSession] and [ErrUnavailable].
//
// # Caching
//
// Off unless [WithCache] is given. At most one verification runs for a key at a
// time, and every call that waits for it gets its answer; one that gives up
// waiting gets its own Canceled or DeadlineExceeded and disturbs nobody.
package interceptor
