// Package forwardauth verifies sessions with an HTTP endpoint of the kind that nginx's
// auth_request and Traefik's ForwardAuth ask: the status of its answer says whether
// there is a session, and header fields say whose. [OAuth2Proxy] and [Authelia] make a
// [Verifier] for these two, [New] one for any other. Its methods are the callbacks of
// interceptor.NewSessionAuth:
//
//	v, err := forwardauth.OAuth2Proxy("http://oauth2-proxy:4180")
//	...
//	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
//		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders())
//
// # Security
//
// One credential is sent on, the one that won, and nothing else of the request: a bearer
// token as Authorization, or the cookies that [WithCookies] names. Redirects are not
// followed. The URL should be https, or of a host that is reached over a network you
// trust.
//
// A good status is not enough: without the field that names the subject there is no
// success. Fields of the caller's request are never taken for those of the answer. The
// endpoint is asked about the credential and not about the call: what it would say
// of one method or path more than of another is not asked. Use the roles for that.
//
// An endpoint of this kind does not say when a session ends. With a cache, its TTL is
// how long a session that has ended may still be accepted; streams end with nothing
// but interceptor.WithStreamRecheck.
//
// # Errors
//
// 401 is interceptor.ErrInvalidSession, 403 is a status, PermissionDenied with
// [ReasonAccessDenied]. Anything else is interceptor.ErrUnavailable: redirects too, but
// for Authelia's to its portal.
package forwardauth
