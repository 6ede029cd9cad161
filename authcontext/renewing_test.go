package authcontext_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

func TestRenewalsComeOneAtATime(t *testing.T) {
	r := authcontext.NewRenewable(identityOf("ada", 0))
	running, calls := atomic.Bool{}, 0
	authcontext.OnRenewal(r.NewContext(t.Context()), func(*authcontext.AuthContext) error {
		if !running.CompareAndSwap(false, true) {
			t.Error("two at a time")
			return nil
		}
		for range 100 {
			runtime.Gosched() // to whoever would come in between
		}
		calls++
		running.Store(false)
		return nil
	})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { _ = r.Renew(identityOf("ada", i)) })
	}
	wg.Wait()
	if calls != 8 {
		t.Errorf("%d calls, want 8", calls)
	}
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
