package fleet

import (
	"context"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// Store is a second level behind the caches of several replicas of one service, so
// that what one of them has verified serves them all; see interceptor.WithSharedCache. It may lose
// anything at any time, and must never take long: a call waits for it. Implementations must
// be safe to call concurrently, and keep records secret and unchanged: a record holds an
// identity, and is believed. One that panics is as good as none.
type Store interface {
	// Fetch returns the record of a key. usable says of a record that is found whether it
	// may be used, and is cheap; one that may not is as good as none. It is called before Fetch
	// returns, one at a time, and last with the record that is returned. If there is none,
	// it is the caller's turn to find out, and others who fetch the key wait for it as
	// far as the implementation can see to that, for a bounded time. settle, which is not
	// nil then, must be called once, and ends the turn: with a new record and for how
	// long to keep it, or with nil. An error is not told: then nothing is found.
	Fetch(ctx context.Context, key cache.Key, usable func(record []byte) bool) (record []byte, settle func(record []byte, keep time.Duration))
}

// Codec turns sessions, as verify returned them, into bytes and back, for
// interceptor.WithSharedCache. An error or a panic of Encode keeps a session out of the shared
// cache, one of Decode has it verified. Implementations must be safe to call concurrently.
type Codec interface {
	Encode(session any) ([]byte, error)
	Decode(data []byte) (session any, err error)
}
