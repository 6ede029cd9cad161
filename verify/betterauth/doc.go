// Package betterauth verifies the sessions of better-auth, over HTTP, with its
// get-session endpoint. [New] returns a [Verifier], whose methods are the callbacks of
// interceptor.NewSessionAuth:
//
//	v, err := betterauth.New("https://auth.example.com")
//	...
//	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
//		interceptor.WithExtractors(v.Extractors()...), interceptor.WithKeyHeaders(v.KeyHeaders()...))
//
// With the default extractors it works, too; then every cookie of the browser, not
// only that of the session, is part of a cache key.
//
// Written against better-auth 1.7.
//
// # Security
//
// One credential is sent on, the one that won: with a bearer token the cookie is not,
// since better-auth answers for the cookie when the token is bad. Nothing else of the
// request goes along, unless [WithClientAddress] or [WithStateless] says so. Redirects are not followed.
// The URL should be https, or of a host that is reached over a network you trust: the
// session token goes there.
//
// better-auth is asked past its cookie cache, which accepts a session that was signed
// out; one without a database has nothing else, and needs [WithStateless]. A user who is banned is refused, which get-session alone does not do. With
// [WithSecret] a cookie that better-auth did not sign is refused without a call.
//
// The token is in no error and not in a [Session].
//
// # Errors
//
// get-session says "no such session" with status 200 and the body null, whatever the
// reason. That, a session that has expired, and a banned user are
// interceptor.ErrInvalidSession. Anything else is interceptor.ErrUnavailable, 401, 403
// and 404 included: they come from a proxy, a wrong path or a plugin. There is one 401
// that better-auth says itself, when a session that is to be extended is deleted at that
// moment: with [WithRefresh] that one is interceptor.ErrInvalidSession. 429 keeps its delay. When ctx has ended the error
// wraps that of ctx as well.
package betterauth
