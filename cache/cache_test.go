package cache_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCache(tb testing.TB, policy cache.Policy) *cache.Cache[string] {
	tb.Helper()
	c, err := cache.New[string](policy)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// tag is a digest that no test needs to be keyed.
func tag(parts ...any) cache.Tag {
	digest := sha256.Sum256([]byte(fmt.Sprint(parts...)))
	return cache.Tag(digest[:16])
}

// loader counts its loads.
type loader struct {
	value   string
	expires time.Time
	err     error
	loads   atomic.Int64
}

func (l *loader) load(context.Context) (string, time.Time, error) {
	l.loads.Add(1)
	return l.value, l.expires, l.err
}

func TestPolicyIsValidated(t *testing.T) {
	for want, policy := range map[string]cache.Policy{
		"cache: TTL must be positive, got 0s":                   {},
		"cache: TTL must be positive, got -1s":                  {TTL: -time.Second},
		"cache: NegativeTTL must not be negative, got -1s":      {TTL: 1, NegativeTTL: -time.Second},
		"cache: VerifyTimeout must not be negative, got -1s":    {TTL: 1, VerifyTimeout: -time.Second},
		"cache: MaxEntries must not be negative, got -1":        {TTL: 1, MaxEntries: -1},
		"cache: MaxVerifies must not be negative, got -1":       {TTL: 1, MaxVerifies: -1},
		"cache: StaleIfError must not be negative, got -1s":     {TTL: 1, StaleIfError: -time.Second},
		"RefreshAfter must be less than TTL and not negative":   {TTL: time.Second, RefreshAfter: time.Second},
		"not negative, got -1s with a TTL of 1s":                {TTL: time.Second, RefreshAfter: -time.Second},
		"got 0s\ncache: NegativeTTL must not be negative, got ": {NegativeTTL: -1},
		"cache: NegativeTTL must not be negative, got -1ns":     {TTL: 1, NegativeTTL: -1},
		"cache: VerifyTimeout must not be negative, got -1ns":   {TTL: 1, VerifyTimeout: -1},
		"cache: StaleIfError must not be negative, got -1ns":    {TTL: 1, StaleIfError: -1},
		"cache: Patience must not be negative, got -1ns":        {TTL: 1, Patience: -1},
		"cache: MaxPerSubject must not be negative, got -1":     {TTL: 1, MaxPerSubject: -1},
		"not negative, got -1ns with a TTL of 1s":               {TTL: time.Second, RefreshAfter: -1},
		"not negative, got 2s with a TTL of 1s":                 {TTL: time.Second, RefreshAfter: 2 * time.Second},
	} {
		if c, err := cache.New[string](policy); c != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, %v, want an error with %q", policy, c, err, want)
		}
	}
}

// TestAPolicyOfTheLeastIsOne: and an error names no field that is valid.
func TestAPolicyOfTheLeastIsOne(t *testing.T) {
	for _, policy := range []cache.Policy{
		{TTL: 1}, {TTL: 2, RefreshAfter: 1}, {TTL: 1, NegativeTTL: 1, VerifyTimeout: 1, StaleIfError: 1, Patience: 1, MaxEntries: 1, MaxVerifies: 1, MaxPerSubject: 1},
	} {
		if _, err := cache.New[string](policy); err != nil {
			t.Errorf("New(%+v): %v", policy, err)
		}
	}
	if _, err := cache.New[string](cache.Policy{}); err == nil || err.Error() != "cache: TTL must be positive, got 0s" {
		t.Errorf("of no TTL it says: %v", err)
	}
}

