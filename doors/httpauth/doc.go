// Package httpauth is the door of net/http: the same Authenticator, cache, Forget and
// rules as those of a gRPC server, in front of HTTP handlers.
//
// [Middleware] is for servers in Go. Handlers find the identity with
// authcontext.FromContext in the context of the request:
//
//	protect, err := httpauth.Middleware(auth)
//	if err != nil {
//		log.Fatal(err)
//	}
//	http.ListenAndServe(":8080", protect(mux))
//
// [ForwardAuth] is for proxies that ask before they pass a request on: nginx with
// auth_request, Traefik with ForwardAuth, Caddy with reverse_proxy. See docs/proxies.md for
// their configurations.
//
// # Refusals
//
// They are those of gRPC, with the HTTP status that google/rpc/code.proto names for the
// code: 401 for Unauthenticated, 403 for PermissionDenied, 503 for Unavailable, 504 for
// DeadlineExceeded. The body is a problem of RFC 9457, with the reason of package reason:
//
//	{"type":"about:blank","title":"Unauthorized","status":401,"detail":"invalid session","reason":"INVALID_SESSION"}
//
// A 401 has a WWW-Authenticate with the error codes of RFC 6750 §3.1: none without a
// credential, invalid_request for ambiguous ones, invalid_token otherwise. A 403 for want of rights has
// insufficient_scope. A 503 has a Retry-After: the delay that the session's owner named, or
// a second.
//
// # Pages of others
//
// interceptor.WithAllowedOrigins applies here, too, by Origin and Sec-Fetch-Site. A link on a foreign page
// may be followed: a GET or HEAD by which a browser goes to a document is let through, so it
// must change nothing.
package httpauth
