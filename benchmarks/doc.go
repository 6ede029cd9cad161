// Command benchmarks measures what a call costs with sessionauth, beside what people
// use today, and writes docs/performance.md with its charts.
//
//	go -C benchmarks run . -out ../docs        # or: make bench
//	go -C benchmarks run . -out ../docs -full  # or: make bench-full
//
// All variants live in one process and take turns in short slices, in an order that is
// shuffled anew for each round, and a ratio is taken of two slices of the same round:
// machines drift by a factor of two within minutes, ratios do not. The same variants are
// benchmarks of package testing, for benchstat:
//
//	go -C benchmarks test -run '^$' -bench . -count 10
package main
