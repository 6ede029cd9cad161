package connectauth_test

import (
	"cmp"
	"errors"
	"net/http"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/doors/connectauth"
	"github.com/grpc-sessionauth/sessionauth/internal/doors"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// TestThisDoorAnswersAsTheOthers runs the cases of all doors through every protocol.
func TestThisDoorAnswersAsTheOthers(t *testing.T) {
	for _, c := range doors.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			overEach(t, func(t *testing.T, opts []connect.ClientOption) {
				d, err := doors.New()
				if err != nil {
					t.Fatal(err)
				}
				of := map[doors.Authn]connectauth.Authn{doors.BySession: d.Session, doors.ByOptionalSession: d.Optional, doors.ByGateway: d.Gateway}[c.By]
				guard := sessions(t, of, connectauth.WithAuthorizer(d.Rules))
				one, many := unary, duplex
				if c.Public {
					one, many = doors.PublicUnary, doors.PublicStream
				}
				s, mux := newService(), http.NewServeMux()
				// What they are called is what counts, and not where they are.
				mux.Handle(unary, connect.NewUnaryHandler(one, s.unary, guard, connect.WithIdempotency(connect.IdempotencyNoSideEffects)))
				mux.Handle(output, connect.NewServerStreamHandler(many, s.output, guard))
				mux.Handle(duplex, connect.NewBidiStreamHandler(many, s.duplex, guard))
				for kind, got := range (client{serve(t, mux), opts, c.Header}).each(t.Context()) {
					c := c
					c.Subject = cmp.Or(c.Subject, "nobody")
					if how := c.Differs(told(got)); how != "" {
						t.Errorf("%s: %s", kind, how)
					}
				}
			})
		})
	}
}

// told is what a client of Connect got.
func told(got outcome) doors.Answer {
	if got.err == nil {
		return doors.Answer{Subject: got.subject}
	}
	answer := refusal.Answer{Code: codes.Code(connect.CodeOf(got.err)), Reason: reasonOf(got.err)}
	if failed, ok := errors.AsType[*connect.Error](got.err); ok {
		answer.Message, answer.RetryAfter = failed.Message(), retryDelay(failed)
	}
	return doors.Answer{Refusal: answer}
}