func TestDo(t *testing.T) {
	key := cache.NewKey("k")
	type step struct {
		after  time.Duration
		result cache.Result
		err    error
	}
	bad := fmt.Errorf("no row: %w", cache.ErrNotFound)
	tests := map[string]struct {
		policy  cache.Policy
		expires time.Duration // 0: none
		err     error
		steps   []step
	}{
		"a value lives for its TTL, which a hit does not extend": {cache.Policy{TTL: 10 * time.Second}, 0, nil, []step{
			{0, cache.Miss, nil}, {9 * time.Second, cache.Hit, nil}, {time.Second - 1, cache.Hit, nil}, {1, cache.Miss, nil},
		}},
		"a value does not outlive its own expiry": {cache.Policy{TTL: 10 * time.Second}, 4 * time.Second, nil, []step{
			{0, cache.Miss, nil}, {4*time.Second - 1, cache.Hit, nil}, {1, cache.Miss, cache.ErrExpired}, {0, cache.Miss, cache.ErrExpired},
		}},
		"a refusal is not remembered": {cache.Policy{TTL: time.Second}, 0, bad, []step{
			{0, cache.Miss, bad}, {0, cache.Miss, bad},
		}},
		"a refusal is remembered for NegativeTTL": {cache.Policy{TTL: time.Second, NegativeTTL: 5 * time.Second}, 0, bad, []step{
			{0, cache.Miss, bad}, {5*time.Second - 1, cache.Negative, cache.ErrNotFound}, {1, cache.Miss, bad},
		}},
		"another error is not remembered": {cache.Policy{TTL: time.Second, NegativeTTL: 5 * time.Second}, 0, cache.ErrUnavailable, []step{
			{0, cache.Miss, cache.ErrUnavailable}, {0, cache.Miss, cache.ErrUnavailable},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, test.policy)
				l := &loader{value: "v", err: test.err}
				if test.expires > 0 {
					l.expires = time.Now().Add(test.expires)
				}
				for i, step := range test.steps {
					time.Sleep(step.after)
					before := l.loads.Load()
					_, inMemory := c.Get(key)
					v, result, err := c.Do(t.Context(), key, l.load)
					if result != step.result || !errors.Is(err, step.err) || (err == nil) != (step.err == nil) {
						t.Errorf("step %d: %v, %v, want %v, %v", i, result, err, step.result, step.err)
					}
					if (v == "v") != (err == nil) {
						t.Errorf("step %d: value %q with error %v", i, v, err)
					}
					if loaded := l.loads.Load() > before; loaded != (result == cache.Miss) || inMemory != (result == cache.Hit) {
						t.Errorf("step %d: %v, loaded %t, in memory %t", i, result, loaded, inMemory)
					}
				}
			})
		})
	}
}

func TestAnEndedContextStartsNoLoad(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := &loader{}
	if _, _, err := c.Do(ctx, cache.NewKey("k"), l.load); !errors.Is(err, context.Canceled) || l.loads.Load() != 0 {
		t.Errorf("%v after %d loads", err, l.loads.Load())
	}
}

// TestACallerThatGivesUp: it gets its own error, whether it began the load or not, and the
// load goes on for the others.
func TestACallerThatGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, cache.Policy{TTL: time.Minute})
		var wg sync.WaitGroup
		for i, cause := range []error{context.DeadlineExceeded, context.Canceled, nil} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			switch cause {
			case context.Canceled:
				time.AfterFunc(time.Second/2, cancel)
			case nil:
				ctx = t.Context()
			}
			wg.Go(func() {
				defer cancel()
				start := time.Now()
				v, result, err := c.Do(ctx, cache.NewKey("k"), func(context.Context) (string, time.Time, error) {
					time.Sleep(2 * time.Second)
					return "v", time.Time{}, nil
				})
				took := map[error]time.Duration{context.DeadlineExceeded: time.Second, context.Canceled: time.Second / 2, nil: 2 * time.Second}[cause]
				if !errors.Is(err, cause) || (v == "v") != (cause == nil) || result != cache.Shared || time.Since(start) != took {
					t.Errorf("caller %d: %q, %v, %v after %v", i, v, result, err, time.Since(start))
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if s := c.Stats(); s.Entries != 1 || s.Shared != 3 {
			t.Errorf("%+v", s)
		}
	})
}

// TestADeadlineOfTheLoadsOwnIsNoOutage: only Policy.VerifyTimeout says that the owner took
// too long; what else a load failed for is the load's to say.
func TestADeadlineOfTheLoadsOwnIsNoOutage(t *testing.T) {
	away(t, cache.Policy{}, 1, func(t *testing.T, c *cache.Cache[string], o *sessions) {
		o.set(func() { o.away = context.DeadlineExceeded })
		for range 2 {
			if result, err := o.call(t.Context(), c, "0"); result != cache.Miss || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, cache.ErrUnavailable) {
				t.Errorf("%v, %v", result, err)
			}
		}
	})
}

func TestOneLoadForManyCallers(t *testing.T) {
	for _, keys := range []int{1, 100} {
		t.Run(fmt.Sprintf("%d keys", keys), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const callers = 10_000
				c := newCache(t, cache.Policy{TTL: time.Minute})
				open := make(chan struct{})
				var loads atomic.Int64
				var wg sync.WaitGroup
				for i := range callers {
					wg.Go(func() {
						want := fmt.Sprint(i % keys)
						v, _, err := c.Do(t.Context(), cache.NewKey(want), func(context.Context) (string, time.Time, error) {
							loads.Add(1)
							<-open
							return want, time.Time{}, nil
						})
						if v != want || err != nil {
							t.Errorf("%q, %v, want %q", v, err, want)
						}
					})
				}
				synctest.Wait()
				close(open)
				wg.Wait()
				if got := loads.Load(); got != int64(keys) {
					t.Errorf("%d loads, want %d", got, keys)
				}
				want := cache.Stats{Entries: keys, Misses: uint64(keys), Shared: uint64(callers - keys)}
				if got := c.Stats(); got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
			})
		})
	}
}

