// Package refusal holds the errors by which calls are refused: their codes, their
// fixed messages, their reasons, and what follows from each.
package refusal

import (
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// The sentinels that callbacks wrap, exported by the packages whose callbacks they are.
var (
	ErrInvalidSession = errors.New("interceptor: invalid session")
	ErrUnavailable    = errors.New("interceptor: session verification unavailable")
)

// Refusal is the error of a refused call. It knows nothing of the cause, so that
// nothing of it can leak, and is shared by all calls that one verification refuses. It
// is not modified.
type Refusal struct {
	// Type says why, on spans and metrics.
	Type telemetry.ErrorType
	// By is the verification that refused; not valid for none.
	By trace.SpanContext

	status *status.Status
	is     error // the sentinel it matches; nil for none
	busy   bool
	known  bool
	delay  time.Duration
}

// The refusals with a fixed message. The first block is a server's that authenticates, the
// second one's that authorizes, the third a client's, before anything is sent.
var (
	MissingCredentials = newRefusal(codes.Unauthenticated, "missing credentials",
		reason.MissingCredentials, telemetry.MissingCredentials, nil)
	AmbiguousCredentials = newRefusal(codes.Unauthenticated, "ambiguous credentials",
		reason.AmbiguousCredentials, telemetry.AmbiguousCredentials, nil)
	InvalidSession = newRefusal(codes.Unauthenticated, "invalid session",
		reason.InvalidSession, telemetry.InvalidSession, ErrInvalidSession)
	SessionExpired = newRefusal(codes.Unauthenticated, "invalid session",
		reason.SessionExpired, telemetry.SessionExpired, ErrInvalidSession)
	VerificationFailed = newRefusal(codes.Unauthenticated, "session verification failed",
		reason.VerificationFailed, telemetry.VerificationFailed, nil)
	MappingFailed = newRefusal(codes.Unauthenticated, "session mapping failed",
		reason.VerificationFailed, telemetry.MappingFailed, nil)
	VerificationUnavailable = newRefusal(codes.Unavailable, "session verification unavailable",
		reason.VerificationUnavailable, telemetry.VerificationUnavailable, ErrUnavailable)
	OriginNotAllowed = newRefusal(codes.PermissionDenied, "origin not allowed",
		reason.OriginNotAllowed, telemetry.OriginNotAllowed, nil)
	UntrustedCaller = newRefusal(codes.Unauthenticated, "untrusted caller",
		reason.UntrustedCaller, telemetry.UntrustedCaller, nil)
	MalformedIdentity = newRefusal(codes.Unauthenticated, "malformed identity",
		reason.MalformedIdentity, telemetry.MalformedIdentity, nil)

	AccessDenied = newRefusal(codes.PermissionDenied, "access denied",
		reason.AccessDenied, telemetry.AccessDenied, nil)
	AuthorizationFailed = newRefusal(codes.PermissionDenied, "authorization failed",
		reason.AuthorizationFailed, telemetry.AuthorizationFailed, nil)
	AuthorizationUnavailable = newRefusal(codes.Unavailable, "authorization unavailable",
		reason.AuthorizationUnavailable, telemetry.AuthorizationUnavailable, ErrUnavailable)

	IdentityNotForwarded = newRefusal(codes.Internal, "identity cannot be forwarded",
		reason.IdentityNotForwarded, telemetry.NoError, nil)
	CredentialUnavailable = newRefusal(codes.Unauthenticated, "credential unavailable",
		reason.CredentialUnavailable, telemetry.NoError, nil)
	CredentialDelayed = newRefusal(codes.Unavailable, "credential unavailable",
		reason.CredentialUnavailable, telemetry.NoError, ErrUnavailable)
)

// Table lists them, for what tests and documentation say of each.
var Table = []*Refusal{
	MissingCredentials, AmbiguousCredentials, InvalidSession, SessionExpired, VerificationFailed, MappingFailed,
	VerificationUnavailable, OriginNotAllowed, UntrustedCaller, MalformedIdentity,
	AccessDenied, AuthorizationFailed, AuthorizationUnavailable,
	IdentityNotForwarded, CredentialUnavailable, CredentialDelayed,
}

var (
	// NoSuchSession is InvalidSession when it is known, and may be remembered, that there
	// is no such session.
	NoSuchSession = variant(InvalidSession, func(r *Refusal) { r.known = true })
	// TooBusy is VerificationUnavailable when too many verifications were under way to
	// start another.
	TooBusy = variant(VerificationUnavailable, func(r *Refusal) { r.busy = true })
)

func newRefusal(code codes.Code, message string, why reason.Reason, kind telemetry.ErrorType, is error) *Refusal {
	return &Refusal{status: describe(status.New(code, message), why), Type: kind, is: is}
}

func variant(r *Refusal, change func(*Refusal)) *Refusal {
	v := *r
	change(&v)
	return &v
}

func describe(st *status.Status, why reason.Reason) *status.Status {
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: string(why), Domain: reason.Domain})
	if err != nil {
		return st
	}
	return detailed
}

// Error returns the text of the status.
func (r *Refusal) Error() string { return r.status.String() }

// GRPCStatus makes r a gRPC status.
func (r *Refusal) GRPCStatus() *status.Status { return r.status }

// RetryAfter is the delay that the session's owner named for everybody; 0: none.
func (r *Refusal) RetryAfter() time.Duration { return r.delay }

// Busy reports whether it was refused for want of a slot, so that nothing was found out.
func (r *Refusal) Busy() bool { return r.busy }

// Known reports whether it is known that there is no such session.
func (r *Refusal) Known() bool { return r.known }

// Final reports whether asking again will not help: what was found out must not be served.
func (r *Refusal) Final() bool {
	return r.is == ErrInvalidSession || r.Type == telemetry.VerifierStatus //nolint:errorlint // the sentinel itself
}

// Is matches the sentinels.
func (r *Refusal) Is(target error) bool { return r.is != nil && target == r.is }

// VerifiedBy returns r as the answer of one verification.
func (r *Refusal) VerifiedBy(by trace.SpanContext) *Refusal {
	return variant(r, func(v *Refusal) { v.By = by })
}

// CallerGone is the refusal of a call whose own context has ended with err.
func CallerGone(err error) *Refusal { return gone(err, reason.VerificationUnavailable) }

// CallerGoneFirst is CallerGone of a client that waited for its token.
func CallerGoneFirst(err error) *Refusal { return gone(err, reason.CredentialUnavailable) }

func gone(err error, why reason.Reason) *Refusal {
	return &Refusal{status: describe(status.FromContextError(err), why), Type: telemetry.CallerGone}
}

// Given is the refusal by a status of a callback's own.
func Given(st *status.Status) *Refusal { return &Refusal{status: st, Type: telemetry.VerifierStatus} }

// maxDelay bounds the delay that a client is told.
const maxDelay = time.Hour

// Delayed is r with the delay after which to try again, if it is positive.
func (r *Refusal) Delayed(delay time.Duration) *Refusal {
	if delay <= 0 {
		return r
	}
	return variant(r, func(v *Refusal) {
		v.delay = delay
		info := &errdetails.RetryInfo{RetryDelay: durationpb.New(min(delay, maxDelay))}
		if detailed, err := v.status.WithDetails(info); err == nil {
			v.status = detailed
		}
	})
}
