// Command benchmarks measures what a call costs with sessionauth, beside what people
// use today, and writes docs/performance.md with its charts.
//
//	make bench         # or: go -C benchmarks run . -out ../docs
//	make bench-full    # the same with -full: takes longer
//
// While working on one thing, measure that alone. The figures, and the targets that they
// are about, are printed and nothing is written:
//
//	go -C benchmarks run . -only hit               # 10,000 tokens: under a minute
//	go -C benchmarks run . -only hit -rounds 15    # rougher: 15 s
//	go -C benchmarks run . -only hit -variants 'hit by bearer|Kubernetes|hand-rolled|cache\.'
//	go -C benchmarks run . -only rpc,streams
//
// The groups are one (hot token), hit (10,000 tokens), many (1,000,000; takes 5 GB), rpc,
// stampede, streams, memory and expiry. Instructions are counted by benchmarks/check.sh.
//
// All variants live in one process and take turns in short slices, in an order that is
// shuffled anew for each round, and a ratio is taken of two slices of the same round:
// machines drift by a factor of two within minutes, ratios do not. A variant that does
// not do what its name says, such as a miss that is a hit, ends the run.
//
// The same variants are benchmarks of package testing, for benchstat and for profiles:
//
//	go -C benchmarks test -run '^$' -bench . -cpu 1,2,8 -count 10
//	go -C benchmarks test -run '^$' -bench 'Call/tokens=10000/interceptor,_hit_by_bearer' -cpuprofile cpu.out
package main
