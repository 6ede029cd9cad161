package fleet

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Local is a [Bus] within one process: for several Authenticators of one server, and for
// tests. It is never cut off. Make it with [NewLocal]. There is nothing to close.
type Local struct {
	mu        sync.Mutex
	at        Position
	followers []Follower
}

// NewLocal returns a bus that nobody follows yet.
func NewLocal() *Local { return &Local{at: Position{Epoch: rand.Uint64() | 1}} } //nolint:gosec // not a secret

// Publish implements [Bus]. Every follower has applied f when it returns.
func (b *Local) Publish(ctx context.Context, f Forgotten) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at.Number++
	for _, follower := range b.followers {
		follower.Apply(f, b.at)
	}
	return nil
}

// Follow implements [Bus].
func (b *Local) Follow(follower Follower) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.followers = append(b.followers, follower)
	follower.Lost(b.at)
	follower.Heard(b.at, time.Now().Add(math.MaxInt64))
	return nil
}
