package redisfleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
	"go.opentelemetry.io/otel/metric"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

const (
	minPoll = 2 * time.Millisecond
	maxPoll = 20 * time.Millisecond
	// leases is how many times Wait a turn lasts that nobody ends.
	leases = 2
	// turns is how many round trips a call makes that finds nothing: look, lock, settle.
	turns = 3
	// maxConnecting bounds one attempt to reach Redis.
	maxConnecting = 2 * time.Second
)

// Store is a fleet.Store in Redis. Make it with [NewStore]; it is safe for concurrent
// use and must be closed. Its keys begin "sessionauth:s:Name:", so that a
// cluster spreads them, and all of them expire. While Redis cannot be reached, or is slow, calls
// do without at once; one goroutine tries to reach it again, as long as there are calls.
type Store struct {
	config  Config
	sealer  sealer
	breaker breaker
	stats   storeStats

	metrics metric.Registration

	mu     sync.Mutex
	client rueidis.Client // nil: there is none yet, or none any more
}

type storeStats struct {
	hits, misses, waits, dropped, errors atomic.Uint64
}

// StoreStats is a snapshot of what a [Store] has done since it was made.
type StoreStats struct {
	// Reached is whether Redis is asked at the moment.
	Reached bool
	// Hits counts the records that were found and used, Misses the calls that found none
	// when Redis was asked.
	Hits, Misses uint64
	// Waits counts the calls that waited for another replica's verification.
	Waits uint64
	// Dropped counts values that could not be opened: of another secret or version, changed, or
	// moved from another key.
	Dropped uint64
	// Errors counts the round trips that failed.
	Errors uint64
}

// NewStore returns a Store. It starts to connect; that Redis is down is no error. The error names
// every field of config that is not valid. Of several secrets the first is used alone: while they
// rotate, replicas with another first secret share nothing.
func NewStore(config Config) (*Store, error) {
	config, err := config.check()
	if err != nil {
		return nil, err
	}
	s := &Store{config: config}
	for purpose, key := range map[string]*[]byte{"names": &s.sealer.names, "values": &s.sealer.values} {
		keys, err := config.derive(purpose)
		if err != nil {
			return nil, err
		}
		*key = keys[0]
	}
	s.sealer.prefix = "sessionauth:s:" + config.Name + ":"
	s.breaker = breaker{budget: config.Budget / turns, try: s.reach, shut: true}
	if s.metrics, err = s.observe(config.Meters); err != nil {
		return nil, err
	}
	s.breaker.passes()
	return s, nil
}

// Format implements [fmt.Formatter]: a fixed text, since there are keys in here.
func (*Store) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("redisfleet.Store")) }

// Close closes the connections. From then on nothing is found.
func (s *Store) Close() {
	_ = s.metrics.Unregister()
	s.breaker.close()
	s.mu.Lock()
	c := s.client
	s.client = nil
	s.mu.Unlock()
	if c != nil {
		c.Close() // without the lock, for which calls wait
	}
}

// Stats returns a snapshot. It is safe to call concurrently.
func (s *Store) Stats() StoreStats {
	return StoreStats{
		Reached: s.breaker.state(), Hits: s.stats.hits.Load(), Misses: s.stats.misses.Load(), Waits: s.stats.waits.Load(),
		Dropped: s.stats.dropped.Load(), Errors: s.stats.errors.Load(),
	}
}

// Fetch implements fleet.Store. It takes up to two round trips of three times the
// Budget at most each, settling a third one, and Wait while another replica verifies.
func (s *Store) Fetch(ctx context.Context, key cache.Key, usable func([]byte) bool) ([]byte, func([]byte, time.Duration)) {
	if !s.breaker.passes() {
		return nil, nil
	}
	f := fetch{store: s, key: key, name: s.sealer.name(key), usable: usable}
	record, ok := f.look(ctx)
	switch {
	case record != nil:
		s.stats.hits.Add(1)
		return record, nil
	case !ok:
		return nil, nil
	}
	s.stats.misses.Add(1)
	deadline := time.Now().Add(s.config.Wait)
	for poll := minPoll; ; poll = min(2*poll, maxPoll) {
		record, locked, ok := f.lock(ctx)
		switch {
		case record != nil:
			s.stats.hits.Add(1)
			return record, nil
		case locked:
			return nil, f.settle
		case !ok:
			return nil, nil
		case poll == minPoll:
			s.stats.waits.Add(1)
		}
		wait := poll/2 + rand.N(poll) //nolint:gosec // to spread load
		if time.Now().Add(wait).After(deadline) {
			return nil, f.settle // that one may never come
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, nil
		}
	}
}

// fetch is one call of Fetch.
type fetch struct {
	store  *Store
	key    cache.Key
	name   string
	usable func([]byte) bool
	until  time.Time // of the lock; zero: it is another's
}

