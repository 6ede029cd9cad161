package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// variant is one of the things that are measured beside one another.
type variant struct {
	name string
	// op is one call, with token i. It is called concurrently, and ends the run when the
	// call itself shows that it is not what is measured.
	op func(i int)
	// check, if there is one, returns an error when calls were not what the name says.
	check func() error
}

// series holds, for each variant by its name, the nanoseconds that a call took in each
// round: the time of the slice divided by the calls that all goroutines made in it.
type series map[string][]float64

const (
	// stride is how far the next token is from the last one: a walk through all of
	// them, in an order that no prefetcher follows. It is prime.
	stride = 7919
	// batch is how many calls are made between two looks at the clock.
	batch = 32
)

// turns says how variants are measured.
type turns struct {
	tokens     int // that op is called with: 0 to tokens-1
	goroutines int
	rounds     int
	slice      time.Duration
}

// take lets every variant have one slice in each round.
func (t turns) take(variants []variant) series {
	walks := make([][]int, len(variants)) // where each goroutine of each variant stands
	order := make([]int, len(variants))
	for v := range variants {
		order[v] = v
		for g := range t.goroutines {
			walks[v] = append(walks[v], startOf(g, t.goroutines, t.tokens))
		}
		t.spend(variants[v].op, walks[v]) // to warm up
	}
	runtime.GC()
	measured := series{}
	for range t.rounds {
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, v := range order {
			name := variants[v].name
			measured[name] = append(measured[name], t.spend(variants[v].op, walks[v]))
		}
	}
	for _, v := range variants {
		v.verify()
	}
	return measured
}

// startOf returns the token at which one of some goroutines starts its walk: far from the
// others', or what one of them has brought into the CPU's cache would be there for the next.
func startOf(goroutine, goroutines, tokens int) int {
	return goroutine * tokens / goroutines * stride % tokens
}

// verify ends the run unless the calls so far were what the name says.
func (v variant) verify() {
	if v.check == nil {
		return
	}
	if err := v.check(); err != nil {
		must(fmt.Errorf("%s: %w", v.name, err))
	}
}

// spend makes calls for the time of a slice and returns the nanoseconds for each.
func (t turns) spend(op func(i int), walk []int) float64 {
	step := stride % t.tokens
	calls := make([]int, len(walk)) // each goroutine makes a batch at least
	start := time.Now()
	run := func(g int) {
		i, n := walk[g], 0
		for first := true; first || time.Since(start) < t.slice; first = false {
			for range batch {
				op(i)
				if i += step; i >= t.tokens {
					i -= t.tokens
				}
			}
			n += batch
		}
		walk[g], calls[g] = i, n
	}
	if len(walk) == 1 {
		run(0)
	} else {
		var all sync.WaitGroup
		for g := range walk {
			all.Go(func() { run(g) })
		}
		all.Wait()
	}
	elapsed, sum := time.Since(start), 0
	for _, n := range calls {
		sum += n
	}
	return float64(elapsed.Nanoseconds()) / float64(sum)
}

// spread is a median with its quartiles.
type spread struct{ low, median, high float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 { return sorted[int(q*float64(len(sorted)-1)+0.5)] }
	return spread{at(0.25), at(0.5), at(0.75)}
}

// ratio is of the slices of one variant to those of another, round by round.
func (s series) ratio(of, to string) spread {
	return s.compare(of, to, func(a, b float64) float64 { return a / b })
}

// beyond is what one variant takes more than another, round by round.
func (s series) beyond(of, to string) spread {
	return s.compare(of, to, func(a, b float64) float64 { return a - b })
}

func (s series) compare(of, to string, by func(a, b float64) float64) spread {
	values := make([]float64, 0, len(s[of]))
	for round, a := range s[of] {
		if len(s[to]) > 0 { // it was not left out
			values = append(values, by(a, s[to][round]))
		}
	}
	return spreadOf(values)
}

// groups is like s with the median of each ten-th part of the rounds in place of the
// rounds: ten runs of its own.
func (s series) groups(n int) series {
	grouped := series{}
	for name, values := range s {
		size := max(1, len(values)/n)
		for part := range slices.Chunk(values, size) {
			if len(part) == size {
				grouped[name] = append(grouped[name], spreadOf(part).median)
			}
		}
	}
	return grouped
}

// allocations returns how many a call makes, to a hundredth.
func allocations(op func(i int), tokens int) float64 {
	const calls = 2000
	walk := 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		op(walk)
		walk = (walk + stride) % tokens
	}
	runtime.ReadMemStats(&after)
	return math.Round(float64(after.Mallocs-before.Mallocs)/calls*100) / 100
}
