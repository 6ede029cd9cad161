package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// notes is the part of the page that is written by hand: for each target, what bounds
// the figure where it is missed.
//
//go:embed notes.md
var notes string

//go:embed instructions.txt
var instructionCount string

// page is a Markdown page in the making.
type page struct{ strings.Builder }

func (p *page) linef(format string, args ...any) { p.WriteString(fmt.Sprintf(format, args...) + "\n") }

// table begins a table.
func (p *page) table(head ...string) {
	p.linef("\n| %s |", strings.Join(head, " | "))
	p.linef("|%s", strings.Repeat(" --- |", len(head)))
}

func (p *page) row(cells ...string) { p.linef("| %s |", strings.Join(cells, " | ")) }

// write writes the page and its charts into a folder.
func write(r results, out string) error {
	var p page
	if r.whole {
		p.introduction(r)
	}
	p.targets(r)
	p.costs(r)
	p.rpcs(r)
	p.memory(r)
	p.expiry(r)
	p.stampedes(r)
	p.streams(r)
	if out == "" {
		_, err := os.Stdout.WriteString(p.String())
		return err
	}
	charts := filepath.Join(out, "performance")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	if err := draw(r, charts); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "performance.md"), []byte(p.String()), 0o644)
}

func (p *page) introduction(r results) {
	p.linef("# Performance\n")
	p.linef("<!-- Written by `make bench`. What bounds a missed target is in benchmarks/notes.md. -->\n")
	p.linef("All variants ran in one process and took turns in slices of %v, in an order that was shuffled anew for each", r.scale.slice)
	p.linef("of %d rounds (%d with one token, and with %s). A ratio is the median of the ratios within a round, with the", r.scale.rounds, r.scale.rounds/2, tokensText(r.scale.many))
	p.linef("quartiles in brackets: machines drift by a factor of two within minutes, ratios do not. Run it yourself: `make bench`")
	p.linef("takes minutes, `make bench-full` longer. The same variants are benchmarks of Go, for benchstat:")
	p.linef("`go -C benchmarks test -run '^$' -bench . -count 10 -cpu 1,2,8`.")
	p.machine(r)
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
	text := strconv.Itoa(n)
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
	switch cores := runtime.NumCPU(); {
	case w.threads == 1:
		return text + " on one core"
	case w.threads > cores:
		return fmt.Sprintf("%s on %d threads", text, w.threads)
	default:
		return fmt.Sprintf("%s on %d cores", text, w.threads)
	}
}

func ratioText(s spread) string { return fmt.Sprintf("%.2f [%.2f, %.2f]", s.median, s.low, s.high) }

var variantNames = []string{
	hit, hitReceived, hitBoth, hitCookie, hitNegative, hitMetrics, hitTraced, spanAlone, miss, cacheGet, cacheDo, cacheKeyDo, kubernetes, handRolled, handReceived, ttlGet, otterGet,
}
