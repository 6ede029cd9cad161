package streams_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	refused "github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
)

// TestAFuncOfOnRenewalThatNeverReturnsHoldsUpNobodyElse: such as one that sends on a
// channel which its handler, gone by now, no longer receives from.
func TestAFuncOfOnRenewalThatNeverReturnsHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, stuck := &streams.Set{}, make(chan struct{})
		for range streams.MaxRechecks {
			ctx, w := watch(t.Context(), ada(time.Time{}), 0, in, still(ada(time.Time{})), called("stuck"))
			authcontext.OnRenewal(ctx, func(*authcontext.AuthContext) error {
				<-stuck
				return nil
			})
			in.Wake(called("stuck"))
			defer endOf(ctx, t, w, unavailable)
		}
		time.Sleep(time.Second)
		var asked atomic.Int64
		ctx, w := watch(t.Context(), ada(time.Time{}), 0, in,
			func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
				asked.Add(1)
				return ada(time.Time{}), nil
			}, called("other"))
		in.Wake(called("other"))
		time.Sleep(time.Minute)
		if err := w.Close(); err != nil || asked.Load() != 1 {
			t.Errorf("verified %d times, ended with %v, %v", asked.Load(), err, ctx.Err())
		}
		close(stuck)
		synctest.Wait()
		if _, _, v := in.Held(); v != 0 {
			t.Errorf("%d verifications are thought to run", v)
		}
	})
}

func TestASessionWhoseEndComesNear(t *testing.T) {
	for _, year := range []int{2125, 2290, 9999, 200_000} {
		t.Run(fmt.Sprint(year), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				ac := ada(time.Date(year, 12, 31, 0, 0, 0, 0, time.UTC))
				ctx, w := watch(t.Context(), ac, time.Minute, nil,
					func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
						if time.Since(start) < time.Hour {
							return ac, nil
						}
						return ada(start.Add(2 * time.Hour)), nil
					})
				if after := endOf(ctx, t, w, expired); after != 2*time.Hour {
					t.Errorf("ended after %v", after)
				}
			})
		})
	}
}

func TestAStreamThatIsClosedIsNotFoundAgain(t *testing.T) {
	in := &streams.Set{}
	_, w := watch(t.Context(), ada(time.Time{}), 0, in, still(ada(time.Time{})))
	_ = w.Close()
	if in.Retag(w, called("session", "2")) { // by a verification that was under way
		t.Error("something is said to have been forgotten meanwhile")
	}
	if s, tags, _ := in.Held(); s != 0 || tags != 0 {
		t.Errorf("held: %d streams, %d tags", s, tags)
	}
}

// TestAStreamThatIsClosedIsCollected: no timer of one that would have gone on for years
// holds it.
func TestAStreamThatIsClosedIsCollected(t *testing.T) {
	const n = 1000
	var closed [n]weak.Pointer[streams.Watch]
	for i := range closed {
		_, w := watch(t.Context(), ada(time.Time{}), 0, nil, nil)
		closed[i] = weak.Make(w)
		_ = w.Close()
	}
	runtime.GC()
	runtime.GC()
	held := 0
	for _, w := range closed {
		if w.Value() != nil {
			held++
		}
	}
	if held > n/2 { // the runtime forgets stopped timers by and by
		t.Errorf("%d of %d closed streams are still held", held, n)
	}
}
