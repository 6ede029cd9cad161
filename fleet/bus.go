// Package fleet is how several Authenticators act as one: what an Authenticator asks of a
// [Bus], by which all forget what one of them is told to, and of a [Store], from which all are
// served what one of them has verified. interceptor.WithBus and interceptor.WithSharedCache
// take them. [NewLocal] is a bus within one process.
package fleet

import (
	"context"
	"time"
)

// DefaultLag is how long a bus may go unheard where interceptor.WithLag does not say.
const DefaultLag = time.Second

// Bus carries what one Authenticator forgets to the others of a fleet, such as those of
// other replicas, in one order; see interceptor.WithBus. [NewLocal] is one in a process. Implementations must be safe to call concurrently.
type Bus interface {
	// Publish sends f and returns nil when the bus has accepted it: then every follower
	// applies it before it hears of any later time. An error says that the others may
	// not hear of it; it is what Forget returns. Publish is called after f was forgotten
	// here, with Forget's context.
	Publish(ctx context.Context, f Forgotten) error
	// Follow is called once by interceptor.NewSessionAuth. From then on the implementation calls
	// the methods of follower, one at a time, until it is closed. The error says why it
	// cannot be followed, for instance because the follower's Lag is too short; the
	// constructor returns it.
	Follow(follower Follower) error
}

// Follower is told by a [Bus] of what was published, in order. Its methods do not block,
// and are called one at a time.
type Follower interface {
	// Lag is the time within which the bus must be heard. An implementation says that it is
	// there, with Heard, several times in it.
	Lag() time.Duration
	// Apply forgets what was published, by this follower as well. To apply one twice does
	// no harm.
	Apply(f Forgotten, at Position)
	// Heard says that every message which the bus had accepted by a certain time has been
	// applied, and that none was missed since the last Lost. by is a time of this process
	// with its monotonic reading, the beginning of the round trip that brought the news;
	// at is the position of the newest message, or that of Lost if there was none.
	Heard(at Position, by time.Time)
	// Lost says that messages may have been missed, and is called when the bus is first
	// followed, too. Everything is forgotten. What is applied from then on is every
	// message after this position, which should reach back as far as the bus does.
	Lost(from Position)
}

// Position is a place in the order of a [Bus]. Positions of two epochs, which are two orders,
// cannot be compared.
type Position struct {
	Epoch  uint64 // random; never 0
	Number uint64
	Part   uint64 // among those with the same Number
}

// After reports whether p is later than other. It is false for those of two epochs.
func (p Position) After(other Position) bool {
	if p.Epoch != other.Epoch {
		return false
	}
	return p.Number > other.Number || p.Number == other.Number && p.Part > other.Part
}
