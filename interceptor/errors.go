package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

var (
	// ErrInvalidSession says that there is no such session: unknown, signed out,
	// revoked or expired. A callback wraps it in its error; the client gets
	// Unauthenticated, and may be refused from memory from then on. The errors of
	// an [Authenticator] match it, too.
	ErrInvalidSession = errors.New("interceptor: invalid session")
	// ErrUnavailable says that the session's owner could not be asked, or did not
	// know for now. A callback wraps it in its error; the client gets Unavailable,
	// which clients retry, rather than Unauthenticated, which logs people out. The
	// errors of an [Authenticator] match it, too.
	ErrUnavailable = errors.New("interceptor: session verification unavailable")
)

// The reasons in the google.rpc.ErrorInfo of an error, for clients to switch on.
// Its domain is authcontext.ErrorDomain.
const (
	ReasonMissingCredentials      = "MISSING_CREDENTIALS"
	ReasonAmbiguousCredentials    = "AMBIGUOUS_CREDENTIALS"
	ReasonInvalidSession          = "INVALID_SESSION"
	ReasonSessionExpired          = "SESSION_EXPIRED"
	ReasonVerificationFailed      = "VERIFICATION_FAILED"
	ReasonOriginNotAllowed        = "ORIGIN_NOT_ALLOWED"
	ReasonVerificationUnavailable = "VERIFICATION_UNAVAILABLE"
	ReasonUntrustedCaller         = "UNTRUSTED_CALLER"
	ReasonMalformedIdentity       = "MALFORMED_IDENTITY"
	ReasonIdentityNotForwarded    = "IDENTITY_NOT_FORWARDED"
	ReasonCredentialUnavailable   = "CREDENTIAL_UNAVAILABLE" //nolint:gosec // it is none
)

// failure is the error of a refused call. It knows nothing of the cause, so that
// nothing of it can leak, and it is shared by all calls that one verification
// refuses.
type failure struct {
	status *status.Status
	kind   telemetry.ErrorType
	is     error // the sentinel it matches; nil for none
	busy   bool  // too many verifications were under way to start another
	known  bool  // that there is no such session is known, and may be remembered
	by     trace.SpanContext
}

var (
	missingCredentials = newFailure(codes.Unauthenticated, "missing credentials",
		ReasonMissingCredentials, telemetry.MissingCredentials, nil)
	ambiguousCredentials = newFailure(codes.Unauthenticated, "ambiguous credentials",
		ReasonAmbiguousCredentials, telemetry.AmbiguousCredentials, nil)
	invalidSession = newFailure(codes.Unauthenticated, "invalid session",
		ReasonInvalidSession, telemetry.InvalidSession, ErrInvalidSession)
	expiredSession = newFailure(codes.Unauthenticated, "invalid session",
		ReasonSessionExpired, telemetry.SessionExpired, ErrInvalidSession)
	verificationFailed = newFailure(codes.Unauthenticated, "session verification failed",
		ReasonVerificationFailed, telemetry.VerificationFailed, nil)
	mappingFailed = newFailure(codes.Unauthenticated, "session mapping failed",
		ReasonVerificationFailed, telemetry.MappingFailed, nil)
	verificationUnavailable = newFailure(codes.Unavailable, "session verification unavailable",
		ReasonVerificationUnavailable, telemetry.VerificationUnavailable, ErrUnavailable)
	foreignOrigin = newFailure(codes.PermissionDenied, "origin not allowed",
		ReasonOriginNotAllowed, telemetry.OriginNotAllowed, nil)
	untrustedCaller = newFailure(codes.Unauthenticated, "untrusted caller",
		ReasonUntrustedCaller, telemetry.UntrustedCaller, nil)
	malformedIdentity = newFailure(codes.Unauthenticated, "malformed identity",
		ReasonMalformedIdentity, telemetry.MalformedIdentity, nil)
	// Of a client, before anything is sent.
	identityNotForwarded = newFailure(codes.Internal, "identity cannot be forwarded",
		ReasonIdentityNotForwarded, telemetry.NoError, nil)
	credentialUnavailable = newFailure(codes.Unauthenticated, "credential unavailable",
		ReasonCredentialUnavailable, telemetry.NoError, nil)
	credentialDelayed = newFailure(codes.Unavailable, "credential unavailable",
		ReasonCredentialUnavailable, telemetry.NoError, ErrUnavailable)
	noSuchSession = variant(invalidSession, func(f *failure) { f.known = true })
	tooBusy       = variant(verificationUnavailable, func(f *failure) { f.busy = true })
)

func newFailure(code codes.Code, message, reason string, kind telemetry.ErrorType, is error) *failure {
	return &failure{status: describe(status.New(code, message), reason), kind: kind, is: is}
}

