package refusal

import (
	"net/http"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/reason"
)

// Answer is what a client is told of a refusal, whatever protocol it speaks.
type Answer struct {
	Code    codes.Code
	HTTP    int // the status code of an HTTP response; never one of success
	Message string
	Reason  reason.Reason // empty for a status of a callback's own
	// RetryAfter is the delay after which to try again, at most an hour; 0: none is named.
	RetryAfter time.Duration
	// Status is all of it, details included.
	Status *status.Status
}

// unknown is the answer to an error that says nothing which clients may know.
var unknown = status.New(codes.Internal, "internal error")

// AnswerTo returns what the client is told of err, which is not nil: an error of an
// Authenticator or an Authorizer. One that carries no status is an internal error, and its
// text is not told.
func AnswerTo(err error) Answer {
	st, ok := StatusOf(err)
	if !ok {
		st = unknown
	}
	return Answer{
		Code: st.Code(), HTTP: HTTPStatus(st.Code()), Message: st.Message(), Reason: reason.Of(st.Err()),
		RetryAfter: min(max(retryInfo(st), 0), maxDelay), Status: st,
	}
}

// statusClientClosed is what proxies log for a request whose client has gone. Nobody gets it.
const statusClientClosed = 499

// httpStatuses are those that google/rpc/code.proto names.
var httpStatuses = map[codes.Code]int{
	codes.Canceled:           statusClientClosed,
	codes.InvalidArgument:    http.StatusBadRequest,
	codes.DeadlineExceeded:   http.StatusGatewayTimeout,
	codes.NotFound:           http.StatusNotFound,
	codes.AlreadyExists:      http.StatusConflict,
	codes.PermissionDenied:   http.StatusForbidden,
	codes.ResourceExhausted:  http.StatusTooManyRequests,
	codes.FailedPrecondition: http.StatusBadRequest,
	codes.Aborted:            http.StatusConflict,
	codes.OutOfRange:         http.StatusBadRequest,
	codes.Unimplemented:      http.StatusNotImplemented,
	codes.Unavailable:        http.StatusServiceUnavailable,
	codes.Unauthenticated:    http.StatusUnauthorized,
}

// HTTPStatus returns the HTTP status code of a refusal with this gRPC code, as google/rpc/code.proto
// maps them; 500 for a code that is not there.
func HTTPStatus(code codes.Code) int {
	if known, ok := httpStatuses[code]; ok {
		return known
	}
	return http.StatusInternalServerError
}

// HTTPStatus is that of r; see [AnswerTo].
func (r *Refusal) HTTPStatus() int { return HTTPStatus(r.status.Code()) }

// retryInfo finds the delay in the details of a status; 0: none.
func retryInfo(st *status.Status) time.Duration {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
