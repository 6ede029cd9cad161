package catch_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCall(t *testing.T) {
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		fn       func(context.Context) (string, error)
		value    string
		err      error
		panicked any
	}{
		"returns a value":      {fn: func(context.Context) (string, error) { return "v", nil }, value: "v"},
		"returns an error":     {fn: func(context.Context) (string, error) { return "", failed }, err: failed},
		"panics":               {fn: func(context.Context) (string, error) { panic("boom") }, panicked: "boom"},
		"panics half way":      {fn: func(context.Context) (s string, err error) { s = "half"; panic(s) }, panicked: "half"},
		"calls Goexit":         {fn: func(context.Context) (string, error) { runtime.Goexit(); return "v", nil }, err: catch.ErrGoexit},
		"ends with ctx":        {fn: func(ctx context.Context) (string, error) { <-ctx.Done(); return "", failed }, err: failed},
		"does not end in time": {fn: func(context.Context) (string, error) { time.Sleep(time.Hour); return "v", nil }, err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				value, err := catch.Call(ctx, func(ctx context.Context) (string, error) {
					s, err := test.fn(ctx)
					return s, err
				})
				if panicked, ok := errors.AsType[*catch.PanicError](err); ok {
					if panicked.Value != test.panicked || !strings.Contains(string(panicked.Stack), "catch_test") {
						t.Errorf("%v, %s", panicked.Value, panicked.Stack)
					}
				} else if name != "ends with ctx" && !errors.Is(err, test.err) || test.panicked != nil {
					t.Errorf("%v, want %v", err, test.err)
				}
				if value != test.value {
					t.Errorf("%q, want %q", value, test.value)
				}
				time.Sleep(2 * time.Hour) // until what was abandoned has ended
			})
		})
	}
}

func TestProtect(t *testing.T) {
	if err := catch.Protect(func() {}); err != nil {
		t.Error(err)
	}
	err := catch.Protect(func() { panic("s3cr3t") })
	if panicked, ok := errors.AsType[*catch.PanicError](err); !ok || panicked.Value != "s3cr3t" || len(panicked.Stack) == 0 {
		t.Errorf("%v", err)
	}
}

// TestPanicsWithNil runs once more in a process in which recover returns nil for them.
func TestPanicsWithNil(t *testing.T) {
	const setting = "panicnil=1"
	if os.Getenv("GODEBUG") != setting {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicsWithNil$", "-test.count=1")
		again.Env = append(os.Environ(), "GODEBUG="+setting)
		if out, err := again.CombinedOutput(); err != nil {
			t.Errorf("with %s: %v\n%s", setting, err, out)
		}
	} else if recovered := recoverNil(); recovered != nil {
		t.Fatalf("the setting has no effect: %v", recovered)
	}
	value, err := catch.Call(t.Context(), func(context.Context) (string, error) { panic(nil) })
	if _, ok := errors.AsType[*catch.PanicError](err); !ok || value != "" {
		t.Errorf("Call: %q, %v", value, err)
	}
	if _, ok := errors.AsType[*catch.PanicError](catch.Protect(func() { panic(nil) })); !ok {
		t.Error("Protect: no error")
	}
}

func recoverNil() (recovered any) {
	defer func() { recovered = recover() }()
	panic(nil)
}

func TestNothingPrintsWhatWasPassedToPanic(t *testing.T) {
	err := &catch.PanicError{Value: "s3cr3t", Stack: []byte("s3cr3t")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		for _, v := range []any{err, struct{ E error }{err}, []error{err}, fmt.Errorf("while loading: %w", err)} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "s3cr3t") || strings.Contains(s, "733363723374") {
				t.Errorf("%s of %T prints %s", verb, v, s)
			}
		}
	}
}
