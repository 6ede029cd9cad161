package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// costs is what a call costs, for each number of tokens and each way to call.
func (p *page) costs(r results) {
	if len(r.costs) == 0 {
		return
	}
	p.linef("\n## What a call costs\n")
	if r.whole {
		p.aboutCosts()
	}
	for _, c := range r.costs {
		p.cost(r, c)
	}
	if r.whole {
		p.instructions()
	}
}

func (p *page) aboutCosts() {
	p.linef("The interceptors are called directly, with the metadata of an ordinary call: 8 keys, a token of 43 characters. A")
	p.linef("figure is the time of a slice divided by the calls that all goroutines made in it. With one token they all want")
	p.linef("the same entry: contended hits. Kubernetes' token cache reads no metadata and makes no context, but it hashes the")
	p.linef("token, which `cache.Get`, `cache.Do` and the bare stores find done: the row with `cache.NewKey` is the like of it.")
	p.linef("A miss includes a verify callback that answers at once, and evicts another session. The span is one of the SDK's")
	p.linef("around the call. A hit, a miss and a sample are known to be that: each variant's own counts are checked at the end.")
	p.linef("\n![Nanoseconds of a call](performance/call.svg)\n")
	p.linef("![Ratios by the number of tokens](performance/tokens.svg)")
}

func (p *page) instructions() {
	count := instructionsOf(instructionCount)
	p.linef("\n### Instructions\n")
	p.linef("A hit by bearer takes %s instructions, beyond those of SHA-256 (%s in its portable form; about a fifth with", count["hit"], count["sha256"])
	p.linef("the CPU's own). They were counted under callgrind by benchmarks/check.sh (%s, %s) and vary by about 0.2 %% from", count["go"], count["arch"])
	p.linef("run to run, under load too. Continuous integration fails when they have grown by more than 5 %%.")
}

// cost is a table of the variants.
func (p *page) cost(r results, c cost) {
	text := tokensText(c.tokens)
	p.linef("\n### %s, %v", strings.ToUpper(text[:1])+text[1:], c.way)
	head := []string{"", "ns [quartiles]", "÷ Kubernetes", "÷ hand-rolled"}
	allocs := c.tokens == r.scale.few && c.way == serial
	if allocs {
		head = append(head, "allocations")
	}
	p.table(head...)
	for _, name := range variantNames {
		values, ok := c.series[name]
		if !ok {
			continue
		}
		s := spreadOf(values)
		cells := []string{name, fmt.Sprintf("%.0f [%.0f, %.0f]", s.median, s.low, s.high)}
		for _, to := range []string{kubernetes, handRolled} {
			cell := ""
			if c.series[to] != nil {
				cell = ratioText(c.series.ratio(name, to))
			}
			cells = append(cells, cell)
		}
		if allocs {
			cells = append(cells, strconv.FormatFloat(r.allocs[name], 'f', -1, 64))
		}
		p.row(cells...)
	}
}

// instructionsOf reads what check.sh wrote: a name and a value in a line.
func instructionsOf(text string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			found[name] = value
		}
		if n, err := strconv.Atoi(found["hit"]); err == nil {
			found["hit"] = count(n)
		}
		if n, err := strconv.Atoi(found["sha256"]); err == nil {
			found["sha256"] = count(n)
		}
	}
	return found
}

func (p *page) rpcs(r results) {
	if len(r.rpcs) == 0 {
		return
	}
	p.linef("\n## Calls over a connection\n")
	p.linef("A client and a server in one process, one call at a time, %s in turn. The ratio is the median of ten", tokensText(r.scale.few))
	p.linef("paired runs, each the median of a tenth of %d rounds.", max(10, r.scale.rounds*3/2))
	p.table("", "µs", "÷ bare [quartiles]")
	for _, transport := range transports {
		s := r.rpcs[transport]
		for _, name := range []string{bareRPC, interceptedRPC, handRolledRPC} {
			ratio := ""
			if name != bareRPC {
				of := rpcRatio(s, name)
				ratio = fmt.Sprintf("%.3f [%.3f, %.3f]", of.median, of.low, of.high)
			}
			p.row(transport+", "+name, fmt.Sprintf("%.1f", spreadOf(s[name]).median/1000), ratio)
		}
	}
}

