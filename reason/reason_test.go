package reason_test

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// describe is the error of a server that says more than a code.
func describe(t *testing.T, details ...protoadapt.MessageV1) error {
	t.Helper()
	st, err := status.New(codes.Unauthenticated, "invalid session").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

func TestTheReasonIsFound(t *testing.T) {
	ours := &errdetails.ErrorInfo{Reason: "INVALID_SESSION", Domain: reason.Domain}
	others := &errdetails.ErrorInfo{Reason: "QUOTA_EXCEEDED", Domain: "other.example"}
	for name, test := range map[string]struct {
		err  error
		want reason.Reason
	}{
		"of a status":                   {describe(t, ours), reason.InvalidSession},
		"behind other details":          {describe(t, &errdetails.RetryInfo{}, others, ours), reason.InvalidSession},
		"of a wrapped status":           {fmt.Errorf("call: %w", describe(t, ours)), reason.InvalidSession},
		"of one of several":             {errors.Join(errors.New("a"), describe(t, ours)), reason.InvalidSession},
		"of an error that has a status": {refusal.AccessDenied, reason.AccessDenied},
		"that is new":                   {describe(t, &errdetails.ErrorInfo{Reason: "NEW", Domain: reason.Domain}), "NEW"},
		"not of another domain":         {describe(t, others), ""},
		"not of no domain":              {describe(t, &errdetails.ErrorInfo{Reason: "INVALID_SESSION"}), ""},
		"not of a status without":       {status.Error(codes.Unauthenticated, "invalid session"), ""},
		"not of an error without":       {errors.New("INVALID_SESSION"), ""},
		"not of a status that is nil":   {withNil{}, ""},
		"not of nil":                    {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := reason.Of(test.err); got != test.want {
				t.Errorf("Of = %q", got)
			}
		})
	}
}

type withNil struct{}

func (withNil) Error() string              { return "" }
func (withNil) GRPCStatus() *status.Status { return nil }
