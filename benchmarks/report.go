package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// notes is the part of the page that is written by hand: what bounds the figures.
//
//go:embed notes.md
var notes string

//go:embed instructions.txt
var instructionCount string

// page is a Markdown page in the making.
type page struct{ strings.Builder }

func (p *page) linef(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

// table begins a table.
func (p *page) table(head ...string) {
	p.linef("\n| %s |", strings.Join(head, " | "))
	p.linef("|%s", strings.Repeat(" --- |", len(head)))
}

func (p *page) row(cells ...string) { p.linef("| %s |", strings.Join(cells, " | ")) }

// write writes the page and its charts into a folder.
func write(r results, out string) error {
	var p page
	p.linef("# Performance\n")
	p.linef("<!-- Written by `make bench`; the section \"What bounds it\" is benchmarks/notes.md. -->\n")
	p.linef("All variants ran in one process and took turns in slices of %v, in an order that was shuffled anew for each", r.scale.slice)
	p.linef("of %d rounds. A ratio is the median of the ratios within a round, with the quartiles in brackets: machines", r.scale.rounds)
	p.linef("drift by a factor of two within minutes, ratios do not. Run it yourself: `make bench` takes minutes,")
	p.linef("`make bench-full` longer. The same variants are benchmarks of Go, for benchstat:")
	p.linef("`go -C benchmarks test -run '^$' -bench . -count 10 -cpu 1,2,8`.")
	p.machine(r)
	p.targets(r)
	p.linef("\n%s", strings.TrimSpace(notes))
	p.costs(r)
	p.rest(r)
	if out == "" {
		_, err := os.Stdout.WriteString(p.String())
		return err
	}
	charts := filepath.Join(out, "performance")
	if err := os.MkdirAll(charts, 0o755); err != nil { //nolint:gosec // documentation is for everybody
		return err
	}
	if err := draw(r, charts); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "performance.md"), []byte(p.String()), 0o644) //nolint:gosec // the same
}

func (p *page) machine(r results) {
	p.linef("\n## Machine and versions")
	p.table("", "")
	p.row("CPU", cpuModel())
	p.row("system, Go", platform())
	p.row("load average at the start", r.load)
	p.row("run", fmt.Sprintf("%s, %s", time.Now().UTC().Format(time.DateOnly), r.took.Round(time.Second)))
	for _, module := range modules() {
		p.row(module.name, module.version)
	}
}

func count(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

func tokensText(n int) string {
	if n == 1 {
		return "one token"
	}
	return count(n) + " tokens"
}

func (w way) String() string {
	text := fmt.Sprintf("%d goroutines", w.goroutines)
	if w.goroutines == 1 {
		text = "one goroutine"
	}
	if w.cores == 1 {
		return text + " on one core"
	}
	return fmt.Sprintf("%s on %d cores", text, w.cores)
}

func ratioText(s spread) string { return fmt.Sprintf("%.2f [%.2f, %.2f]", s.median, s.low, s.high) }

var variantNames = []string{
	hit, hitCookie, hitNegative, hitMetrics, hitTraced, spanAlone, miss, cacheGet, cacheDo, cacheKeyDo, kubernetes, handRolled, ttlGet, otterGet,
}

func (p *page) costs(r results) {
	p.linef("\n## What a call costs\n")
	p.linef("The interceptor is called directly, with the metadata of an ordinary call: 8 keys, a token of 43 characters.")
	p.linef("With %d goroutines a figure is the time of a slice divided by the calls that all of them made in it; with one", concurrent.goroutines)
	p.linef("token they all want the same entry. Kubernetes' token cache reads no metadata and makes no context.")
	p.linef("The stores are given ready keys. A miss includes a verify callback that answers at once and evicts another session.\n")
	p.linef("![Nanoseconds of a call](performance/call.svg)\n")
	p.linef("![Ratios by the number of tokens](performance/tokens.svg)")
	for _, c := range r.costs {
		p.linef("\n### %s, %v", strings.ToUpper(tokensText(c.tokens)[:1])+tokensText(c.tokens)[1:], c.way)
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
			cells := []string{
				name, fmt.Sprintf("%.0f [%.0f, %.0f]", s.median, s.low, s.high),
				ratioText(c.series.ratio(name, kubernetes)), ratioText(c.series.ratio(name, handRolled)),
			}
			if allocs {
				cells = append(cells, fmt.Sprint(r.allocs[name]))
			}
			p.row(cells...)
		}
	}
	p.linef("\n### Instructions\n")
	lines := strings.Split(strings.TrimSpace(instructionCount), "\n")
	p.linef("A hit by bearer takes %s instructions under callgrind, which knows no SHA extensions, so that about 4,600 of", lines[len(lines)-1])
	p.linef("them are SHA-256's. The count varies by about 0.2 %% from run to run, under load too; continuous integration")
	p.linef("fails when it has grown by more than 5 %% (benchmarks/check.sh).")
}

