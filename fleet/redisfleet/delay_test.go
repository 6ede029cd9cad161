package redisfleet_test

import (
	"fmt"
	"slices"
	"testing"
	"time"
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
