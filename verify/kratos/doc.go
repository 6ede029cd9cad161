// Package kratos verifies the sessions of Ory Kratos, over HTTP, with its whoami
// endpoint. [New] returns a [Verifier], whose methods are the callbacks of
// interceptor.NewSessionAuth:
//
//	v, err := kratos.New("http://kratos:4433")
//	...
//	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
//		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders())
//
// With the default extractors, a bearer token or the whole Cookie header, it works,
// too.
//
// # Security
//
// One credential is sent on, the one that won, and nothing else of the request: a
// session cookie as a Cookie, a token as X-Session-Token. Redirects are not followed.
// The URL should be https, or of a host that is reached over a network you trust.
//
// A session is good when Kratos answers 200, the session is active and has not
// expired, and its identity is active. Traits are personal, and a user can often
// change them: they become no claims, and roles are not read from them. What is in
// metadata_public only an administrator can write.
//
// # Errors
//
// Kratos says 401 when there is no session, and also when it could not look,
// because its database failed, and nothing in that answer tells the two apart. So 401,
// in Kratos's own JSON, is interceptor.ErrInvalidSession, and such a failure refuses
// people as if they had signed out, for as long as it lasts and, with a cache, up to
// its NegativeTTL longer. [WithReadyURL] closes most of that gap.
//
// 403 with the id session_aal2_required is a session that needs a second factor: a
// status, PermissionDenied with [ReasonSecondFactorRequired]. Anything else, a 401 or
// 403 of somebody else's included, is interceptor.ErrUnavailable.
package kratos
