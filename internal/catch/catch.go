// Package catch runs the callbacks of users so that nothing they do ends the process or
// leaves somebody waiting.
package catch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrGoexit is the error of a callback that ended its goroutine with
// [runtime.Goexit], as testing.T.FailNow does.
var ErrGoexit = errors.New("the callback called runtime.Goexit")

// PanicError is the error of a callback that panicked. Neither Error nor any fmt
// verb shows the value, which may hold anything.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack of the goroutine that panicked
}

// Error returns a fixed text.
func (*PanicError) Error() string { return "the callback panicked" }

// Format implements [fmt.Formatter]: the same text for every verb.
func (e *PanicError) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.Error())) }

// Call runs fn in a goroutine of its own and returns its answer, or the error of
// ctx when that ends first: fn is then abandoned, its answer unused. A panic in
// fn is a [PanicError], a Goexit is [ErrGoexit].
func Call[T any](ctx context.Context, fn func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	done := make(chan answer, 1)
	go func() {
		a := answer{err: ErrGoexit}
		defer func() { done <- a }()
		a.value, a.err = Protect(func() (T, error) { return fn(ctx) })
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

// Protect runs fn and turns a panic, one with nil too, into a [PanicError]. A Goexit goes on.
func Protect[T any](fn func() (T, error)) (v T, err error) {
	returned := false
	defer func() {
		if r := recover(); r != nil || !returned && err == nil {
			var zero T
			v, err = zero, &PanicError{Value: r, Stack: debug.Stack()}
		}
	}()
	v, err = fn()
	returned = true
	return v, err
}
