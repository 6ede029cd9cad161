package interceptor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/origin"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// WithCache keeps verified sessions in memory. By default there is no cache and
// every call is verified. An invalid policy makes [NewSessionAuth] fail.
func WithCache(policy cache.Policy) Option {
	return ofSession("WithCache", func(c *config) { c.policy = &policy })
}

// WithExtractors says where to look for credentials. They are asked in order, and
// the first to find a token decides which one the verifier gets. By default
// [authmd.Bearer], then [authmd.CookieHeader]. An empty list, more than eight, a nil
// extractor, or one built from bad input makes [NewSessionAuth] fail.
//
// An extractor that is not of package metadata runs in a goroutine of its own on every
// call, since nothing that it does may leave the client waiting.
func WithExtractors(extractors ...authmd.Extractor) Option {
	extractors = slices.Clone(extractors)
	return ofSession("WithExtractors", func(c *config) { c.extractors = extractors })
}

// WithKeyHeaders names the request headers, besides the credentials, that the
// verifier may look at: they become part of the cache key, and the verifier
// receives the headers of the credentials and these, nothing else. Then no cached
// answer can depend on anything outside its key. No names is a good choice: only
// the credentials. Names are in any case; "Host" names the :authority of the
// call. By default the verifier receives the whole header, as [authmd.Header] makes it.
//
// A name that can never be there, such as one that begins with "grpc-", makes
// [NewSessionAuth] fail.
func WithKeyHeaders(names ...string) Option {
	names = slices.Clone(names)
	return ofSession("WithKeyHeaders", func(c *config) {
		c.restricted = true // by no names, too
		c.keyHeaders = slices.Concat(c.keyHeaders, names)
	})
}

// WithKeyContext does for context values what [WithKeyHeaders] does for headers.
// carry copies what the callbacks need from the context of the call to a fresh
// one, and returns the result with a text that stands for everything it
// copied: that text becomes part of the cache key. It runs on every call, so it
// must be cheap, must return, and must be safe to call concurrently. Deadlines and
// cancellation do not carry over.
//
// By default a verification behind a cache sees no value of the call that started
// it but its trace: the baggage, too, is the client's to write. Without a cache,
// callbacks run on the context of the call and carry is not used.
func WithKeyContext(carry func(from, to context.Context) (context.Context, string)) Option {
	return ofSession("WithKeyContext", func(c *config) {
		if carry != nil {
			c.carry = carry
		}
	})
}

// WithAllowedOrigins refuses a call that carries a cookie which the verifier would see
// and that a browser sent for a page of any origin but these, with PermissionDenied: a
// browser sends cookies along whoever's page asks it to. An origin is written as
// browsers write it, "https://host" or "https://host:port"; anything else makes
// [NewSessionAuth] fail. With none, no page is let in. A call that carries neither an
// Origin nor "Sec-Fetch-Site: cross-site" passes: it is not from a page of others, or is
// a plain GET, which must change nothing. By default any origin will do.
//
// It is needed where browsers reach the server, through grpc-gateway or gRPC-Web, and
// their cookie is not SameSite=Strict. Both headers are looked for under their own names
// and with the prefix of grpc-gateway.
func WithAllowedOrigins(origins ...string) Option {
	return ofSession("WithAllowedOrigins", func(c *config) {
		c.origins = append(origin.Set{}, c.origins...) // not nil, by none
		allowed, err := origin.New(origins)
		if err != nil {
			c.fail(prefixed("WithAllowedOrigins: ", err))
		}
		c.origins = append(c.origins, allowed...)
	})
}

// WithOutageErrors has is say which errors of the callbacks mean that the session's owner
// could not be asked, besides those that are recognised without it; see
// [ErrUnavailable]. It is asked about errors that are not recognised as anything else,
// must return soon, and be safe to call concurrently. By default, and for nil, there are no
// others.
func WithOutageErrors(is func(error) bool) Option {
	return ofSession("WithOutageErrors", func(c *config) { c.outage = is })
}

// WithStreamRecheck has the session of every open stream verified again at this
// interval, or up to a fifth earlier so that streams which began together drift apart,
// through the cache if there is one: the streams of one session cost one verification.
// The renewed identity replaces the old one, its ExpiresAt included, and the rules of
// package authz are asked again; see authcontext.OnRenewal. A stream ends with what the
// verification finds out: INVALID_SESSION soon after its session was ended at its owner,
// or Unavailable in an outage that the cache has no stale answer for, or when it could
// not be verified in time. By default a stream is verified again only after a Forget. An
// interval that is not positive makes [NewSessionAuth] fail.
func WithStreamRecheck(every time.Duration) Option {
	return ofSession("WithStreamRecheck", func(c *config) {
		c.recheck = every
		if every <= 0 {
			c.fail(fmt.Errorf("interceptor: WithStreamRecheck: the interval must be positive, got %v", every))
		}
	})
}
