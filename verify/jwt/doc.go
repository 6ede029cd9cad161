// Package jwt verifies sessions that are signed JSON Web Tokens (RFC 7519), with the
// keys that their issuer publishes (a JWK Set, RFC 7517 §5). [New] returns a [Verifier],
// whose methods are the callbacks of interceptor.NewSessionAuth:
//
//	v, err := jwt.New("https://id.example.com/jwks.json", "https://id.example.com/", "my-api")
//	...
//	auth, err := interceptor.NewSessionAuth(v.Verify, v.Map,
//		interceptor.WithExtractors(metadata.Bearer()), interceptor.WithKeyHeaders())
//
// [Discover] finds the keys by the issuer's discovery document. It is a module of its own, for the sake of go-jose, which does the cryptography.
//
// # Security
//
// The issuer, the audience and an expiry are always checked; a token without one of them
// is refused. The algorithms are a list, of asymmetric ones only: "none" and HMAC are not
// to be had, whatever a token says. Only published keys count: the header's jwk, jku, x5c
// and x5u are not looked at, symmetric keys in the set are left out, and so are RSA keys of
// less than 2048 bits. A key is used for its own algorithm and for signatures only, where
// it says so.
//
// An issuer signs other things with the same keys. A token whose typ is none of [WithTypes]
// is refused, and so are one that tells of an event, as a logout token does, and an ID token
// with a nonce.
//
// A JWT that was signed out is good until it expires: nobody is asked, and one that
// interceptor's Forget has removed from memory verifies anew. Keep its life short, or have
// a callback of your own look it up in a list of what was signed out before it calls
// [Verifier.Verify].
//
// # Errors
//
// What is wrong with a token is interceptor.ErrInvalidSession. When the keys cannot be had
// the error wraps interceptor.ErrUnavailable and says why: that they are served as something
// else than JSON, say. A claim of another form than [Verifier.Map]
// expects is an error of the mapping.
//
// # Claims
//
// The path of a claim is its name, or by dots the name of one inside another:
// "realm_access.roles". A claim whose own name is the whole path, dots included, comes first:
// "https://example.com/roles".
//
// # Keys
//
// The keys are fetched when the first token comes, again after [WithMaxAge], and when a
// token names a key that is not among them, so that a new key is found at once: but not more
// than once in 10 s, or in 1 s after a fetch that failed, however many tokens with made-up key
// names come. A token with an unknown key name in between is told to come back, not that it
// is invalid: its key may be new. While the keys cannot be fetched again, those that are
// there are used for another [WithMaxAge], and a token waits for 1 s at most, and not at all
// once a fetch has failed. Nothing runs in the background but a fetch.
package jwt