func (p *page) rest(r results) {
	p.linef("\n## Calls over a connection\n")
	p.linef("A client and a server in one process, one call at a time. The ratio is the median of ten runs, each the median of a tenth of the rounds.")
	p.table("", "bare, µs", "with the interceptor, µs", "ratio [quartiles]")
	for _, transport := range transports {
		s := r.rpcs[transport]
		p.row(transport, fmt.Sprintf("%.1f", spreadOf(s[bareRPC]).median/1000), fmt.Sprintf("%.1f", spreadOf(s[interceptedRPC]).median/1000),
			fmt.Sprintf("%.3f [%.3f, %.3f]", rpcRatio(s).median, rpcRatio(s).low, rpcRatio(s).high))
	}

	p.linef("\n## Memory and the collector\n")
	p.linef("%s sessions are held, and garbage is made, the same for each holder. The share is the collector's of the CPU time.\n", count(r.scale.held))
	p.linef("![Bytes for a session](performance/memory.svg)")
	p.table("", "bytes for a session", "the collector's share", "CPU time of a collection")
	for _, h := range r.holders {
		p.row(h.name, fmt.Sprintf("%.0f", h.bytes), fmt.Sprintf("%.1f %%", 100*h.share), h.cycle.Round(time.Millisecond).String())
	}

	p.linef("\n## %s entries expire\n", count(r.scale.expiring))
	p.linef("Lookups in a cache whose entries have all expired, while new ones clear them away, take turns with lookups in")
	p.linef("a cache beside it in which nothing happens: what the machine itself adds is in both.")
	p.table("", "1 of 10,000 takes longer than", "the longest")
	p.row("entries expire", micros(r.stall.ours.p9999), micros(r.stall.ours.longest))
	p.row("the quiet cache beside it", micros(r.stall.quiet.p9999), micros(r.stall.quiet.longest))
	p.row("one ttlcache, `DeleteExpired`", micros(r.stall.bare.p9999), micros(r.stall.bare.longest))

	p.linef("\n## A stampede\n")
	p.linef("%s calls at once with one token that nobody has verified yet; the owner takes %v. Medians of %d.",
		count(r.scale.callers), r.scale.ownerAnswers, len(r.stampedes))
	p.table("verifications", "p50 of a call", "p99", "longest", "all are answered after")
	p.row(fmt.Sprint(r.verifications()), millis(r.stampede(func(s stampede) time.Duration { return s.p50 })),
		millis(r.stampede(func(s stampede) time.Duration { return s.p99 })), millis(r.stampede(func(s stampede) time.Duration { return s.most })),
		millis(r.stampede(func(s stampede) time.Duration { return s.all })))

	p.linef("\n## Open streams\n")
	p.linef("Memory of an open stream, of %s, heap and stacks of server and client.", count(r.scale.streams))
	p.table("", "an interceptor that does nothing", "bound to its session", "beyond")
	for _, s := range r.streams {
		p.row(s.kind, fmt.Sprintf("%.0f B", s.passing), fmt.Sprintf("%.0f B", s.bound), fmt.Sprintf("%.0f B", s.bound-s.passing))
	}
}

func micros(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d.Nanoseconds())/1000) }
func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
