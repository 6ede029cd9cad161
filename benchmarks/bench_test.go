package main

import (
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// BenchmarkCall is for benchstat, and for profiles. Use -cpu 1,2,8.
func BenchmarkCall(b *testing.B) {
	for _, tokens := range []int{1, minutes.few, minutes.many} {
		if testing.Short() && tokens == minutes.many {
			continue // takes gigabytes
		}
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			all := tokensOf(tokens)
			variants := coreVariants(all)
			if tokens != minutes.many {
				variants = append(variants, moreVariants(all)...)
			}
			if tokens >= 8*missCapacity {
				variants = append(variants, missVariant(all))
			}
			for _, v := range variants {
				b.Run(strings.ReplaceAll(v.name, "`", ""), func(b *testing.B) {
					var goroutines atomic.Int64
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						i := startOf(int(goroutines.Add(1)-1), runtime.GOMAXPROCS(0), tokens)
						for pb.Next() {
							v.op(i)
							i = (i + stride) % tokens
						}
					})
					v.verify()
				})
			}
		})
	}
}

// BenchmarkRPC is a call over a connection.
func BenchmarkRPC(b *testing.B) {
	for _, transport := range transports {
		b.Run(transport, func(b *testing.B) {
			variants, stop := rpcVariants(minutes.few, transport)
			defer stop()
			for _, v := range variants {
				b.Run(v.name, func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i = (i + 1) % minutes.few {
						v.op(i)
					}
					v.verify()
				})
			}
		})
	}
}
