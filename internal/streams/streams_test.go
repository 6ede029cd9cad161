package streams_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	refused "github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/streams"
)

// ends is how a watched session ends, as a client is told.
type ends struct {
	code            codes.Code
	message, reason string
}

var (
	expired     = ends{codes.Unauthenticated, "invalid session", "SESSION_EXPIRED"}
	invalid     = ends{codes.Unauthenticated, "invalid session", "INVALID_SESSION"}
	unavailable = ends{codes.Unavailable, "session verification unavailable", "VERIFICATION_UNAVAILABLE"}
	failed      = ends{codes.Unauthenticated, "session verification failed", "VERIFICATION_FAILED"}
	noMore      = ends{codes.PermissionDenied, "authorization failed", "AUTHORIZATION_FAILED"}
)

func (want ends) check(t *testing.T, err error) {
	t.Helper()
	st, ok := status.FromError(err)
	if !ok || err == nil {
		t.Fatalf("err = %v, want %+v", err, want)
	}
	got := ends{code: st.Code(), message: st.Message()}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			got.reason = info.GetReason()
		}
	}
	if got != want {
		t.Errorf("ended with %+v, want %+v", got, want)
	}
}

// verify is how a watch in a test verifies its session.
type verify = func(context.Context) (*authcontext.AuthContext, *refused.Refusal)

// watch starts to watch a session, as a stream does.
func watch(
	ctx context.Context, ac *authcontext.AuthContext, recheck time.Duration, in *streams.Set, again verify, tags ...streams.Tag,
) (context.Context, *streams.Watch) {
	s := streams.Session{Recheck: recheck, Streams: in, Tags: tags}
	if again != nil {
		s.Again = func(ctx context.Context) (streams.Found, *refused.Refusal) {
			ac, refused := again(ctx)
			if refused != nil {
				return streams.Found{}, refused
			}
			return found(ac), nil
		}
	}
	return streams.Start(ctx, found(ac), s)
}

// found is ac as a verification finds it, with the tags that tests call it by.
func found(ac *authcontext.AuthContext) streams.Found {
	f := streams.Found{Identity: authcontext.NewIdentity(ac, nil), Tags: []streams.Tag{called("subject", ac.Subject)}}
	if ac.SessionID != "" {
		f.Tags = append(f.Tags, called("session", ac.SessionID))
	}
	return f
}

func ada(expires time.Time, roles ...string) *authcontext.AuthContext {
	return &authcontext.AuthContext{Subject: "ada", Roles: roles, ExpiresAt: expires}
}

// still verifies a session as good and unchanged.
func still(ac *authcontext.AuthContext) verify {
	return func(context.Context) (*authcontext.AuthContext, *refused.Refusal) { return ac, nil }
}

// endOf waits for the end of a watched session and returns after how long it came.
func endOf(ctx context.Context, t *testing.T, w *streams.Watch, want ends) time.Duration {
	t.Helper()
	start := time.Now()
	<-ctx.Done()
	after := time.Since(start)
	want.check(t, context.Cause(ctx))
	want.check(t, w.Check())
	want.check(t, w.Close())
	return after
}

// stepped is a wall clock that can be set: a bubble of synctest has but one clock, which
// is the monotonic one of these tests.
func stepped(t *testing.T) *atomic.Int64 {
	t.Helper()
	step := &atomic.Int64{}
	t.Cleanup(streams.SetWallClock(func() time.Time { return time.Now().Add(time.Duration(step.Load())) }))
	return step
}