func variant(f *failure, change func(*failure)) *failure {
	v := *f
	change(&v)
	return &v
}

func describe(st *status.Status, reason string) *status.Status {
	detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: authcontext.ErrorDomain})
	if err != nil {
		return st
	}
	return detailed
}

// Error returns the text of the status.
func (f *failure) Error() string { return f.status.String() }

// GRPCStatus makes f a gRPC status.
func (f *failure) GRPCStatus() *status.Status { return f.status }

// Is matches the sentinels, and those by which the cache knows what to do.
func (f *failure) Is(target error) bool {
	switch target {
	case cache.ErrRejected:
		return f.known
	case cache.ErrRefused:
		return f.is == ErrInvalidSession || f.kind == telemetry.VerifierStatus
	case cache.ErrUnavailable:
		return f.is == ErrUnavailable
	}
	return f.is != nil && target == f.is
}

// classify turns the error of a callback into what the client gets. otherwise is
// for errors that say nothing of their kind. The order matters: an error may wrap
// several.
func classify(err error, otherwise *failure) *failure {
	var netErr net.Error
	given, hasStatus := statusOf(err)
	switch {
	case errors.Is(err, ErrInvalidSession):
		return noSuchSession
	case errors.Is(err, ErrUnavailable), errors.As(err, &netErr), errors.Is(err, context.DeadlineExceeded):
		return unavailableFor(retryDelay(err, given))
	case !hasStatus:
		return otherwise
	}
	switch given.Code() { //nolint:exhaustive // every other code is passed on
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted:
		return unavailableFor(retryDelay(err, given))
	}
	return &failure{status: given, kind: telemetry.VerifierStatus}
}

// statusOf finds a status in err's tree. [status.FromError] would put the text of
// everything wrapped around it into its message. A status that says OK is none:
// an error must not turn into success.
func statusOf(err error) (*status.Status, bool) {
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return nil, false
	}
	st := carrier.GRPCStatus()
	return st, st.Code() != codes.OK
}

// maxRetryDelay bounds the delay that a client is told.
const maxRetryDelay = time.Hour

// unavailableError is the error of RetryAfter.
type unavailableError struct {
	delay time.Duration
	cause error
}

// RetryAfter returns an error for a callback to return when the session's owner is
// unavailable and has named the time after which to ask again. It wraps
// [ErrUnavailable] and cause, which may be nil. The client gets the delay as a
// google.rpc.RetryInfo, at most an hour; none if it is not positive.
func RetryAfter(delay time.Duration, cause error) error {
	return &unavailableError{delay, cause}
}

func (e *unavailableError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("%v: retry after %v", ErrUnavailable, e.delay)
	}
	return fmt.Sprintf("%v: retry after %v: %v", ErrUnavailable, e.delay, e.cause)
}

func (e *unavailableError) Unwrap() []error {
	if e.cause == nil {
		return []error{ErrUnavailable}
	}
	return []error{ErrUnavailable, e.cause}
}

// retryDelay finds the delay that an error or its status names; 0: none.
func retryDelay(err error, st *status.Status) time.Duration {
	if named, ok := errors.AsType[*unavailableError](err); ok {
		return named.delay
	}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}

func unavailableFor(delay time.Duration) *failure { return delayed(verificationUnavailable, delay) }

// delayed is f with the delay after which the client should try again, if it is positive.
func delayed(f *failure, delay time.Duration) *failure {
	if delay <= 0 {
		return f
	}
	return variant(f, func(f *failure) {
		info := &errdetails.RetryInfo{RetryDelay: durationpb.New(min(delay, maxRetryDelay))}
		if detailed, err := f.status.WithDetails(info); err == nil {
			f.status = detailed
		}
	})
}

// callerGone is the failure of a call whose own context has ended.
func callerGone(err error) *failure {
	return &failure{
		status: describe(status.FromContextError(err), ReasonVerificationUnavailable),
		kind:   telemetry.CallerGone,
	}
}

// answered turns the error of the cache, or of a call without one, into the
// failure of the call that ctx belongs to.
func answered(ctx context.Context, err error) *failure {
	var f *failure
	switch decided := errors.As(err, &f); {
	case decided && f.is == ErrInvalidSession: //nolint:errorlint // the sentinel itself
		return f
	case ctx.Err() != nil:
		return callerGone(ctx.Err())
	case decided:
		return f
	case errors.Is(err, cache.ErrRejected):
		return noSuchSession
	case errors.Is(err, cache.ErrBusy):
		return tooBusy
	case errors.Is(err, cache.ErrExpired):
		return expiredSession
	case errors.Is(err, context.DeadlineExceeded):
		return verificationUnavailable
	}
	return verificationFailed
}
