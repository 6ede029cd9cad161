package reason_test

import (
	"fmt"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/reason"
)

func signInAgain() { fmt.Println("sign in again") }
func tryLater()    { fmt.Println("try later") }
func report(error) { fmt.Println("report it") }

// What a client does about a call that was refused.
func ExampleOf() {
	for _, err := range []error{refused(reason.SessionExpired), refused(reason.VerificationUnavailable), refused(reason.AccessDenied)} {
		switch reason.Of(err) {
		case reason.InvalidSession, reason.SessionExpired:
			signInAgain()
		case reason.VerificationUnavailable:
			tryLater()
		default: // see the documentation of the reasons
			report(err)
		}
	}
	// Output:
	// sign in again
	// try later
	// report it
}

// refused is an error as a client gets it.
func refused(why reason.Reason) error {
	st, err := status.New(codes.Unauthenticated, "refused").WithDetails(
		&errdetails.ErrorInfo{Reason: string(why), Domain: reason.Domain})
	if err != nil {
		return err
	}
	return st.Err()
}