func TestAStepOfTheWallClockNeverExtendsAStream(t *testing.T) {
	const length = time.Minute
	forms := map[string]func(time.Time) time.Time{
		"with a monotonic reading": func(t time.Time) time.Time { return t },
		"parsed":                   func(t time.Time) time.Time { return t.Round(0).UTC() },
	}
	tests := map[string]struct {
		step     time.Duration // 15 s after the start
		recheck  time.Duration
		moved    time.Duration // by the owner, later than that
		earliest time.Duration
		latest   time.Duration
	}{
		"no step":                                   {0, 0, 0, length, length},
		"no step, and rechecks":                     {0, 7 * time.Second, 0, length, length},
		"forward, into the session":                 {20 * time.Second, 0, 0, 40 * time.Second, 40 * time.Second},
		"forward, past its end":                     {time.Hour, 0, 0, 15 * time.Second, 15*time.Second + streams.ClockTick},
		"forward, past its end, and rechecks":       {time.Hour, 7 * time.Second, 0, 15 * time.Second, 15*time.Second + streams.ClockTick},
		"backward":                                  {-time.Hour, 0, 0, length, length},
		"backward, and rechecks that say the same":  {-time.Hour, 7 * time.Second, 0, length, length},
		"backward, and the owner extends it":        {-time.Hour, 7 * time.Second, time.Minute, 2 * length, 2 * length},
		"no step, and the owner extends it":         {0, 7 * time.Second, time.Minute, 2 * length, 2 * length},
		"no step, and the owner shortens it":        {0, 7 * time.Second, -20 * time.Second, 40 * time.Second, 40 * time.Second},
		"backward, and the owner shortens it":       {-time.Hour, 7 * time.Second, -20 * time.Second, 40 * time.Second, 40 * time.Second},
		"forward, and the owner extends it as much": {time.Minute, 7 * time.Second, time.Minute, 15 * time.Second, 15*time.Second + streams.ClockTick},
	}
	for name, test := range tests {
		for form, strip := range forms {
			t.Run(name+", "+form, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					step := stepped(t)
					start := time.Now()
					ac := ada(strip(start.Add(length)))
					ctx, w := watch(t.Context(), ac, test.recheck, nil,
						func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
							if time.Since(start) > 16*time.Second && test.moved != 0 {
								return ada(strip(start.Add(length + test.moved))), nil
							}
							return ac, nil
						})
					time.Sleep(15 * time.Second)
					step.Store(int64(test.step))
					endOf(ctx, t, w, expired)
					if after := time.Since(start); after < test.earliest || after > test.latest {
						t.Errorf("ended after %v, want %v to %v", after, test.earliest, test.latest)
					}
				})
			})
		}
	}
}

func TestWhoUsesAStreamNoticesAStepOfTheWallClockAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := stepped(t)
		ctx, w := watch(t.Context(), ada(time.Now().Add(time.Minute)), 0, nil, nil)
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		step.Store(int64(time.Hour))
		expired.check(t, w.Check())
		expired.check(t, context.Cause(ctx))
	})
}

func TestASessionWithoutAnEnd(t *testing.T) {
	for name, at := range map[string]time.Time{"zero": {}, "the year 9999": time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ac := ada(at)
				ctx, w := watch(t.Context(), ac, time.Hour, nil, still(ac))
				time.Sleep(48 * time.Hour)
				if err := errors.Join(ctx.Err(), w.Check(), w.Close()); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if st := status.Convert(w.Check()); st.Code() != codes.Canceled || st.Message() != "the handler has returned" {
					t.Errorf("after its end: %v", st)
				}
			})
		})
	}
}

func TestAStreamThatCannotBeVerifiedEndsInABoundedTime(t *testing.T) {
	hang := func(ctx context.Context) (*authcontext.AuthContext, *refused.Refusal) {
		<-ctx.Done()
		return nil, refused.CallerGone(ctx.Err())
	}
	busy := func(context.Context) (*authcontext.AuthContext, *refused.Refusal) { return nil, refused.TooBusy }
	told := func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
		return nil, refused.TooBusy.Delayed(time.Hour)
	}
	for name, again := range map[string]verify{"its owner hangs": hang, "no slot": busy, "no slot for an hour": told} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := &streams.Set{}
				ctx, w := watch(t.Context(), ada(time.Time{}), 0, in, again, called("t1"))
				time.Sleep(time.Hour)
				synctest.Wait()
				in.Wake(called("t1"))
				if after := endOf(ctx, t, w, unavailable); after != streams.Patience {
					t.Errorf("after a Forget: ended after %v", after)
				}
				ctx, w = watch(t.Context(), ada(time.Time{}), time.Minute, in, again)
				if after := endOf(ctx, t, w, unavailable); after > time.Minute+streams.Patience {
					t.Errorf("by a recheck: ended after %v", after)
				}
				synctest.Wait()
				if s, tags, v := in.Held(); s != 0 || tags != 0 || v != 0 {
					t.Errorf("held: %d streams, %d tags, %d verifications", s, tags, v)
				}
			})
		})
	}
}

func TestAStreamOutlastsAWantOfSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &streams.Set{}
		var asked []time.Duration
		var start time.Time
		ctx, w := watch(t.Context(), ada(time.Time{}), 0, in,
			func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
				if asked = append(asked, time.Since(start)); len(asked)%10 != 0 {
					return nil, refused.TooBusy
				}
				return ada(time.Time{}), nil
			}, called("t1"))
		for range 3 { // the bound is for each verification, not for all of them
			start, asked = time.Now(), nil
			in.Wake(called("t1"))
			time.Sleep(time.Hour)
			synctest.Wait()
			if ctx.Err() != nil {
				t.Fatalf("ended with %v", context.Cause(ctx))
			}
			if len(asked) != 10 {
				t.Errorf("asked %d times, want 10", len(asked))
			}
			for i := 1; i < len(asked); i++ {
				if d := asked[i] - asked[i-1]; d < 250*time.Millisecond || d >= 500*time.Millisecond {
					t.Errorf("asked again after %v", d)
				}
			}
		}
		_ = w.Close()
	})
}

func TestAVerificationOfAStreamThatNeverReturnsAnything(t *testing.T) {
	for name, again := range map[string]verify{
		"panics": func(context.Context) (*authcontext.AuthContext, *refused.Refusal) { panic("boom") },
		"exits": func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
			runtime.Goexit()
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := &streams.Set{}
				ctx, w := watch(t.Context(), ada(time.Time{}), 0, in, again, called("t1"))
				in.Wake(called("t1"))
				if after := endOf(ctx, t, w, failed); after != 0 {
					t.Errorf("ended after %v", after)
				}
				synctest.Wait()
				if _, _, v := in.Held(); v != 0 {
					t.Errorf("%d verifications are thought to run", v)
				}
			})
		})
	}
}

func TestARecheckThatFindsAnotherSubjectEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, w := watch(t.Context(), ada(time.Time{}, "owner"), time.Minute, nil,
			still(&authcontext.AuthContext{Subject: "eve", Roles: []string{"reader"}}))
		endOf(ctx, t, w, invalid)
		if ac, _ := authcontext.FromContext(ctx); ac.Subject != "ada" {
			t.Errorf("the stream was given to %s", ac.Subject)
		}
	})
}

func TestAFuncOfOnRenewalEndsAStream(t *testing.T) {
	gone := status.Error(codes.FailedPrecondition, "the room is closed")
	for name, test := range map[string]struct {
		f    func() error
		want ends
		same error
	}{
		"a status":         {func() error { return gone }, ends{codes.FailedPrecondition, "the room is closed", ""}, gone},
		"a status, within": {func() error { return fmt.Errorf("secret: %w", gone) }, ends{codes.FailedPrecondition, "the room is closed", ""}, nil},
		"a refusal":        {func() error { return refused.AccessDenied }, ends{codes.PermissionDenied, "access denied", "ACCESS_DENIED"}, refused.AccessDenied},
		"another error":    {func() error { return errors.New("secret") }, noMore, nil},
		"a status, OK":     {func() error { return okStatus{} }, noMore, nil},
		"a panic":          {func() error { panic("secret") }, noMore, nil},
		"a Goexit":         {func() error { runtime.Goexit(); return nil }, failed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, w := watch(t.Context(), ada(time.Time{}), time.Minute, nil, still(ada(time.Time{}, "reader")))
				n := 0
				_, ok := authcontext.OnRenewal(ctx, func(*authcontext.AuthContext) error {
					if n++; n == 3 {
						return test.f()
					}
					return nil
				})
				if !ok {
					t.Fatal("not registered")
				}
				if after := endOf(ctx, t, w, test.want); after < 3*48*time.Second || after > 3*time.Minute {
					t.Errorf("ended after %v", after)
				}
				if cause := context.Cause(ctx); test.same != nil && cause != test.same {
					t.Errorf("ended with %v, want %v itself", cause, test.same)
				}
			})
		})
	}
}

