package refusal_test

import (
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

func TestProblems(t *testing.T) {
	quoting, err := status.New(codes.Unauthenticated, "a\", b=\"c\r\n").WithDetails(&errdetails.ErrorInfo{Reason: string(reason.InvalidSession), Domain: reason.Domain})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		err                error
		problem, challenge string
		delay              int64
	}{
		"no credentials": {
			refusal.MissingCredentials,
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"missing credentials","reason":"MISSING_CREDENTIALS"}`, `Bearer realm="r"`, 0,
		},
		"two credentials": {
			refusal.AmbiguousCredentials,
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"ambiguous credentials","reason":"AMBIGUOUS_CREDENTIALS"}`,
			`Bearer realm="r", error="invalid_request", error_description="ambiguous credentials"`, 0,
		},
		"a bad credential": {
			refusal.SessionExpired,
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"invalid session","reason":"SESSION_EXPIRED"}`,
			`Bearer realm="r", error="invalid_token", error_description="invalid session"`, 0,
		},
		"not allowed": {
			refusal.AccessDenied,
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"access denied","reason":"ACCESS_DENIED"}`,
			`Bearer realm="r", error="insufficient_scope", error_description="access denied"`, 0,
		},
		"a page of others": {
			refusal.OriginNotAllowed,
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"origin not allowed","reason":"ORIGIN_NOT_ALLOWED"}`, "", 0,
		},
		"an outage": {
			refusal.VerificationUnavailable,
			`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"session verification unavailable","reason":"VERIFICATION_UNAVAILABLE"}`, "", 1,
		},
		"an outage with a delay": {
			refusal.VerificationUnavailable.Delayed(1001 * time.Millisecond),
			`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"session verification unavailable","reason":"VERIFICATION_UNAVAILABLE"}`, "", 2,
		},
		"the client has gone": {
			status.Error(codes.Canceled, "context canceled"),
			`{"type":"about:blank","title":"Client Closed Request","status":499,"detail":"context canceled"}`, "", 0,
		},
		"a callback's own status": {
			status.Error(codes.Unauthenticated, "sign in"),
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"sign in"}`, `Bearer realm="r", error="invalid_token"`, 0,
		},
		"one that has to be quoted": {
			quoting.Err(),
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"a\", b=\"c\r\n","reason":"INVALID_SESSION"}`,
			`Bearer realm="r", error="invalid_token"`, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := refusal.AnswerTo(row.err)
			if got := string(a.Problem()); got != row.problem {
				t.Errorf("got  %s\nwant %s", got, row.problem)
			}
			if got := a.Challenge("r"); got != row.challenge {
				t.Errorf("got %s, want %s", got, row.challenge)
			}
			if got := a.RetrySeconds(); got != row.delay {
				t.Errorf("retry after %d, want %d", got, row.delay)
			}
		})
	}
}
