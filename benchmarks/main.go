package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"
)

// scale says how long a run takes.
type scale struct {
	few, many     int // tokens, beside one
	rounds        int // of the core variants
	slice         time.Duration
	held          int // sessions in memory
	expiring      int
	callers       int // of the stampede
	stampedes     int
	streams       int
	garbage       time.Duration
	rpcRounds     int
	ownerAnswers  time.Duration
	expireSeconds int
	watched       time.Duration // lookups, while entries expire
}

var (
	minutes = scale{
		few: 10_000, many: 1_000_000, rounds: 60, slice: 20 * time.Millisecond, held: 1_000_000, expiring: 1_000_000, callers: 10_000, stampedes: 5,
		streams: 10_000, garbage: 3 * time.Second, rpcRounds: 100, ownerAnswers: 50 * time.Millisecond, expireSeconds: 20, watched: 2 * time.Second,
	}
	long = scale{
		few: 10_000, many: 1_000_000, rounds: 300, slice: 20 * time.Millisecond, held: 1_000_000, expiring: 1_000_000, callers: 10_000, stampedes: 25,
		streams: 10_000, garbage: 10 * time.Second, rpcRounds: 500, ownerAnswers: 50 * time.Millisecond, expireSeconds: 30, watched: 2 * time.Second,
	}
	// once runs everything and measures nothing that is worth reading.
	once = scale{
		few: 5000, many: 6000, rounds: 2, slice: time.Microsecond, held: 1000, expiring: 1000, callers: 100, stampedes: 1,
		streams: 20, garbage: 10 * time.Millisecond, rpcRounds: 10, ownerAnswers: time.Millisecond, expireSeconds: 1, watched: 10 * time.Millisecond,
	}
)

// results are the figures of a run.
type results struct {
	scale     scale
	load      string // of the machine, when the run began
	took      time.Duration
	costs     []cost
	allocs    map[string]float64
	rpcs      map[string]series // by transport
	holders   []holder
	stall     stall
	stampedes []stampede
	streams   []streamBytes
}

// cost is a run of the variants with a number of tokens.
type cost struct {
	tokens int
	way    way
	series series
}

// way is how calls are made.
type way struct {
	cores, goroutines int
}

var (
	serial     = way{1, 1}
	concurrent = way{2, 8}
	ways       = []way{serial, {2, 1}, concurrent}
)

func measure(s scale, say func(format string, args ...any)) results {
	start := time.Now()
	r := results{scale: s, load: loadAverage(), allocs: map[string]float64{}, rpcs: map[string]series{}}
	for _, tokens := range []int{1, s.few, s.many} {
		all := tokensOf(tokens)
		variants := coreVariants(all)
		if tokens != s.many {
			variants = append(variants, moreVariants(all)...)
		}
		for _, w := range ways {
			say("%d tokens, %d goroutines on %d cores", tokens, w.goroutines, w.cores)
			cores := runtime.GOMAXPROCS(w.cores)
			r.costs = append(r.costs, cost{tokens, w, turns{tokens, w.goroutines, s.rounds, s.slice}.take(variants)})
			runtime.GOMAXPROCS(cores)
		}
		if tokens == s.few {
			for _, v := range variants {
				r.allocs[v.name] = allocations(v.op, tokens)
			}
		}
	}
	for _, transport := range transports {
		say("calls over %s", transport)
		r.rpcs[transport] = measureRPC(s, transport)
	}
	say("a stampede")
	for range s.stampedes {
		r.stampedes = append(r.stampedes, runStampede(s.callers, s.ownerAnswers))
	}
	say("open streams")
	r.streams = measureStreams(s.streams)
	say("what is held in memory")
	r.holders = measureHolders(s)
	say("entries expire")
	r.stall = measureStall(s)
	r.took = time.Since(start)
	return r
}

func main() {
	out := flag.String("out", "", "the folder of performance.md; by default, nothing is written")
	full := flag.Bool("full", false, "take longer")
	quick := flag.Bool("quick", false, "run everything once: the figures mean nothing")
	flag.Parse()
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	s := minutes
	if *full {
		s = long
	}
	if *quick {
		s = once
	}
	start := time.Now()
	r := measure(s, func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	})
	must(write(r, *out))
}
