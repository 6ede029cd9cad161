package member_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
)

// verified is what a verification found out.
type verified struct {
	auth *authcontext.AuthContext
	at   time.Time // when another did; zero: nobody else
}

func (v *verified) AuthContext() *authcontext.AuthContext { return v.auth }
func (*verified) Session() any                            { return nil }
func (*verified) Tags() []cache.Tag                       { return []cache.Tag{ours} }

// held is a Store of one record.
type held struct {
	record []byte
	keep   time.Duration
	fetch  func(ctx context.Context)
}

func (h *held) Fetch(ctx context.Context, _ cache.Key, usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
	if h.fetch != nil {
		h.fetch(ctx)
	}
	if h.record != nil && usable(h.record) {
		return h.record, nil
	}
	return nil, func(record []byte, keep time.Duration) { h.record, h.keep = record, keep }
}

var policy = cache.Policy{TTL: time.Minute, NegativeTTL: time.Second}

// shares is a member with a shared cache.
func shares(t *testing.T, store *held) (*member.Shared[*verified], *member.Member) {
	t.Helper()
	m, _ := join(t, &line{})
	m.Lost(at(1))
	m.Heard(at(1), time.Now().Add(keep))
	return &member.Shared[*verified]{
		Store: store, Member: m, Policy: &policy, NotFound: cache.ErrNotFound,
		New: func(auth *authcontext.AuthContext, _ any, at time.Time) *verified { return &verified{auth, at} },
	}, m
}

// TestAStoreTakesAtMostHalfOfTheTime that there is to verify: a call is not refused because of it.
func TestAStoreTakesAtMostHalfOfTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := shares(t, &held{fetch: func(ctx context.Context) { <-ctx.Done() }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Resolve(ctx, cache.Key{}, nil, func(ctx context.Context) (*verified, error) {
			if left, ok := ctx.Deadline(); !ok || time.Until(left) != time.Second/2 {
				t.Errorf("verified with %v left", time.Until(left))
			}
			return &verified{auth: &authcontext.AuthContext{Subject: "x"}}, ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// TestWhatIsSharedIsOfNoUseAfterItsTime, which counts from the verification, nor of another order
// of time.
func TestWhatIsSharedIsOfNoUseAfterItsTime(t *testing.T) {
	good := &verified{auth: &authcontext.AuthContext{Subject: "x"}}
	for name, test := range map[string]struct {
		v      *verified
		err    error
		took   time.Duration // to verify
		later  time.Duration
		refuse bool
		shared bool
	}{
		"at once":                       {v: good, shared: true},
		"just before the TTL":           {v: good, later: time.Minute - 1, shared: true},
		"at the TTL":                    {v: good, later: time.Minute},
		"the verification counts":       {v: good, took: time.Second, later: time.Minute - time.Second},
		"a refusal":                     {err: cache.ErrNotFound, later: time.Second - 1, shared: true, refuse: true},
		"a refusal after its TTL":       {err: cache.ErrNotFound, later: time.Second},
		"what was not found out":        {err: errors.New("away")},
		"an identity that has expired":  {v: &verified{auth: &authcontext.AuthContext{Subject: "x", ExpiresAt: time.Date(2000, 1, 1, 0, 0, 10, 0, time.UTC)}}, later: 10 * time.Second},
		"an identity that has not, yet": {v: &verified{auth: &authcontext.AuthContext{Subject: "x", ExpiresAt: time.Date(2000, 1, 1, 0, 0, 10, 0, time.UTC)}}, later: 9 * time.Second, shared: true},
		"by a clock that was ahead":     {v: good, later: -time.Second, shared: true},
		"by one that was far ahead":     {v: good, later: -time.Second - 1},
	} {
		t.Run(name, func(t *testing.T) {
			var record []byte
			write := func(t *testing.T) {
				t.Helper()
				store := &held{}
				s, _ := shares(t, store)
				if test.later < 0 {
					time.Sleep(-test.later)
				}
				_, _ = s.Resolve(t.Context(), cache.Key{}, nil, func(context.Context) (*verified, error) {
					time.Sleep(test.took)
					return test.v, test.err
				})
				if record = store.record; record != nil && store.keep > time.Minute-test.took {
					t.Errorf("kept for %v", store.keep)
				}
			}
			synctest.Test(t, write)
			if shared := test.v != nil || errors.Is(test.err, cache.ErrNotFound); shared != (record != nil) {
				t.Fatalf("shared: %t", record != nil)
			}
			synctest.Test(t, func(t *testing.T) { // another, whose clock says the same
				s, _ := shares(t, &held{record: record})
				if test.later > 0 {
					time.Sleep(test.took + test.later)
				}
				asked := false
				v, err := s.Resolve(t.Context(), cache.Key{}, nil, func(context.Context) (*verified, error) {
					asked = true
					return good, nil
				})
				if asked == test.shared || errors.Is(err, cache.ErrNotFound) != test.refuse {
					t.Errorf("asked the owner: %t; %v", asked, err)
				}
				if test.shared && !test.refuse && !v.at.Equal(time.Now().Add(-max(0, test.later))) {
					t.Errorf("verified at %v", v.at)
				}
			})
		})
	}
}

// TestWhatWasForgottenIsNotShared: by a name of the session, or of the request, whoever was told.
func TestWhatWasForgottenIsNotShared(t *testing.T) {
	good := &verified{auth: &authcontext.AuthContext{Subject: "x"}}
	for name, test := range map[string]struct {
		err    error
		tag    cache.Tag
		asked  bool
		during bool // while it is verified
	}{
		"the session":                      {tag: ours, asked: true},
		"the request":                      {tag: cache.Tag{3}, asked: true},
		"the request of a refusal":         {tag: cache.Tag{3}, asked: true, err: cache.ErrNotFound},
		"another":                          {tag: others},
		"the session, during verification": {tag: ours, asked: true, during: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, m := shares(t, &held{})
			forget := func() { m.Apply(of(7, test.tag), at(2)) }
			resolve := func(err error, during func()) (asked bool) {
				_, _ = s.Resolve(t.Context(), cache.Key{}, []cache.Tag{{3}}, func(context.Context) (*verified, error) {
					asked = true
					during()
					return good, err
				})
				return asked
			}
			resolve(test.err, func() {
				if test.during {
					forget()
				}
			})
			if !test.during {
				forget()
			}
			if got := resolve(nil, func() {}); got != test.asked {
				t.Errorf("%s: asked the owner: %t", name, got)
			}
		})
	}
}
