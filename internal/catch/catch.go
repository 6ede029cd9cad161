// Package catch runs callbacks that may panic, end their goroutine or never return,
// and turns each of these into an error.
package catch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrGoexit is the error of a callback that ended its goroutine with
// [runtime.Goexit], as testing.T.FailNow does.
var ErrGoexit = errors.New("catch: the callback called runtime.Goexit")

// PanicError is the error of a callback that panicked. Neither Error nor any fmt
// verb shows the value, which may hold anything.
type PanicError struct {
	Value any    // what was passed to panic; nil is possible, see Protect
	Stack []byte // the stack of the goroutine that panicked
}

// Error returns a fixed text.
func (*PanicError) Error() string { return "catch: the callback panicked" }

// Format implements [fmt.Formatter]: the same text for every verb.
func (e *PanicError) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.Error())) }

// Protect calls fn and returns nil when fn returned, or a [PanicError]. That fn did
// not return is what counts, not what recover says: under GODEBUG=panicnil=1 that
// is nil for panic(nil). A Goexit ends the calling goroutine all the same, as
// nothing can stop it: Protect does not return then, and [Call] is what survives it.
func Protect(fn func()) (err error) {
	returned := false
	defer func() {
		if r := recover(); !returned {
			err = &PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	fn()
	returned = true
	return nil
}

// Call runs fn in a goroutine of its own and returns its answer, or the error of
// ctx when that ends first: fn is then abandoned, its answer unused. A panic in
// fn is a [PanicError], a Goexit is [ErrGoexit]; both come with the zero value.
func Call[T any](ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		given := answer{err: ErrGoexit} // unless Protect returns
		defer func() { done <- given }()
		var a answer
		if err := Protect(func() { a.value, a.err = fn(ctx) }); err != nil {
			a = answer{err: err}
		}
		given = a
	}()
	select {
	case a := <-done:
		return a.value, a.err
	case <-ctx.Done():
	}
	select { // both were ready: an answer is worth more than a timeout
	case a := <-done:
		return a.value, a.err
	default:
		var zero T
		return zero, ctx.Err()
	}
}
