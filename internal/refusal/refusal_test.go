package refusal_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

func TestEveryRefusalIsAsDocumented(t *testing.T) {
	tests := []struct {
		refusal *refusal.Refusal
		code    codes.Code
		message string
		reason  reason.Reason
		kind    telemetry.ErrorType
		is      error
	}{
		{refusal.MissingCredentials, codes.Unauthenticated, "missing credentials", "MISSING_CREDENTIALS", telemetry.MissingCredentials, nil},
		{refusal.AmbiguousCredentials, codes.Unauthenticated, "ambiguous credentials", "AMBIGUOUS_CREDENTIALS", telemetry.AmbiguousCredentials, nil},
		{refusal.InvalidSession, codes.Unauthenticated, "invalid session", "INVALID_SESSION", telemetry.InvalidSession, refusal.ErrInvalidSession},
		{refusal.SessionExpired, codes.Unauthenticated, "invalid session", "SESSION_EXPIRED", telemetry.SessionExpired, refusal.ErrInvalidSession},
		{refusal.VerificationFailed, codes.Unauthenticated, "session verification failed", "VERIFICATION_FAILED", telemetry.VerificationFailed, nil},
		{refusal.MappingFailed, codes.Unauthenticated, "session mapping failed", "VERIFICATION_FAILED", telemetry.MappingFailed, nil},
		{refusal.VerificationUnavailable, codes.Unavailable, "session verification unavailable", "VERIFICATION_UNAVAILABLE", telemetry.VerificationUnavailable, refusal.ErrUnavailable},
		{refusal.OriginNotAllowed, codes.PermissionDenied, "origin not allowed", "ORIGIN_NOT_ALLOWED", telemetry.OriginNotAllowed, nil},
		{refusal.UntrustedCaller, codes.Unauthenticated, "untrusted caller", "UNTRUSTED_CALLER", telemetry.UntrustedCaller, nil},
		{refusal.MalformedIdentity, codes.Unauthenticated, "malformed identity", "MALFORMED_IDENTITY", telemetry.MalformedIdentity, nil},
		{refusal.AccessDenied, codes.PermissionDenied, "access denied", "ACCESS_DENIED", telemetry.AccessDenied, nil},
		{refusal.AuthorizationFailed, codes.PermissionDenied, "authorization failed", "AUTHORIZATION_FAILED", telemetry.AuthorizationFailed, nil},
		{refusal.AuthorizationUnavailable, codes.Unavailable, "authorization unavailable", "AUTHORIZATION_UNAVAILABLE", telemetry.AuthorizationUnavailable, refusal.ErrUnavailable},
		{refusal.IdentityNotForwarded, codes.Internal, "identity cannot be forwarded", "IDENTITY_NOT_FORWARDED", telemetry.NoError, nil},
		{refusal.CredentialUnavailable, codes.Unauthenticated, "credential unavailable", "CREDENTIAL_UNAVAILABLE", telemetry.NoError, nil},
		{refusal.CredentialDelayed, codes.Unavailable, "credential unavailable", "CREDENTIAL_UNAVAILABLE", telemetry.NoError, refusal.ErrUnavailable},
	}
	listed := slices.Clone(refusal.Table)
	for _, test := range tests {
		t.Run(string(test.reason)+" "+test.message, func(t *testing.T) {
			r := test.refusal
			if st := r.GRPCStatus(); st.Code() != test.code || st.Message() != test.message || reason.Of(r) != test.reason || r.Type != test.kind {
				t.Errorf("%v, reason %s, type %v", r, reason.Of(r), r.Type)
			}
			for _, sentinel := range []error{refusal.ErrInvalidSession, refusal.ErrUnavailable, context.Canceled, nil} {
				if got, want := errors.Is(r, sentinel), test.is != nil && sentinel == test.is; got != want {
					t.Errorf("errors.Is(%v) = %t", sentinel, got)
				}
			}
			if r.By.IsValid() || r.RetryAfter() != 0 || r.Busy() || r.Known() {
				t.Errorf("it knows what it cannot: %+v", r)
			}
			if i := slices.Index(listed, r); i >= 0 {
				listed = slices.Delete(listed, i, i+1)
			} else {
				t.Error("it is not in the Table")
			}
		})
	}
	if len(listed) > 0 {
		t.Errorf("the Table lists %v too", listed)
	}
}

func TestVariantsLeaveTheRefusalAlone(t *testing.T) {
	by := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
	r := refusal.VerificationUnavailable
	if delayed := r.Delayed(5); delayed == r || delayed.RetryAfter() != 5 || r.RetryAfter() != 0 || len(r.GRPCStatus().Details()) != 1 {
		t.Error("Delayed changed it")
	}
	if verified := r.VerifiedBy(by); !verified.By.Equal(by) || r.By.IsValid() {
		t.Error("VerifiedBy changed it")
	}
	for _, delay := range []int{0, -1} {
		if r.Delayed(0) != r || len(r.Delayed(-1).GRPCStatus().Details()) != 1 {
			t.Errorf("a delay of %d is told", delay)
		}
	}
	if !refusal.NoSuchSession.Known() || refusal.InvalidSession.Known() || !refusal.NoSuchSession.Final() {
		t.Error("NoSuchSession is not known, or InvalidSession is")
	}
	if !refusal.TooBusy.Busy() || refusal.VerificationUnavailable.Busy() || refusal.TooBusy.Final() {
		t.Error("TooBusy is not busy, or VerificationUnavailable is")
	}
}

func TestACallerThatHasGone(t *testing.T) {
	for name, test := range map[string]struct {
		refusal *refusal.Refusal
		code    codes.Code
		reason  reason.Reason
	}{
		"who gave up":                  {refusal.CallerGone(context.Canceled), codes.Canceled, reason.VerificationUnavailable},
		"whose time was up":            {refusal.CallerGone(context.DeadlineExceeded), codes.DeadlineExceeded, reason.VerificationUnavailable},
		"who gave up before its token": {refusal.CallerGoneFirst(context.Canceled), codes.Canceled, reason.CredentialUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			r := test.refusal
			if r.GRPCStatus().Code() != test.code || reason.Of(r) != test.reason || r.Type != telemetry.CallerGone || r.Final() {
				t.Errorf("%v, %s", r, reason.Of(r))
			}
		})
	}
}
