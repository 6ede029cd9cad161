package interceptor

import (
	"context"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// SharedCache is a second level behind the caches of several replicas of one service, so
// that what one of them has verified serves them all; see [WithSharedCache]. It may lose
// anything at any time, and must never take long: a call waits for it. Implementations must
// be safe to call concurrently, and keep records secret and unchanged: a record holds an
// identity, and is believed. Module fleet/redisfleet has one over Redis.
type SharedCache interface {
	// Fetch returns the record of a key. usable says of a record that is found whether it
	// may be used, and is cheap; one that may not is as good as none. If there is none,
	// it is the caller's turn to find out, and others who fetch the key wait for it as
	// far as the implementation can see to that, for a bounded time. settle, which is not
	// nil then, must be called once, and ends the turn: with a new record and for how
	// long to keep it, or with nil. An error is not told: then nothing is found.
	Fetch(ctx context.Context, key cache.Key, usable func(record []byte) bool) (record []byte, settle func(record []byte, keep time.Duration))
}

// SessionCodec turns sessions, as verify returned them, into bytes and back, for
// [WithSharedCache]. An error of Encode keeps a session out of the shared cache, one of Decode
// has it verified. Implementations must be safe to call concurrently.
type SessionCodec interface {
	Encode(session any) ([]byte, error)
	Decode(data []byte) (session any, err error)
}

// maxRecord bounds what is shared of one session, in bytes.
const maxRecord = 64 << 10

// dated is an identity that another has verified.
type dated struct {
	error

	at time.Time
}

// VerifiedAt implements cache.Dated.
func (d dated) VerifiedAt() time.Time { return d.at }

// Unwrap returns the refusal.
func (d dated) Unwrap() error { return d.error }

// VerifiedAt implements cache.Dated.
func (id *identity) VerifiedAt() time.Time {
	if id == nil || id.verified == nil {
		return time.Time{}
	}
	return *id.verified
}

// resolveShared is resolve, unless another has found out already.
func (a *Authenticator) resolveShared(ctx context.Context, r *request, tags []cache.Tag) (*identity, error) {
	if a.shared == nil {
		return a.resolve(ctx, r)
	}
	at, ok := a.member.position()
	if !ok {
		return a.resolve(ctx, r)
	}
	var found time.Time
	var id *identity
	usable := func(data []byte) (good bool) {
		if err := catch.Protect(func() { id, found, good = a.judge(data, tags) }); err != nil { // the codec is the user's
			return false
		}
		return good
	}
	data, settle := a.shared.Fetch(ctx, r.key, usable)
	if settle == nil && data != nil {
		if id == nil {
			return nil, dated{refusedLoad{refusal.NoSuchSession}, found}
		}
		return id, nil
	}
	if settle == nil {
		return a.resolve(ctx, r)
	}
	settled := false
	defer func() {
		if !settled {
			settle(nil, 0)
		}
	}()
	began := time.Now()
	id, err := a.resolve(ctx, r)
	fresh, keep := a.recordOf(id, err, at, began)
	settled = true
	settle(fresh, keep)
	return id, err
}
