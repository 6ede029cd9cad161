package redisfleet_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// BenchmarkDelay measures how long it takes until what one replica forgets has been heard by all
// others.
func BenchmarkDelay(b *testing.B) {
	for _, replicas := range []int{3, 100} {
		b.Run(fmt.Sprintf("%d followers", replicas), func(b *testing.B) {
			s := startRedis(b)
			publisher, _ := join(b, s.config(), lag)
			listeners := make([]*listener, replicas)
			for i := range listeners {
				_, listeners[i] = join(b, s.config(), 5*lag)
			}
			var delays []time.Duration
			for b.Loop() {
				began := time.Now()
				publish(b, publisher, 1)
				for _, l := range listeners {
					for e := range l.events {
						if e.what == "apply" {
							delays = append(delays, e.by.Sub(began))
							break
						}
					}
				}
			}
			slices.Sort(delays)
			for name, q := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99, "max-ms": 1} {
				b.ReportMetric(float64(delays[int(q*float64(len(delays)-1))].Microseconds())/1000, name)
			}
		})
	}
}

// BenchmarkVerifications is how many verifications one credential costs that all of so many replicas see
// at once, and the time until all have answered.
func BenchmarkVerifications(b *testing.B) {
	for _, replicas := range []int{1, 3, 10, 100} {
		b.Run(fmt.Sprintf("%d replicas", replicas), func(b *testing.B) {
			s, o := startRedis(b), &owner{}
			line := fleet.NewLocal()
			all := make([]*interceptor.Authenticator, replicas)
			stores := make([]*redisfleet.Store, min(replicas, 10)) // some share one: this is one machine
			for i := range stores {
				stores[i] = newStore(b, s.config())
			}
			for i := range all {
				all[i] = newAuth(b, o, long, interceptor.WithBus(line, secret), interceptor.WithSharedCache(stores[i%len(stores)], nil))
			}
			for n := 0; b.Loop(); n++ {
				var wg sync.WaitGroup
				for _, a := range all {
					wg.Go(func() { ask(b, a, fmt.Sprint("t", n), codes.OK) })
				}
				wg.Wait()
			}
			b.ReportMetric(float64(o.verified.Load())/float64(b.N), "verifications/op")
		})
	}
}

// BenchmarkFencedHit compares a hit in memory without and with a bus, its fence and a store, in
// turns of a random order within one process: the median of the ratios of neighbours.
func BenchmarkFencedHit(b *testing.B) {
	s, o := startRedis(b), &owner{}
	bus, store := newBus(b, s.config()), newStore(b, s.config())
	one := newAuth(b, o, long)
	fleet := newAuth(b, o, long, interceptor.WithBus(bus, secret), interceptor.WithLag(patientLag), interceptor.WithSharedCache(store, nil))
	hears(b, bus)
	const calls = 500
	header := http.Header{"Authorization": {"Bearer t1"}}
	slice := func(a *interceptor.Authenticator) time.Duration {
		began := time.Now()
		for range calls {
			if _, err := a.Authenticate(b.Context(), header); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(began)
	}
	slice(one)
	slice(fleet)
	var ratios, alone []float64
	for b.Loop() {
		var without, with time.Duration
		if rand.N(2) == 0 {
			without, with = slice(one), slice(fleet)
		} else {
			with, without = slice(fleet), slice(one)
		}
		ratios = append(ratios, float64(with)/float64(without))
		alone = append(alone, float64(without)/calls)
	}
	slices.Sort(ratios)
	slices.Sort(alone)
	b.ReportMetric(100*(ratios[len(ratios)/2]-1), "%-more")
	b.ReportMetric(alone[len(alone)/2], "ns/hit-alone")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWhileRedisFails measures calls that nobody has in memory, of an owner that answers at once, with
// Redis as it is by default and something wrong with it, against those without.
func BenchmarkWhileRedisFails(b *testing.B) {
	for _, fault := range []struct {
		name   string
		breaks func(s *server, p *proxy)
	}{
		{"nothing", func(*server, *proxy) {}},
		{"killed", func(s *server, _ *proxy) { s.kill() }},
		{"frozen", func(s *server, _ *proxy) { s.signal(syscall.SIGSTOP) }},
		{"full", func(s *server, _ *proxy) { s.do("CONFIG SET maxmemory 1") }},
		{"read-only", func(s *server, _ *proxy) { s.do("REPLICAOF 127.0.0.1 1") }},
		{"4 ms slow", func(_ *server, p *proxy) { p.delay.Store(int64(2 * time.Millisecond)) }},
		{"100 ms slow", func(_ *server, p *proxy) { p.delay.Store(int64(50 * time.Millisecond)) }},
		{"cut off", func(_ *server, p *proxy) { p.drop(true) }},
	} {
		b.Run(fault.name, func(b *testing.B) {
			s, o := startRedis(b), &owner{}
			p, addr := through(b, s.addr)
			c := redisfleet.Config{Redis: rueidis.ClientOption{InitAddress: addr}, Name: "test", Secrets: []string{secret}}
			without := newAuth(b, o, long)
			with := newAuth(b, o, long, interceptor.WithSharedCache(newStore(b, c), nil))
			fault.breaks(s, p)
			var alone, shared []time.Duration
			for n := 0; b.Loop(); n++ {
				token := fmt.Sprint("t", n)
				began := time.Now()
				ask(b, without, token, codes.OK)
				between := time.Now()
				ask(b, with, token, codes.OK)
				alone, shared = append(alone, between.Sub(began)), append(shared, time.Since(between))
			}
			slices.Sort(alone)
			slices.Sort(shared)
			b.ReportMetric(float64((shared[len(shared)/2]-alone[len(alone)/2]).Microseconds())/1000, "p50-more-ms")
			b.ReportMetric(float64((shared[len(shared)-1]-alone[len(alone)/2]).Microseconds())/1000, "max-more-ms")
			b.ReportMetric(0, "ns/op")
		})
	}
}
