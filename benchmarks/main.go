package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// scale says how much is measured, and for how long.
type scale struct {
	few, many    int           // tokens, beside one
	rounds       int           // of the variants with few tokens, and of calls over a connection; half as many with one token and many
	slice        time.Duration // of a variant in a round
	held         int           // sessions in memory
	garbage      time.Duration // for which garbage is made beside them
	expiring     int           // entries that expire at once
	expiries     int           // how often
	callers      int           // of a stampede
	stampedes    int
	ownerAnswers time.Duration // after which the owner answers in a stampede
	streams      int           // that are open at once
	streamRounds int
}

var (
	minutes = scale{
		few: 10_000, many: 1_000_000, rounds: 50, slice: 20 * time.Millisecond, held: 1_000_000, garbage: 3 * time.Second,
		expiring: 1_000_000, expiries: 3, callers: 10_000, stampedes: 5, ownerAnswers: 50 * time.Millisecond, streams: 10_000, streamRounds: 3,
	}
	long = scale{
		few: 10_000, many: 1_000_000, rounds: 300, slice: 20 * time.Millisecond, held: 1_000_000, garbage: 10 * time.Second,
		expiring: 1_000_000, expiries: 9, callers: 10_000, stampedes: 25, ownerAnswers: 50 * time.Millisecond, streams: 10_000, streamRounds: 9,
	}
)

// results are the figures of a run. Those of a group that was left out are zero.
type results struct {
	scale     scale
	whole     bool   // all groups ran
	load      string // of the machine, when the run began
	took      time.Duration
	costs     []cost
	allocs    map[string]float64
	rpcs      map[string]series // by transport
	holders   []holder
	stalls    []stall
	stampedes map[string][]stampede // by who was called
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
	threads, goroutines int // threads is GOMAXPROCS
}

var (
	serial     = way{1, 1}
	concurrent = way{2, 8}
	// ways are -cpu 1,2,8, and the goroutines of the last on the cores of the second.
	ways = []way{serial, {2, 2}, concurrent, {8, 8}}
)

// selection is what of a run is wanted.
type selection struct {
	groups   []string
	variants *regexp.Regexp
}

func (s selection) of(variants []variant) []variant {
	return slices.DeleteFunc(variants, func(v variant) bool { return !s.variants.MatchString(v.name) })
}

// runner is a run in progress.
type runner struct {
	results

	selected selection
	say      func(format string, args ...any)
}

// group is a part of a run.
type group struct {
	name string
	run  func(r *runner)
}

var groups = []group{
	{"one", func(r *runner) { r.calls(1, r.scale.rounds/2) }},
	{"hit", func(r *runner) { r.calls(r.scale.few, r.scale.rounds) }},
	{"many", func(r *runner) { r.calls(r.scale.many, r.scale.rounds/2) }},
	{"rpc", func(r *runner) {
		for _, transport := range transports {
			r.rpcs[transport] = measureRPC(r.scale, transport, r.selected)
		}
	}},
	{"stampede", func(r *runner) { r.stampedes = measureStampedes(r.scale) }},
	{"streams", func(r *runner) { r.streams = measureStreams(r.scale) }},
	{"memory", func(r *runner) { r.holders = measureHolders(r.scale) }},
	{"expiry", func(r *runner) { r.stalls = measureStalls(r.scale) }},
}

func groupNames() []string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.name
	}
	return names
}

// calls measures what a call costs with a number of tokens.
func (r *runner) calls(tokens, rounds int) {
	all := tokensOf(tokens)
	variants := coreVariants(all)
	if tokens != r.scale.many { // they would take gigabytes more
		variants = append(variants, moreVariants(all)...)
	}
	if tokens >= 8*missCapacity { // by the time a token comes round again it has been evicted
		variants = append(variants, missVariant(all[:min(tokens, 10*r.scale.few)]))
	}
	variants = r.selected.of(variants)
	for _, w := range ways {
		r.say("%s, %v", tokensText(tokens), w)
		before := runtime.GOMAXPROCS(w.threads)
		r.costs = append(r.costs, cost{tokens, w, turns{tokens, w.goroutines, max(2, rounds), r.scale.slice}.take(variants)})
		runtime.GOMAXPROCS(before)
	}
	if tokens == r.scale.few {
		for _, v := range variants {
			r.allocs[v.name] = allocations(v.op, tokens)
			v.verify()
		}
	}
}

func measure(s scale, selected selection, say func(format string, args ...any)) results {
	start := time.Now()
	r := runner{
		results{scale: s, load: loadAverage(), allocs: map[string]float64{}, rpcs: map[string]series{}, whole: len(selected.groups) == len(groups)},
		selected, say,
	}
	for _, g := range groups {
		if slices.Contains(selected.groups, g.name) {
			say("group %s", g.name)
			g.run(&r)
		}
	}
	r.took = time.Since(start)
	return r.results
}

func run() error {
	out := flag.String("out", "", "the folder of performance.md; by default, nothing is written")
	full := flag.Bool("full", false, "take longer")
	only := flag.String("only", strings.Join(groupNames(), ","), "the groups that are measured")
	rounds := flag.Int("rounds", 0, "how many turns each variant has; by default, 50, with -full 300")
	names := flag.String("variants", "", "a regular expression: the variants that are measured; by default, all")
	flag.Parse()
	selected := selection{groups: strings.Split(*only, ",")}
	for _, name := range selected.groups {
		if !slices.Contains(groupNames(), name) {
			return fmt.Errorf("-only: there is no group %q; there are %s", name, strings.Join(groupNames(), ", "))
		}
	}
	var err error
	if selected.variants, err = regexp.Compile(*names); err != nil {
		return fmt.Errorf("-variants: %w", err)
	}
	if *out != "" && (len(selected.groups) != len(groups) || *names != "") {
		return errors.New("-out: the page is written by a whole run; leave out -only and -variants")
	}
	s := minutes
	if *full {
		s = long
	}
	if *rounds > 0 {
		s.rounds = *rounds
	}
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	start := time.Now()
	return write(measure(s, selected, func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}), *out)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
