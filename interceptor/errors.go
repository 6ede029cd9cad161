package interceptor

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

var (
	// ErrInvalidSession says that there is no such session: unknown, signed out,
	// revoked or expired. A callback wraps it in its error; the client gets
	// Unauthenticated, and may be refused from memory from then on. The errors of
	// an [Authenticator] match it, too.
	ErrInvalidSession = refusal.ErrInvalidSession
	// ErrUnavailable says that the session's owner could not be asked, or did not
	// know for now. A callback wraps it in its error; the client gets Unavailable,
	// which clients retry, rather than Unauthenticated, which logs people out. The
	// errors of an [Authenticator] match it, too.
	//
	// The same is made of an error that wraps a [net.Error] of a connection, or an HTTP
	// client's [net/url.Error]; [io.ErrUnexpectedEOF]; [database/sql/driver.ErrBadConn] or
	// [database/sql.ErrConnDone]; [context.DeadlineExceeded], or a [context.Canceled] that is
	// not the caller's; a gRPC status Unavailable, DeadlineExceeded or ResourceExhausted; and
	// what [WithOutageErrors] says is one.
	ErrUnavailable = refusal.ErrUnavailable
)

// RetryAfter returns an error for a callback to return when the session's owner is
// unavailable and has named the time after which to ask again: until then, but for at most
// five minutes, nobody behind the same cache asks. It wraps [ErrUnavailable] and cause,
// which may be nil. The client gets the delay as a google.rpc.RetryInfo, at most an hour;
// none if it is not positive.
//
// It is for a delay that holds for all. A limit on one credential or one client's address
// is that client's to use up, who would keep everybody out: wrap [ErrUnavailable] then, and
// name no delay, neither so nor by the RetryInfo of a status.
func RetryAfter(delay time.Duration, cause error) error { return refusal.RetryAfter(delay, cause) }

// refusedLoad is a refusal as the cache understands it.
type refusedLoad struct{ *refusal.Refusal }

// Is matches the errors by which the cache knows what follows.
func (r refusedLoad) Is(target error) bool {
	switch target {
	case cache.ErrNotFound:
		return r.Known()
	case cache.ErrForbidden:
		return r.Final()
	case cache.ErrUnavailable:
		return errors.Is(r.Refusal, ErrUnavailable)
	}
	return false
}

func (r refusedLoad) Unwrap() error { return r.Refusal }

// answered turns the error of the cache, or of a call without one, into the
// refusal of the call that ctx belongs to.
func answered(ctx context.Context, err error) *refusal.Refusal {
	r, decided := errors.AsType[*refusal.Refusal](err)
	delay := time.Duration(0)
	if named, ok := errors.AsType[interface {
		error
		RetryAfter() time.Duration
	}](err); ok {
		delay = named.RetryAfter()
	}
	switch {
	case decided && errors.Is(r, ErrInvalidSession):
		return r
	case ctx.Err() != nil:
		return refusal.CallerGone(ctx.Err())
	case decided:
		return r
	case errors.Is(err, cache.ErrNotFound):
		return refusal.NoSuchSession
	case errors.Is(err, cache.ErrBusy):
		return refusal.TooBusy
	case errors.Is(err, cache.ErrExpired):
		return refusal.SessionExpired
	case errors.Is(err, cache.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return refusal.VerificationUnavailable.Delayed(delay)
	}
	return refusal.VerificationFailed
}

// prefixed puts the package's name, and what it is about, before each line of an error of another's.
func prefixed(what string, err error) error {
	var errs []error
	for line := range strings.Lines(err.Error()) {
		errs = append(errs, errors.New("interceptor: "+what+strings.TrimSuffix(line, "\n")))
	}
	return errors.Join(errs...)
}
