package telemetry

import "go.opentelemetry.io/otel/attribute"

const (
	// ScopeName is the instrumentation scope of all spans and metrics.
	ScopeName = "github.com/grpc-sessionauth/sessionauth"
	// Version is the version of that scope, which is this project's.
	Version = "0.1.0"

	// SpanVerify is the name of the span around one run of the callbacks.
	SpanVerify = "verify session"
	// EventStale is the event on the span of an RPC that was answered from memory
	// past its time, because the session's owner is unavailable.
	EventStale = "sessionauth.stale"
	// MetricDuration is a histogram, in seconds, of the runs of the callbacks. It
	// carries KeyErrorType when one failed.
	MetricDuration = "sessionauth.verification.duration"
	// MetricAuthentications counts calls, in {request}, by KeyResult and, where
	// one was refused, KeyErrorType.
	MetricAuthentications = "sessionauth.authentications"
	// MetricEntries is the number of cached entries, in {entry}, by KeyEntry. It
	// adds up over the caches that share a meter provider.
	MetricEntries = "sessionauth.cache.entries"

	// EventUnmet is an event on the span of an RPC that was denied, one for each rule
	// that would have allowed it to a caller with more: KeyRule, KeyMissingRoles,
	// of which one would have been enough, and KeyMissingScopes.
	EventUnmet = "sessionauth.unmet"

	// KeyDecision is the attribute that says, on the span of an RPC, whether it was
	// allowed: "allow" or "deny".
	KeyDecision = attribute.Key("sessionauth.decision")
	// KeyRule is the attribute that names the rule behind a decision.
	KeyRule = attribute.Key("sessionauth.rule")
	// KeyMissingRoles is an attribute of EventUnmet: any of these would have been enough.
	KeyMissingRoles = attribute.Key("sessionauth.missing.roles")
	// KeyMissingScopes is an attribute of EventUnmet: all of these are missing.
	KeyMissingScopes = attribute.Key("sessionauth.missing.scopes")

	// KeyResult is the attribute that holds a [Result].
	KeyResult = attribute.Key("sessionauth.result")
	// KeyErrorType is the semantic conventions' error.type; it holds an
	// [ErrorType].
	KeyErrorType = attribute.Key("error.type")
	// KeyEntry is the attribute that tells cached sessions, "session", from
	// cached refusals, "refusal".
	KeyEntry = attribute.Key("sessionauth.cache.entry")
)

// Result says how a call was authenticated, or that it was not.
type Result uint8

// The results of a call.
const (
	Rejected  Result = iota // refused before any callback ran
	Anonymous               // let through without a credential
	Verified                // verified for this call alone; there is no cache
	Miss                    // verified by this call, for all that share the answer
	Hit                     // answered from memory
	Shared                  // answered by a verification that another call started
	Stale                   // answered from memory past its time, in an outage
	Negative                // refused from memory
	Fetched                 // verified by another replica, found in the cache that is shared with it
	results
)

// String returns the value of KeyResult.
func (r Result) String() string {
	if r >= results {
		return "unknown"
	}
	return [...]string{"rejected", "anonymous", "verified", "miss", "hit", "shared", "stale", "negative", "fetched"}[r]
}

// ErrorType says why a call was refused.
type ErrorType uint8

// The reasons for a refusal.
const (
	NoError                  ErrorType = iota
	MissingCredentials                 // no extractor found a token
	AmbiguousCredentials               // two parties could read two credentials
	InvalidSession                     // the session's owner does not know it
	SessionExpired                     // its time is over
	VerificationFailed                 // the verify callback failed in some other way
	MappingFailed                      // the map callback did
	VerificationUnavailable            // the session's owner could not be asked
	VerifierStatus                     // a callback returned a status of its own
	CallerGone                         // the caller's context ended first
	OriginNotAllowed                   // a page of a foreign origin sent a cookie
	AccessDenied                       // the caller may not call this method
	AuthorizationFailed                // the authorize callback failed
	AuthorizationUnavailable           // the authorize callback could not find out
	UntrustedCaller                    // told an identity, and may not
	MalformedIdentity                  // identity headers that cannot be read in one way
	errorTypes
)

// String returns the value of KeyErrorType; it is empty for NoError.
func (e ErrorType) String() string {
	if e >= errorTypes {
		return "unknown"
	}
	return [...]string{
		"", "missing_credentials", "ambiguous_credentials", "invalid_session", "session_expired",
		"verification_failed", "mapping_failed", "verification_unavailable", "verifier_status", "caller_gone",
		"origin_not_allowed",
		"access_denied", "authorization_failed", "authorization_unavailable",
		"untrusted_caller", "malformed_identity",
	}[e]
}