// TestOneLoadWhenItIsOverAtOnce: a caller that has just missed the value must not load
// it again when the flight that it meant to join has landed already.
func TestOneLoadWhenItIsOverAtOnce(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Hour})
	for round := range 3000 {
		key, start := cache.NewKey(fmt.Sprint(round)), make(chan struct{})
		l := &loader{value: "v"}
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				<-start
				if _, _, err := c.Do(t.Context(), key, l.load); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if got := l.loads.Load(); got != 1 {
			t.Fatalf("round %d: %d loads", round, got)
		}
	}
}

func TestLoadsThatDoNotReturn(t *testing.T) {
	tests := map[string]struct {
		load func(context.Context) (string, time.Time, error)
		want error
		took time.Duration
	}{
		"panics":          {func(context.Context) (string, time.Time, error) { panic("boom") }, new(catch.PanicError), 0},
		"panics with nil": {func(context.Context) (string, time.Time, error) { panic(nil) }, new(catch.PanicError), 0},
		"calls Goexit":    {func(context.Context) (string, time.Time, error) { runtime.Goexit(); return "", time.Time{}, nil }, catch.ErrGoexit, 0},
		"ignores its context": {func(context.Context) (string, time.Time, error) {
			time.Sleep(time.Hour)
			return "late", time.Time{}, nil
		}, context.DeadlineExceeded, 3 * time.Second},
		"waits on its context": {func(ctx context.Context) (string, time.Time, error) { <-ctx.Done(); return "", time.Time{}, ctx.Err() }, context.DeadlineExceeded, 3 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute, VerifyTimeout: 3 * time.Second})
				start := time.Now()
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						v, _, err := c.Do(t.Context(), cache.NewKey("bad"), test.load)
						if _, want := errors.AsType[*catch.PanicError](test.want); want {
							if panicked, ok := errors.AsType[*catch.PanicError](err); !ok || len(panicked.Stack) == 0 {
								t.Errorf("%v", err)
							}
						} else if !errors.Is(err, test.want) {
							t.Errorf("%v, want %v", err, test.want)
						}
						if late := test.took > 0; errors.Is(err, cache.ErrUnavailable) != late {
							t.Errorf("%v, and that is an outage: %t", err, !late)
						}
						if v != "" {
							t.Errorf("value %q", v)
						}
					})
				}
				if v, _, err := c.Do(t.Context(), cache.NewKey("good"), (&loader{value: "v"}).load); v != "v" || err != nil {
					t.Errorf("another key: %q, %v", v, err)
				}
				wg.Wait()
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				time.Sleep(2 * time.Hour)
				if s := c.Stats(); s.NegativeEntries != 0 || s.InFlight != 0 {
					t.Errorf("%+v", s)
				}
				if v, result, err := c.Do(t.Context(), cache.NewKey("bad"), (&loader{value: "v"}).load); v != "v" || result != cache.Miss || err != nil {
					t.Errorf("the next load: %q, %v, %v", v, result, err)
				}
			})
		})
	}
}

func TestNothingPrintsKeysOrValues(t *testing.T) {
	c := newCache(t, cache.Policy{TTL: time.Hour})
	if _, _, err := c.Do(t.Context(), cache.NewKey("k"), (&loader{value: "s3cr3t"}).load); err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{c, cache.NewKey("k"), &catch.PanicError{Value: "s3cr3t", Stack: []byte("s3cr3t")}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
			if s := fmt.Sprintf(verb, v); s == "" || strings.Contains(s, "s3cr3t") || strings.Contains(s, "733363723374") || strings.Contains(s, "[") && !strings.Contains(s, "redacted") {
				t.Errorf("%s of %T prints %s", verb, v, s)
			}
		}
	}
}

func ExampleCache_Do() {
	c, err := cache.New[string](cache.Policy{TTL: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := func(context.Context) (string, time.Time, error) { return "ada", time.Time{}, nil }
	for range 2 {
		user, result, err := c.Do(context.Background(), cache.NewKey("bearer", "token"), load)
		fmt.Println(user, result, err)
	}
	// Output:
	// ada miss <nil>
	// ada hit <nil>
}
