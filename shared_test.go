package sessionauth_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// TestWhatIsDueToBeVerifiedAgain is verified by whoever gets to know of it then.
func TestWhatIsDueToBeVerifiedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, line, o := &store{}, fleet.NewLocal(), newOwner("t1")
		policy := interceptor.WithCache(cache.Policy{TTL: time.Hour, RefreshAfter: time.Minute})
		newcomer := func() asker {
			return asker{t, o, newAuth(t, o, policy, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(s, nil))}
		}
		newcomer().wants("the first", 1, codes.OK)
		time.Sleep(time.Minute - 1)
		newcomer().wants("before it is due", 0, codes.OK)
		time.Sleep(time.Nanosecond)
		newcomer().wants("when it is due", 1, codes.OK)
	})
}

// TestARecordIsKeptForWhatIsLeftOfItsTime, which began before its verification.
func TestARecordIsKeptForWhatIsLeftOfItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		takes   time.Duration
		expires time.Duration
		want    time.Duration
	}{
		"of the TTL":                 {3 * time.Second, 0, 7 * time.Second},
		"of the session":             {time.Second, 5 * time.Second, 3 * time.Second}, // from the answer on, and less what it took
		"nothing":                    {5 * time.Second, 4 * time.Second, 0},
		"all of it: it took no time": {0, 0, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var kept time.Duration
				s := &crooked{fetch: func(func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
					return nil, func(record []byte, keep time.Duration) {
						if record != nil {
							kept = keep
						}
					}
				}}
				a, err := interceptor.NewSessionAuth(func(context.Context, string, http.Header) (string, error) {
					time.Sleep(test.takes)
					return "s", nil
				}, func(context.Context, string) (*authcontext.AuthContext, error) {
					auth := &authcontext.AuthContext{Subject: "ada"}
					if test.expires > 0 {
						auth.ExpiresAt = time.Now().Add(test.expires - test.takes)
					}
					return auth, nil
				}, interceptor.WithCache(cache.Policy{TTL: 10 * time.Second, VerifyTimeout: 8 * time.Second}),
					interceptor.WithBus(fleet.NewLocal(), busSecret), interceptor.WithSharedCache(s, nil))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = a.Authenticate(t.Context(), bearerHeader("t1"))
				if kept != test.want {
					t.Errorf("for %v, want %v", kept, test.want)
				}
			})
		})
	}
}

// TestWhatIsSharedWithoutItsSession is of no use to those who have a codec, and what a codec said about one
// record says nothing about another.
func TestWhatIsSharedWithoutItsSession(t *testing.T) {
	line, o := fleet.NewLocal(), newOwner("t1")
	anybodys := func() ([]byte, error) { return []byte("anybody's"), nil }
	join := func(store fleet.Store, codec fleet.Codec) asker {
		return asker{t, o, newAuth(t, o, hour, interceptor.WithBus(line, busSecret), interceptor.WithSharedCache(store, codec))}
	}
	s := &crooked{decode: anybodys}
	join(s, nil).wants("the first", 1, codes.OK)
	join(s, s).wants("one with a codec", 1, codes.OK)
	join(s, s).wants("the next", 0, codes.OK) // of what that has stored

	record := slices.Collect(maps.Values(s.records))[0]
	s.fetch = func(usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
		if s.decode = anybodys; !usable(record) {
			t.Error("it may not be used")
		}
		s.decode = func() ([]byte, error) { panic("x") }
		if usable(record) {
			t.Error("it may be used")
		}
		return record, nil
	}
	join(s, s).wants("one that makes the codec panic", 1, codes.OK)
}
