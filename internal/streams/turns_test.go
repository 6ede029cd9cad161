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

// counted counts verifications of good sessions, which take a while.
type counted struct {
	takes               time.Duration
	asked, running, two atomic.Int64
}

func (c *counted) again(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
	c.asked.Add(1)
	if c.running.Add(1) > 1 {
		c.two.Add(1)
	}
	time.Sleep(c.takes)
	c.running.Add(-1)
	return ada(time.Time{}), nil
}

func TestWhenASessionIsVerifiedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		recheck, takes time.Duration
		wakes          func(w *streams.Watch)
		want           int64 // verifications
	}{
		"a Forget does not wait for the recheck": {time.Hour, 0, func(w *streams.Watch) { w.Wake(0) }, 1},
		"a later one does not postpone the first": {0, 0, func(w *streams.Watch) {
			w.Wake(time.Second)
			w.Wake(time.Hour)
		}, 1},
		"one that comes during a verification has another follow it": {0, time.Second, func(w *streams.Watch) {
			w.Wake(0)
			time.Sleep(100 * time.Millisecond)
			w.Wake(0)
			w.Wake(0)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &counted{takes: test.takes}
				_, w := watch(t.Context(), ada(time.Time{}), test.recheck, &streams.Set{}, c.again)
				test.wakes(w)
				time.Sleep(5 * time.Second)
				if got := c.asked.Load(); got != test.want || c.two.Load() != 0 {
					t.Errorf("%d verifications, want %d; %d beside another", got, test.want, c.two.Load())
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAStreamThatNobodyCanBeAskedAboutGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := watch(t.Context(), ada(time.Time{}), time.Minute, &streams.Set{}, nil)
		w.Wake(0)
		time.Sleep(time.Hour)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestAForgetByANameThatAVerificationBrings: while that runs, the stream cannot be found
// by it.
func TestAForgetByANameThatAVerificationBrings(t *testing.T) {
	for name, forget := range map[string]func(*streams.Set){
		"by it": func(in *streams.Set) { in.Wake(called("session", "2")) },
		"all":   (*streams.Set).WakeAll,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := &streams.Set{}
				asked := 0
				ctx, w := watch(t.Context(), ada(time.Time{}), 0, in,
					func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
						if asked++; asked > 1 {
							return nil, refused.InvalidSession
						}
						forget(in)
						return &authcontext.AuthContext{Subject: "ada", SessionID: "2"}, nil
					}, called("t1"))
				in.Wake(called("t1"))
				if after := endOf(ctx, t, w, invalid); after != 0 {
					t.Errorf("ended after %v", after)
				}
			})
		})
	}
}

func TestADelayThatIsNamedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, start := &streams.Set{}, time.Now()
		var asked []time.Duration
		_, w := watch(t.Context(), ada(time.Time{}), 0, in,
			func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
				if asked = append(asked, time.Since(start)); len(asked) == 1 {
					return nil, refused.TooBusy.Delayed(3 * time.Second)
				}
				return ada(time.Time{}), nil
			}, called("t1"))
		in.Wake(called("t1"))
		time.Sleep(time.Minute)
		if err := w.Close(); err != nil || len(asked) != 2 || asked[1] < 3*time.Second {
			t.Errorf("asked after %v; %v", asked, err)
		}
	})
}
