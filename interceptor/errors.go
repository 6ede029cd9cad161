package interceptor

import (
	"context"
	"errors"
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
	ErrUnavailable = refusal.ErrUnavailable
)

// RetryAfter returns an error for a callback to return when the session's owner is
// unavailable and has named the time after which to ask again. It wraps
// [ErrUnavailable] and cause, which may be nil. The client gets the delay as a
// google.rpc.RetryInfo, at most an hour; none if it is not positive.
func RetryAfter(delay time.Duration, cause error) error { return refusal.RetryAfter(delay, cause) }

// refusedLoad is a refusal as the cache understands it.
type refusedLoad struct{ *refusal.Refusal }

// Is matches the errors by which the cache knows what follows.
func (r refusedLoad) Is(target error) bool {
	switch target {
	case cache.ErrRejected:
		return r.Known()
	case cache.ErrRefused:
		return r.Final()
	case cache.ErrUnavailable:
		return errors.Is(r.Refusal, ErrUnavailable)
	}
	return r.Refusal.Is(target)
}

func (r refusedLoad) Unwrap() error { return r.Refusal }

// answered turns the error of the cache, or of a call without one, into the
// failure of the call that ctx belongs to.
func answered(ctx context.Context, err error) *refusal.Refusal {
	var f *refusal.Refusal
	switch decided := errors.As(err, &f); {
	case decided && errors.Is(f, ErrInvalidSession):
		return f
	case ctx.Err() != nil:
		return refusal.CallerGone(ctx.Err())
	case decided:
		return f
	case errors.Is(err, cache.ErrRejected):
		return refusal.NoSuchSession
	case errors.Is(err, cache.ErrBusy):
		return refusal.TooBusy
	case errors.Is(err, cache.ErrExpired):
		return refusal.SessionExpired
	case errors.Is(err, context.DeadlineExceeded):
		return refusal.VerificationUnavailable
	}
	return refusal.VerificationFailed
}