type okStatus struct{}

func (okStatus) Error() string              { return "fine" }
func (okStatus) GRPCStatus() *status.Status { return status.New(codes.OK, "fine") }

// crowd are many open streams, whose verifications take a while.
type crowd struct {
	in      streams.Set
	start   time.Time
	mu      sync.Mutex
	began   []time.Duration // of each verification, since start
	running int
	most    int // at once
}

func (c *crowd) again(ctx context.Context) (*authcontext.AuthContext, *refused.Refusal) {
	c.mu.Lock()
	c.began = append(c.began, time.Since(c.start))
	c.running++
	c.most = max(c.most, c.running)
	c.mu.Unlock()
	time.Sleep(5 * time.Millisecond)
	c.mu.Lock()
	c.running--
	c.mu.Unlock()
	return ada(time.Time{}), nil
}

func (c *crowd) soFar() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.began)
}

// open opens n streams of one tag and returns how to close them.
func (c *crowd) open(t *testing.T, n int, recheck time.Duration) (closeAll func()) {
	t.Helper()
	c.start = time.Now()
	watches := make([]*streams.Watch, n)
	for i := range watches {
		_, watches[i] = watch(t.Context(), ada(time.Time{}), recheck, &c.in, c.again, called("t1"), called("n", fmt.Sprint(i)))
	}
	return func() {
		for _, w := range watches {
			if err := w.Close(); err != nil {
				t.Errorf("a stream ended: %v", err)
			}
		}
		synctest.Wait()
		if s, tags, v := c.in.Held(); s != 0 || tags != 0 || v != 0 {
			t.Errorf("held of streams that are closed: %d streams, %d tags, %d verifications", s, tags, v)
		}
	}
}

// densest is how many verifications began within the fullest such window.
func (c *crowd) densest(window time.Duration) int {
	slices.Sort(c.began)
	most := 0
	for i, first := 0, 0; i < len(c.began); i++ {
		for c.began[i]-c.began[first] >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestManyStreamsAreNotVerifiedAllAtOnce(t *testing.T) {
	all := func(in *streams.Set) { in.WakeAll() }
	one := func(in *streams.Set) { in.Wake(called("t1")) }
	for name, test := range map[string]struct {
		n       int
		forget  func(*streams.Set)
		atOnce  int           // that begin in the first instant, at most
		within  time.Duration // all have begun
		densest int           // that begin within 50 ms
	}{
		"a handful, by what they are called": {streams.SpreadBeyond, one, streams.SpreadBeyond, 0, streams.SpreadBeyond},
		"a hundred":                          {100, one, streams.SpreadBeyond + 2, 100 * time.Millisecond, 90},
		"two thousand of one session":        {2000, one, streams.SpreadBeyond + 2, time.Second, 200},
		"ten thousand":                       {10_000, one, streams.SpreadBeyond + 5, 1100 * time.Millisecond, 800},
		"two thousand, ForgetAll":            {2000, all, 3, time.Second, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &crowd{}
				closeAll := c.open(t, test.n, 0)
				test.forget(&c.in)
				synctest.Wait()
				if got := c.soFar(); got > test.atOnce {
					t.Errorf("%d begin at once, want at most %d", got, test.atOnce)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if len(c.began) != test.n {
					t.Errorf("%d verifications, want %d", len(c.began), test.n)
				}
				if last := slices.Max(c.began); last > test.within {
					t.Errorf("the last begins after %v, want %v", last, test.within)
				}
				if got := c.densest(50 * time.Millisecond); got > test.densest {
					t.Errorf("%d begin within 50 ms, want at most %d", got, test.densest)
				}
				if c.most > streams.MaxRechecks {
					t.Errorf("%d at once", c.most)
				}
				closeAll()
			})
		})
	}
}

func TestVerificationsOfStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The owner takes 100 ms: for 2,000 of them one after the other at the bound, 3.1 s.
		c := &crowd{}
		slow := func(ctx context.Context) (*authcontext.AuthContext, *refused.Refusal) {
			time.Sleep(95 * time.Millisecond)
			return c.again(ctx)
		}
		var watches []*streams.Watch
		var running, most atomic.Int64
		for range 2000 {
			_, w := watch(t.Context(), ada(time.Time{}), 0, &c.in, func(ctx context.Context) (*authcontext.AuthContext, *refused.Refusal) {
				most.Store(max(most.Load(), running.Add(1)))
				defer running.Add(-1)
				return slow(ctx)
			}, called("t1"))
			watches = append(watches, w)
		}
		c.start = time.Now()
		c.in.Wake(called("t1"))
		time.Sleep(500 * time.Millisecond)
		for _, w := range watches[1900:] { // some of them wait for their turn, or are verified
			_ = w.Close()
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, w := range watches[:1900] {
			if err := w.Check(); err != nil {
				t.Fatalf("ended: %v", err)
			}
			_ = w.Close()
		}
		if got := most.Load(); got != streams.MaxRechecks {
			t.Errorf("%d at once, want %d", got, streams.MaxRechecks)
		}
		if last := slices.Max(c.began); last > 4*time.Second {
			t.Errorf("the last begins after %v", last)
		}
		synctest.Wait()
		if s, tags, v := c.in.Held(); s != 0 || tags != 0 || v != 0 {
			t.Errorf("held: %d streams, %d tags, %d verifications", s, tags, v)
		}
	})
}

func TestRechecksAreSpreadAndNeverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{}
		closeAll := c.open(t, 300, time.Hour)
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		if len(c.began) != 300 {
			t.Errorf("%d rechecks in an hour, want 300", len(c.began))
		}
		if first, last := slices.Min(c.began), slices.Max(c.began); first < 48*time.Minute || last > time.Hour {
			t.Errorf("rechecks after %v to %v", first, last)
		}
		if got := c.densest(time.Second); got > 15 { // of 300 in 12 minutes
			t.Errorf("%d begin within a second", got)
		}
		closeAll()
	})
}

func TestAStreamIsFoundByItsTagsOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := &streams.Set{}
		var asked atomic.Int64
		again := func(context.Context) (*authcontext.AuthContext, *refused.Refusal) {
			asked.Add(1)
			return ada(time.Time{}), nil
		}
		var watches []*streams.Watch
		for range 3 { // neighbours in every list
			_, w := watch(t.Context(), ada(time.Time{}), 0, in, again, called("token"))
			watches = append(watches, w)
		}
		found := func(want int64, by ...string) {
			t.Helper()
			asked.Store(0)
			in.Wake(called(by...))
			time.Sleep(time.Second)
			synctest.Wait()
			if got := asked.Load(); got != want {
				t.Errorf("by %q: %d verified, want %d", by, got, want)
			}
		}
		found(3, "token")
		found(3, "subject", "ada")
		if in.Retag(watches[1], called("session", "2")) {
			t.Error("something is said to have been forgotten meanwhile")
		}
		found(3, "token")
		found(2, "subject", "ada")
		found(1, "session", "2")
		_ = watches[0].Close()
		_ = watches[1].Close()
		found(1, "token")
		found(1, "subject", "ada")
		found(0, "session", "2")
		_ = watches[2].Close()
		if s, tags, _ := in.Held(); s != 0 || tags != 0 {
			t.Errorf("held: %d streams, %d tags", s, tags)
		}
	})
}

func TestAnOpenStreamHoldsLittle(t *testing.T) {
	tags := make([]streams.Tag, 14) // of twelve cookies and more
	for i := range tags {
		tags[i] = called(fmt.Sprint(i))
	}
	const n = 10_000
	in, ac := &streams.Set{}, ada(time.Now().Add(time.Hour))
	watches := make([]*streams.Watch, n)
	again := still(ac)
	before := heapInUse()
	for i := range watches {
		_, watches[i] = watch(t.Context(), ac, time.Hour, in, again, tags...)
	}
	each := (heapInUse() - before) / n
	for _, w := range watches {
		_ = w.Close()
	}
	t.Logf("%d bytes for a stream with %d tags", each, len(tags))
	if each > 2500 {
		t.Errorf("a stream with %d tags holds %d bytes", len(tags), each)
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// called is the tag of a name.
func called(parts ...string) streams.Tag {
	key := cache.NewKey(parts...)
	return streams.Tag(key[:len(streams.Tag{})])
}
