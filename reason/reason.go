// Package reason says why a call was refused, in a form that programs can read: every
// refusal of this library carries a google.rpc.ErrorInfo with one of these reasons.
// [Of] finds it in the error that a client got.
//
//	switch reason.Of(err) {
//	case reason.InvalidSession, reason.SessionExpired:
//		signInAgain()
//	case reason.VerificationUnavailable:
//		tryLater()
//	default: // see the documentation of the reasons
//		report(err)
//	}
//
// It needs nothing of the server's packages.
package reason

import (
	"errors"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Domain is that of the google.rpc.ErrorInfo of every refusal.
const Domain = "github.com/grpc-sessionauth/sessionauth"

// Reason is the reason in a google.rpc.ErrorInfo of [Domain].
type Reason string

// The reasons of a server that authenticates.
const (
	// MissingCredentials: the call carries no credential.
	MissingCredentials Reason = "MISSING_CREDENTIALS"
	// AmbiguousCredentials: two parties could read two different credentials in it.
	AmbiguousCredentials Reason = "AMBIGUOUS_CREDENTIALS"
	// InvalidSession: there is no such session.
	InvalidSession Reason = "INVALID_SESSION"
	// SessionExpired: the session's time is over.
	SessionExpired Reason = "SESSION_EXPIRED"
	// VerificationFailed: the session could not be verified, and asking again will not help.
	VerificationFailed Reason = "VERIFICATION_FAILED"
	// VerificationUnavailable: the session's owner could not be asked; a google.rpc.RetryInfo
	// may say when to try again.
	VerificationUnavailable Reason = "VERIFICATION_UNAVAILABLE"
	// OriginNotAllowed: a page of a foreign origin made a browser send the call.
	OriginNotAllowed Reason = "ORIGIN_NOT_ALLOWED"
	// UntrustedCaller: the caller may not tell identities.
	UntrustedCaller Reason = "UNTRUSTED_CALLER"
	// MalformedIdentity: the identity that the caller told cannot be read in one way.
	MalformedIdentity Reason = "MALFORMED_IDENTITY"
)

// The reasons of a server that authorizes.
const (
	// AccessDenied: the caller may not call this method.
	AccessDenied Reason = "ACCESS_DENIED"
	// AuthorizationFailed: it could not be decided, and asking again will not help.
	AuthorizationFailed Reason = "AUTHORIZATION_FAILED"
	// AuthorizationUnavailable: it could not be decided for now.
	AuthorizationUnavailable Reason = "AUTHORIZATION_UNAVAILABLE"
)

// The reasons of a client, before anything is sent.
const (
	// IdentityNotForwarded: the identity cannot be sent whole.
	IdentityNotForwarded Reason = "IDENTITY_NOT_FORWARDED"
	// CredentialUnavailable: the token could not be had, or cannot be sent.
	CredentialUnavailable Reason = "CREDENTIAL_UNAVAILABLE" //nolint:gosec // it is none
)

// Of returns the reason of a refusal: err, or what it wraps, is a gRPC status with a
// google.rpc.ErrorInfo of [Domain]. It is empty for any other error and for nil.
func Of(err error) Reason {
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return ""
	}
	for _, detail := range carrier.GRPCStatus().Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return Reason(info.GetReason())
		}
	}
	return ""
}
