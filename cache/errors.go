package cache

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

var (
	// ErrNotFound is wrapped by the error of a load that found out that there is
	// nothing behind the key: it is what NegativeTTL remembers, and the error
	// of a [Negative] result.
	ErrNotFound = errors.New("cache: not found")
	// ErrForbidden is wrapped by the error of a load that found something which must
	// not be served: it drops the entry, as ErrNotFound does, but nothing is
	// remembered.
	ErrForbidden = errors.New("cache: forbidden")
	// ErrUnavailable is wrapped by the error of a load that could not find out. It
	// is what StaleIfError helps against.
	ErrUnavailable = errors.New("cache: unavailable")
	// ErrBusy is the error when a load would be one too many: Policy.MaxVerifies are
	// under way, or several of the same key. It wraps ErrUnavailable, but says
	// nothing about the owner: a stale value is served for it only while the owner
	// is known to be away.
	ErrBusy = fmt.Errorf("%w: too many loads in flight", ErrUnavailable)
	// ErrForgotten is the error when one load after the other was overtaken by a
	// Forget. It wraps ErrUnavailable: the next call may be luckier.
	ErrForgotten = fmt.Errorf("%w: forgotten again and again while loading", ErrUnavailable)
	// ErrExpired is the error when a load returns a value that has expired
	// already. It is not stored.
	ErrExpired = errors.New("cache: the loaded value has expired")
)

// verdict is what the error of a load means for the cache.
type verdict uint8

const (
	found verdict = iota
	notFound
	forbidden // or expired
	unavailable
	unclear // anything else, a panic for one
)

// judge may call methods of errors that it knows nothing of: they can panic.
func judge(err error) verdict {
	switch {
	case err == nil:
		return found
	case errors.Is(err, ErrNotFound):
		return notFound
	case errors.Is(err, ErrForbidden), errors.Is(err, ErrExpired):
		return forbidden
	case errors.Is(err, ErrUnavailable):
		return unavailable
	}
	return unclear
}

// retryAfter returns the longest delay that err or one that it wraps names.
func retryAfter(err error) time.Duration {
	var longest time.Duration
	if d, ok := err.(interface{ RetryAfter() time.Duration }); ok {
		longest = d.RetryAfter()
	}
	switch e := err.(type) { //nolint:errorlint // this is the walk
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			longest = max(longest, retryAfter(inner))
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if inner != nil {
				longest = max(longest, retryAfter(inner))
			}
		}
	}
	return longest
}

// waitError is the error of a call that would have to ask an owner which named a
// delay.
type waitError struct{ left time.Duration }

// newWaitError adds a little to left, so that those who wait do not come all at once.
func newWaitError(left time.Duration) error {
	return waitError{left + rand.N(left/10+100*time.Millisecond)} //nolint:gosec // to spread load
}

func (waitError) Error() string { return "cache: unavailable: the owner is not to be asked yet" }

// Unwrap makes the error one of ErrUnavailable.
func (waitError) Unwrap() error { return ErrUnavailable }

// RetryAfter is how long to wait.
func (e waitError) RetryAfter() time.Duration { return e.left }
