package redisfleet_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

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
