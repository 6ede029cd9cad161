package refusal_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

func TestWhatAClientIsTold(t *testing.T) {
	given := status.New(codes.NotFound, "no such tenant")
	tests := map[string]struct {
		err     error
		http    int
		message string
		reason  string
		delay   time.Duration
	}{
		"a refusal":                   {refusal.MissingCredentials, http.StatusUnauthorized, "missing credentials", "MISSING_CREDENTIALS", 0},
		"one that is wrapped":         {fmt.Errorf("secret: %w", refusal.AccessDenied), http.StatusForbidden, "access denied", "ACCESS_DENIED", 0},
		"a delay":                     {refusal.VerificationUnavailable.Delayed(time.Minute), http.StatusServiceUnavailable, "session verification unavailable", "VERIFICATION_UNAVAILABLE", time.Minute},
		"a delay beyond all measure":  {refusal.VerificationUnavailable.Delayed(48 * time.Hour), http.StatusServiceUnavailable, "session verification unavailable", "VERIFICATION_UNAVAILABLE", time.Hour},
		"a caller that has gone":      {refusal.CallerGone(context.Canceled), 499, "context canceled", "VERIFICATION_UNAVAILABLE", 0},
		"a caller whose time was up":  {refusal.CallerGone(context.DeadlineExceeded), http.StatusGatewayTimeout, "context deadline exceeded", "VERIFICATION_UNAVAILABLE", 0},
		"a status of a callback":      {refusal.Given(given), http.StatusNotFound, "no such tenant", "", 0},
		"a status wrapped in secrets": {fmt.Errorf("secret: %w", given.Err()), http.StatusNotFound, "no such tenant", "", 0},
		"an error of another kind":    {errors.New("secret"), http.StatusInternalServerError, "internal error", "", 0},
		"a status that says OK":       {okError{}, http.StatusInternalServerError, "internal error", "", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := refusal.AnswerTo(test.err)
			if a.HTTP != test.http || a.Message != test.message || string(a.Reason) != test.reason || a.RetryAfter != test.delay ||
				a.Code != a.Status.Code() || a.Code == codes.OK {
				t.Errorf("%+v", a)
			}
		})
	}
}

type okError struct{}

func (okError) Error() string              { return "secret" }
func (okError) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

func TestEveryCodeHasAnHTTPStatusOfFailure(t *testing.T) {
	want := map[codes.Code]int{
		codes.OK: 500, codes.Canceled: 499, codes.Unknown: 500, codes.InvalidArgument: 400, codes.DeadlineExceeded: 504, codes.NotFound: 404,
		codes.AlreadyExists: 409, codes.PermissionDenied: 403, codes.ResourceExhausted: 429, codes.FailedPrecondition: 400, codes.Aborted: 409,
		codes.OutOfRange: 400, codes.Unimplemented: 501, codes.Internal: 500, codes.Unavailable: 503, codes.DataLoss: 500,
		codes.Unauthenticated: 401, codes.Code(99): 500,
	}
	for code, status := range want {
		if got := refusal.HTTPStatus(code); got != status {
			t.Errorf("%v: %d, want %d", code, got, status)
		}
	}
	for _, r := range refusal.Table {
		if r.HTTPStatus() != want[r.GRPCStatus().Code()] {
			t.Errorf("%v: %d", r, r.HTTPStatus())
		}
	}
}
