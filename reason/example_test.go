package reason_test

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/reason"
)

// received stands for the error of a call.
func received(code codes.Code, message string, why reason.Reason) error {
	st, err := status.New(code, message).WithDetails(&errdetails.ErrorInfo{Reason: string(why), Domain: reason.Domain})
	if err != nil {
		return err
	}
	return st.Err()
}

// A client decides by the reason of a refusal, and never by its text.
func ExampleOf() {
	advice := map[reason.Reason]string{
		reason.InvalidSession:          "sign in again",
		reason.SessionExpired:          "sign in again",
		reason.VerificationUnavailable: "try later, still signed in",
		reason.AccessDenied:            "ask somebody for access",
		"":                             "not for us to say",
	}
	next := func(err error) string { return advice[reason.Of(err)] }
	fmt.Println(next(received(codes.Unauthenticated, "invalid session", reason.SessionExpired)))
	fmt.Println(next(received(codes.Unavailable, "session verification unavailable", reason.VerificationUnavailable)))
	fmt.Println(next(received(codes.PermissionDenied, "access denied", reason.AccessDenied)))
	fmt.Println(next(status.Error(codes.NotFound, "no such note")))
	// Output:
	// sign in again
	// try later, still signed in
	// ask somebody for access
	// not for us to say
}
