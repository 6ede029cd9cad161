package refusal

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Classify turns the error of a verify or map callback into what the client gets.
// otherwise is for errors that say nothing of their kind; outage, which may be nil, is
// the user's own opinion of what an outage is. The order matters: an error may wrap
// several.
func Classify(err error, otherwise *Refusal, outage func(error) bool) *Refusal {
	if errors.Is(err, ErrInvalidSession) {
		return NoSuchSession
	}
	if unavailable, delay := Unavailable(err); unavailable || outage != nil && outage(err) {
		r := VerificationUnavailable.Delayed(delay)
		if named, ok := errors.AsType[*unavailableError](err); ok && named.oneCaller {
			r = variant(r, func(v *Refusal) { v.delay = 0 })
		}
		return r
	}
	if st, ok := StatusOf(err); ok {
		return Given(st)
	}
	return otherwise
}

// unavailableCodes are those of a status that says no more than that the other side could
// not be asked. Canceled is one: a caller's own is looked at before.
var unavailableCodes = []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled}

// Unavailable reports whether an error says that somebody could not be asked, and the
// delay after which to ask again; 0: none is named.
func Unavailable(err error) (yes bool, delay time.Duration) {
	st, hasStatus := StatusOf(err)
	yes = errors.Is(err, ErrUnavailable) || IsOutage(err) ||
		hasStatus && slices.Contains(unavailableCodes, st.Code())
	if yes {
		delay = retryDelay(err, st)
	}
	return yes, delay
}

// IsOutage reports whether an error is one that network connections, HTTP clients and
// database drivers return when the other side cannot be reached, fails on the way, or is
// too slow:
//
//   - any net.Error of a connection: of a dial, of DNS or TLS, of an http.Client, a timeout,
//     the use of a closed connection
//   - an answer that was cut off: [io.ErrUnexpectedEOF], or the reset of an HTTP/2 stream
//   - [driver.ErrBadConn] and [sql.ErrConnDone]
//   - [context.DeadlineExceeded], and [context.Canceled]: a caller's own is looked at before
//
// It is not when a file is missing or an address cannot be parsed, though those are
// net.Errors by their type; nor a bare [io.EOF], which is how an empty answer reads, too; nor what
// can be told by its text alone, as database/sql's "database is closed".
func IsOutage(err error) bool {
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, io.ErrUnexpectedEOF, driver.ErrBadConn, sql.ErrConnDone,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, new(streamReset)) || anyIn(err, isConnectionError)
}

// streamReset is what the error of a reset HTTP/2 stream, whose type net/http does not
// export, lets [errors.As] turn it into: it goes by the names of the fields.
type streamReset struct {
	StreamID, Code uint32
	Cause          error
}

func (streamReset) Error() string { return "stream reset" }

// anyIn reports whether is holds for an error of err's tree.
func anyIn(err error, is func(error) bool) bool {
	if err == nil {
		return false
	}
	if is(err) {
		return true
	}
	switch wrapper := err.(type) { //nolint:errorlint // this walks the tree itself
	case interface{ Unwrap() error }:
		return anyIn(wrapper.Unwrap(), is)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(wrapper.Unwrap(), func(err error) bool { return anyIn(err, is) })
	}
	return false
}

// connectionErrnos are what a connection fails with. Errno is a net.Error whatever it is
// of: that a file is not there says nothing about the owner of sessions.
var connectionErrnos = []syscall.Errno{
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT,
	syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.ENOTCONN,
}

func isConnectionError(err error) bool {
	switch err := err.(type) { //nolint:errorlint // one node of the tree
	case syscall.Errno:
		return slices.Contains(connectionErrnos, err)
	case *url.Error:
		return err.Op != "parse" // which has met no network
	case *net.ParseError, *net.AddrError: // nor has this
		return false
	case net.Error:
		return true
	}
	return false
}

// StatusOf finds a status in err's tree. [status.FromError] would put the text of
// everything wrapped around it into its message. A status that says OK is none:
// an error must not turn into success.
func StatusOf(err error) (*status.Status, bool) {
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return nil, false
	}
	st := carrier.GRPCStatus()
	return st, st.Code() != codes.OK
}

// unavailableError is the error of RetryAfter and RetryCallerAfter.
type unavailableError struct {
	delay     time.Duration
	cause     error
	oneCaller bool
}

// RetryAfter returns an error that wraps ErrUnavailable and cause, which may be nil,
// and names the delay.
func RetryAfter(delay time.Duration, cause error) error {
	return &unavailableError{delay: delay, cause: cause}
}

// RetryCallerAfter is RetryAfter for a delay that one caller has brought about and that says
// nothing of others, such as a limit on one address: only that caller is told.
func RetryCallerAfter(delay time.Duration, cause error) error {
	return &unavailableError{delay: delay, cause: cause, oneCaller: true}
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
	if st == nil {
		return 0
	}
	return retryInfo(st)
}