func (p *page) memory(r results) {
	if len(r.holders) == 0 {
		return
	}
	p.linef("\n## Memory and the collector\n")
	p.linef("%s sessions are held, and garbage is made as fast as it can be for %v, the same whoever holds them. The share is", count(r.scale.held), r.scale.garbage)
	p.linef("the collector's of the CPU time spent; it runs less often where more is held, so the CPU time of one collection")
	p.linef("stands beside it. sessionauth holds the session that the verify callback returned, too: 16 bytes here.")
	if r.whole {
		p.linef("\n![Bytes for a session](performance/memory.svg)")
	}
	p.table("", "bytes for a session", "beyond the AuthContext", "the collector's share", "CPU time of a collection")
	for _, h := range r.holders {
		p.row(h.name, fmt.Sprintf("%.0f", h.bytes), fmt.Sprintf("%.0f", r.beyondIdentities(h.name)), fmt.Sprintf("%.1f %%", 100*h.share),
			h.cycle.Round(time.Millisecond).String())
	}
}

func (p *page) expiry(r results) {
	if len(r.stalls) == 0 {
		return
	}
	medians := func(of func(stall) waits) []string {
		p9999 := durationsOf(r.stalls, func(s stall) time.Duration { return of(s).p9999 })
		longest := durationsOf(r.stalls, func(s stall) time.Duration { return of(s).longest })
		return []string{micros(p9999.median), micros(longest.median)}
	}
	cleared := r.scale.expiring
	for _, s := range r.stalls {
		cleared = min(cleared, s.cleared)
	}
	p.linef("\n## %s entries expire\n", count(r.scale.expiring))
	p.linef("All but one in %d entries of a cache have expired at once, and %s new ones clear them away (%s at least). Lookups", everyLive, count(newEntries), count(cleared))
	p.linef("in it meanwhile take turns with lookups in a cache beside it, in which nothing happens: what the machine itself")
	p.linef("adds, the collector above all, is in both. Medians of %d; the difference of the longest was %s at worst.", len(r.stalls),
		micros(float64(worst(r.stalls))))
	p.table("", "1 of 10,000 takes longer than", "the longest")
	p.row(append([]string{"entries expire"}, medians(func(s stall) waits { return s.ours })...)...)
	p.row(append([]string{"the quiet cache beside it"}, medians(func(s stall) waits { return s.quiet })...)...)
	p.row(append([]string{"one ttlcache, `DeleteExpired`"}, medians(func(s stall) waits { return s.bare })...)...)
}

func worst(stalls []stall) time.Duration {
	most := beyondQuiet(stalls[0])
	for _, s := range stalls {
		most = max(most, beyondQuiet(s))
	}
	return most
}

func (p *page) stampedes(r results) {
	if len(r.stampedes) == 0 {
		return
	}
	p.linef("\n## A stampede\n")
	p.linef("%s calls at once with one token that nobody has verified yet; the owner takes %v. Medians of %d, in turns; of the",
		count(r.scale.callers), r.scale.ownerAnswers, r.scale.stampedes)
	p.linef("verifications the most. A call's time is counted from the moment at which all may begin.")
	p.table("", "verifications", "p50 of a call", "p99", "longest")
	for _, c := range crowds {
		p.row(c.name, count(int(r.verifications(c.name))),
			millis(r.stampede(c.name, func(s stampede) time.Duration { return s.p50 })), millis(r.stampede(c.name, p99)),
			millis(r.stampede(c.name, func(s stampede) time.Duration { return s.most })))
	}
}

func (p *page) streams(r results) {
	if len(r.streams) == 0 {
		return
	}
	p.linef("\n## Open streams\n")
	p.linef("Memory of an open stream, of %s on one connection, heap and stacks of server and client; medians of %d, in turns.",
		count(r.scale.streams), r.scale.streamRounds)
	p.linef("A stack is of 2 KiB, 4 KiB, 8 KiB and so on, and what a new one begins with is what others needed before.")
	bytes := func(s spread) string { return fmt.Sprintf("%.0f [%.0f, %.0f] B", s.median, s.low, s.high) }
	p.table("", passingStream, boundStream, "beyond [quartiles]", "heap beyond", "stacks beyond")
	for _, s := range r.streams {
		p.row(s.kind, fmt.Sprintf("%.0f B", spreadOf(s.bytes[passingStream]).median), fmt.Sprintf("%.0f B", spreadOf(s.bytes[boundStream]).median),
			bytes(s.bytes.beyond(boundStream, passingStream)), bytes(s.heap().beyond(boundStream, passingStream)), bytes(s.stacks.beyond(boundStream, passingStream)))
	}
}

// micros and millis are texts of nanoseconds and of a duration.
func micros(nanoseconds float64) string { return fmt.Sprintf("%.1f µs", nanoseconds/1000) }

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