// look looks for a record that may be used. It is false if that could not be found out.
func (f *fetch) look(ctx context.Context) (record []byte, ok bool) {
	results, err := f.store.ask(ctx, func(c rueidis.Client) rueidis.Commands {
		return rueidis.Commands{c.B().Get().Key(f.name).Build()}
	})
	if err != nil {
		return nil, false
	}
	return f.read(results[0]), true
}

// lock takes the turn to verify, if it is nobody else's, and looks once more.
func (f *fetch) lock(ctx context.Context) (record []byte, locked, ok bool) {
	lease := leases * f.store.config.Wait
	until := time.Now().Add(lease)
	results, err := f.store.ask(ctx, func(c rueidis.Client) rueidis.Commands {
		return rueidis.Commands{
			c.B().Set().Key(f.lockName()).Value("1").Nx().PxMilliseconds(max(1, lease.Milliseconds())).Build(),
			c.B().Get().Key(f.name).Build(),
		}
	})
	if err != nil {
		return nil, false, false
	}
	locked = results[0].Error() == nil
	if locked {
		f.until = until
	}
	if record = f.read(results[1]); record != nil && locked {
		f.settle(nil, 0) //nolint:contextcheck // the lock is to go even if the caller has
	}
	return record, locked, true
}

func (f *fetch) lockName() string { return f.name + ":lock" }

// read opens a value and asks whether it may be used.
func (f *fetch) read(result rueidis.RedisResult) []byte {
	data, err := result.AsBytes()
	if err != nil {
		return nil
	}
	record, err := f.store.sealer.open(f.key, f.name, data)
	if err != nil {
		f.store.stats.dropped.Add(1)
		return nil
	}
	if !f.usable(record) {
		return nil
	}
	return record
}

// settle stores a record and ends the turn. A lock that may be another's by now is left alone.
func (f *fetch) settle(record []byte, keep time.Duration) {
	s := f.store
	if !s.breaker.passes() {
		return
	}
	var sealed []byte
	if record != nil && keep >= time.Millisecond {
		var err error
		if sealed, err = s.sealer.seal(f.key, f.name, record); err != nil || len(sealed) > maxValue {
			sealed = nil
		}
	}
	unlock := time.Now().Add(3 * s.config.Budget).Before(f.until)
	if sealed == nil && !unlock {
		return
	}
	_, _ = s.ask(context.Background(), func(c rueidis.Client) rueidis.Commands {
		var commands rueidis.Commands
		if sealed != nil {
			commands = append(commands, c.B().Set().Key(f.name).Value(rueidis.BinaryString(sealed)).PxMilliseconds(keep.Milliseconds()).Build())
		}
		if unlock {
			commands = append(commands, c.B().Del().Key(f.lockName()).Build())
		}
		return commands
	})
}

// ask makes one round trip. Its error says that not all of it can be told, for whatever reason.
func (s *Store) ask(ctx context.Context, commands func(rueidis.Client) rueidis.Commands) ([]rueidis.RedisResult, error) {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	if c == nil || !s.breaker.passes() {
		return nil, errValue
	}
	began := time.Now()
	// Not with the caller's context: a connection that is made with it is everybody's, and
	// one caller that gives up would have the calls of the others fail.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*s.config.Budget)
	done := make(chan []rueidis.RedisResult, 1)
	go func() { // DoMulti does not end with the context while it connects
		defer cancel()
		done <- c.DoMulti(bounded, commands(c)...)
	}()
	var results []rueidis.RedisResult
	var err error
	select {
	case <-ctx.Done():
		if took := time.Since(began); took > s.breaker.budget { // who has no time learns that, too
			s.breaker.learn(took, nil)
		}
		return nil, ctx.Err()
	case results = <-done:
		for _, result := range results {
			if e := result.Error(); e != nil && !rueidis.IsRedisNil(e) {
				err = e
			}
		}
	case <-bounded.Done():
		err = bounded.Err()
	}
	s.breaker.learn(time.Since(began), err)
	if err != nil {
		s.stats.errors.Add(1)
	}
	return results, err
}

// reach makes the client, if there is none, and asks whether Redis answers.
func (s *Store) reach() (time.Duration, error) {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	if c == nil {
		var err error
		if c, err = rueidis.NewClient(s.config.Redis); err != nil {
			return 0, err
		}
		s.mu.Lock()
		s.client = c
		s.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxConnecting)
	defer cancel()
	// What writing needs, too: a replica, or a full server, is of no use.
	probe := c.B().Set().Key(s.sealer.prefix + "probe").Value("1").PxMilliseconds(1000).Build()
	began := time.Now()
	err := c.Do(ctx, probe).Error()
	return time.Since(began), err
}
