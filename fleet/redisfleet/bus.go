package redisfleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.opentelemetry.io/otel/metric"

	"github.com/grpc-sessionauth/sessionauth/fleet"
)

// ErrNotAccepted is wrapped by the errors of [Bus.Publish]: the other replicas may not have
// been told, or not yet, for it is sent again while the Bus is open.
var ErrNotAccepted = errors.New("redisfleet: the bus has not accepted the message")

var errClosed = fmt.Errorf("%w: the Bus is closed, or nobody has followed it", ErrNotAccepted)

const (
	// minLag is the shortest Lag that a Bus can keep.
	minLag = 100 * time.Millisecond
	// maxUnheard bounds the messages of this Bus that have not come back yet.
	maxUnheard = 4096
	// pulses is how many of them there are in a Lag.
	pulses = 4
)

// Bus is an fleet.Bus over one stream in Redis. Make it with [NewBus]; it is safe for
// concurrent use and must be closed. It connects when it is first followed, and uses one
// blocking connection and those of a rueidis client.
type Bus struct {
	config Config
	keys   [][]byte
	id     uint64
	client atomic.Pointer[rueidis.Client]
	stop   chan struct{} // closed by Close
	wake   chan struct{} // something is to be sent
	begun  chan struct{} // closed when the first pulse has been accepted
	done   sync.WaitGroup
	stats  busStats

	metrics metric.Registration

	mu        sync.Mutex
	closed    bool
	lag       time.Duration // of all followers
	followers []fleet.Follower
	number    uint64 // of messages
	out       []*outgoing
	pulse     uint64
	sent      map[uint64]time.Time // when the pulses were sent that have not come back
	epoch     uint64
	added     fleet.Position // of what was added last
	at        fleet.Position // of what was read last
	back      time.Time      // when the pulse was sent that came back last
	heard     time.Time      // everything accepted by then has been read, of whoever it is
	count     int            // of publishers
	made      time.Time
}

// outgoing is a message of this Bus.
type outgoing struct {
	number uint64
	data   []byte
	sent   time.Time     // zero: it is to be sent
	back   time.Time     // when it came back; zero: it has not
	heard  chan struct{} // closed then
}

// NewBus returns a Bus that nobody follows yet. The error names every field that is not valid.
func NewBus(config Config) (*Bus, error) {
	config, err := config.check()
	if err != nil {
		return nil, err
	}
	keys, err := config.derive("bus")
	if err != nil {
		return nil, err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	b := &Bus{
		config: config, keys: keys, id: binary.BigEndian.Uint64(id[:]), made: time.Now(), sent: map[uint64]time.Time{},
		stop: make(chan struct{}), wake: make(chan struct{}, 1), begun: make(chan struct{}),
	}
	if b.metrics, err = b.observe(config.Meters); err != nil {
		return nil, err
	}
	return b, nil
}

// Format implements [fmt.Formatter]: a fixed text, since there are keys in here.
func (*Bus) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redisfleet.Bus")) }

// Follow implements fleet.Bus. Its error says that the Lag is below 100 ms, or below that
// of who followed first, or that the Bus is closed.
func (b *Bus) Follow(follower fleet.Follower) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	lag := follower.Lag()
	switch {
	case b.closed:
		return errors.New("redisfleet: the Bus is closed")
	case lag < minLag:
		return fmt.Errorf("redisfleet: a Lag of %v is too short, want %v or more", lag, minLag)
	case len(b.followers) > 0 && lag < b.lag:
		return fmt.Errorf("redisfleet: a Lag of %v is below that of who followed first, %v", lag, b.lag)
	}
	b.followers = append(b.followers, follower)
	if len(b.followers) > 1 {
		follower.Lost(b.at)
		return nil
	}
	b.lag = lag
	b.done.Go(b.write)
	b.done.Go(b.read)
	return nil
}

// Publish implements fleet.Bus. It returns when the message has come back from the stream
// by which all replicas are told, which takes a round trip; at the latest after Lag, and at once
// if the stream has not been heard for that long.
func (b *Bus) Publish(ctx context.Context, f fleet.Forgotten) error {
	payload, err := f.MarshalBinary()
	if err != nil {
		return err
	}
	m, wait, err := b.enqueue(payload)
	if err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-m.heard:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotAccepted, ctx.Err())
	case <-b.stop:
		return errClosed
	case <-timer.C:
		return fmt.Errorf("%w: it did not come back in time", ErrNotAccepted)
	}
}

func (b *Bus) enqueue(payload []byte) (*outgoing, time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed || len(b.followers) == 0:
		return nil, 0, errClosed
	case len(b.out) >= maxUnheard:
		b.number++ // the others miss that one, and forget everything
		return nil, 0, fmt.Errorf("%w: too many have not come back", ErrNotAccepted)
	}
	b.number++
	e := envelope{kind: message, publisher: b.id, number: b.number, pulse: b.pulse, payload: payload}
	m := &outgoing{number: b.number, data: e.seal(b.keys[0]), heard: make(chan struct{})}
	b.out = append(b.out, m)
	select {
	case b.wake <- struct{}{}:
	default:
	}
	wait := b.lag
	if time.Since(b.back) > b.lag && !b.back.IsZero() {
		wait = b.lag / (10 * pulses)
	}
	return m, wait, nil
}

// Close says goodbye to the other replicas, which otherwise forget everything once when this one
// is gone, and ends the goroutines. From then on its followers are cut off. It returns
// when they have ended, or with the error of ctx. It may be called more than once.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.stop)
	}
	b.mu.Unlock()
	_ = b.metrics.Unregister() // not with the lock, for which a collection may wait
	ended := make(chan struct{})
	go func() {
		b.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect returns the client, and makes it if Redis can be reached.
func (b *Bus) connect() (rueidis.Client, error) {
	if c := b.client.Load(); c != nil {
		return *c, nil
	}
	c, err := rueidis.NewClient(b.config.Redis)
	if err != nil {
		return nil, err
	}
	b.client.Store(&c)
	return c, nil
}

// pause waits for a while, unless the Bus is closed: then it is false.
func (b *Bus) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-b.stop:
		return false
	}
}
