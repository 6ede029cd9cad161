package authcontext_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

func TestRenewalsComeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := authcontext.NewRenewable(identityOf("ada", 0))
		running, calls := make(chan struct{}, 1), 0
		authcontext.OnRenewal(r.NewContext(t.Context()), func(*authcontext.AuthContext) error {
			select {
			case running <- struct{}{}:
			default:
				t.Error("two at a time")
				return nil
			}
			time.Sleep(time.Second)
			calls++
			<-running
			return nil
		})
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { _ = r.Renew(identityOf("ada", i)) })
		}
		wg.Wait()
		if calls != 3 {
			t.Errorf("%d calls, want 3", calls)
		}
	})
}

// TestWhatIsUnregisteredIsNotHeld: a handler may register for each of its messages.
func TestWhatIsUnregisteredIsNotHeld(t *testing.T) {
	r := authcontext.NewRenewable(identityOf("ada", 1))
	held := func() weak.Pointer[[1 << 10]byte] {
		of := new([1 << 10]byte)
		stop, _ := authcontext.OnRenewal(r.NewContext(t.Context()), func(*authcontext.AuthContext) error {
			of[0]++
			return nil
		})
		stop()
		return weak.Make(of)
	}()
	runtime.GC()
	if held.Value() != nil {
		t.Error("what it refers to is held")
	}
	runtime.KeepAlive(r)
}
