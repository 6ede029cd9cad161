package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
)

const (
	name   = "simulation"
	secret = "only for a Redis that nobody else reaches" // and which ends with the run
	// publishers is how many of the followers publish, unless there are fewer.
	publishers = 10
	patience   = time.Minute
	perConn    = 16 << 10 // bytes of a buffer: rueidis has 512 KiB for a connection, twice
)

// load is what a run does.
type load struct {
	followers, rate int
	lag, duration   time.Duration
}

// result is what came of it. Rates are for each second, CPU is in cores.
type result struct {
	forgets, entries, deliveries float64
	replies                      float64 // by which Redis delivers: one may bring several entries
	redisCPU, ownCPU             float64
	bytes                        float64 // that Redis sends for a delivery
	kept                         float64 // that it keeps for an entry
	connections                  int
	lost                         uint64
	delays                       []time.Duration // sorted
}

func (r result) quantile(q float64) time.Duration {
	if len(r.delays) == 0 {
		return 0
	}
	return r.delays[int(q*float64(len(r.delays)-1))].Round(10 * time.Microsecond)
}

// follower notes how long after it was published each message is heard.
type follower struct {
	lag   time.Duration
	began []atomic.Int64 // when each message was published, by number, in ns since start
	start time.Time

	mu     sync.Mutex
	delays []time.Duration
}

// Lag implements fleet.Follower.
func (f *follower) Lag() time.Duration { return f.lag }

// Apply implements fleet.Follower.
func (f *follower) Apply(m fleet.Forgotten, _ fleet.Position) {
	if m.Number >= uint64(len(f.began)) {
		return
	}
	took := time.Since(f.start) - time.Duration(f.began[m.Number].Load())
	f.mu.Lock()
	f.delays = append(f.delays, took)
	f.mu.Unlock()
}

// Heard implements fleet.Follower.
func (*follower) Heard(fleet.Position, time.Time) {}

// Lost implements fleet.Follower.
func (*follower) Lost(fleet.Position) {}

// run makes one.
func (l load) run(ctx context.Context) (r result, err error) {
	redis, err := startRedis(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, redis.stop()) }()
	all, began := make([]*follower, l.followers), make([]atomic.Int64, 1+int(float64(l.rate)*l.duration.Seconds()))
	start := time.Now()
	for i := range all {
		all[i] = &follower{lag: l.lag, began: began, start: start}
	}
	buses, err := l.join(ctx, redis.addr, all)
	defer func() { err = errors.Join(err, closeAll(buses)) }()
	if err != nil {
		return r, err
	}
	before, lost := redis.usage(ctx), losses(buses)
	own, from := cpu(), time.Now()
	r.forgets = float64(l.publish(ctx, buses, began, start)) / time.Since(from).Seconds()
	took := time.Since(from).Seconds()
	after := redis.usage(ctx)
	if err := errors.Join(before.err, after.err, ctx.Err()); err != nil {
		return r, err
	}
	r.ownCPU, r.redisCPU = (cpu()-own).Seconds()/took, (after.cpu-before.cpu)/took
	r.entries = (after.added - before.added) / took
	r.deliveries = r.entries * float64(l.followers)
	r.replies = (after.reads - before.reads) / took
	r.bytes = (after.sent - before.sent) / took / r.deliveries
	r.kept = after.memory / after.length
	r.connections, r.lost = int(after.clients), losses(buses)-lost
	for _, f := range all {
		f.mu.Lock()
		r.delays = append(r.delays, f.delays...)
		f.mu.Unlock()
	}
	slices.Sort(r.delays)
	return r, nil
}

// join has each follow a Bus of its own, as a replica does, and returns when all hear it.
func (l load) join(ctx context.Context, addr string, all []*follower) (buses []*redisfleet.Bus, err error) {
	for _, f := range all {
		bus, err := redisfleet.NewBus(redisfleet.Config{
			Redis: rueidis.ClientOption{
				InitAddress: []string{addr}, ReadBufferEachConn: perConn, WriteBufferEachConn: perConn, RingScaleEachConn: 6,
			},
			Name: name, Secrets: []string{secret},
		})
		if err != nil {
			return buses, err
		}
		buses = append(buses, bus)
		if err := bus.Follow(f); err != nil {
			return buses, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, patience+2*l.lag)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		silent := 0
		for _, bus := range buses {
			if st := bus.Stats(); !st.Heard || st.Publishers < len(buses) {
				silent++
			}
		}
		if silent == 0 {
			return buses, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return buses, fmt.Errorf("%d of %d followers do not hear everybody: %w", silent, len(buses), ctx.Err())
		}
	}
}

// publish publishes at a steady rate, and returns how much was accepted.
func (l load) publish(ctx context.Context, buses []*redisfleet.Bus, began []atomic.Int64, start time.Time) int64 {
	var accepted atomic.Int64
	var wg sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(max(1, l.rate)))
	defer ticker.Stop()
	from := time.Now()
	for number := 1; number < len(began) && time.Since(from) < l.duration && ctx.Err() == nil; number++ {
		<-ticker.C
		wg.Go(func() {
			var tag cache.Tag
			copy(tag[:], fmt.Sprintf("%032d", number))
			began[number].Store(int64(time.Since(start)))
			bus := buses[number%min(len(buses), publishers)]
			if bus.Publish(ctx, fleet.Forgotten{By: 1, Number: uint64(number), Tags: []cache.Tag{tag}}) == nil {
				accepted.Add(1)
			}
		})
	}
	wg.Wait()
	return accepted.Load()
}

func losses(buses []*redisfleet.Bus) (n uint64) {
	for _, bus := range buses {
		n += bus.Stats().Lost
	}
	return n
}

func closeAll(buses []*redisfleet.Bus) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make([]error, len(buses))
	var wg sync.WaitGroup
	for i, bus := range buses {
		wg.Go(func() { errs[i] = bus.Close(ctx) })
	}
	wg.Wait()
	runtime.GC() // of what a run leaves, before the next is measured
	return errors.Join(errs...)
}

// cpu is the processor time that this process has had.
func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
