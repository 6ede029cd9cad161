package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// once is the scale of a run that measures nothing worth reading.
var once = scale{
	few: 5000, many: 6000, rounds: 2, slice: time.Microsecond, held: 1000, garbage: 10 * time.Millisecond, expiring: 1000, expiries: 1,
	callers: 100, stampedes: 1, ownerAnswers: time.Millisecond, streams: 20, streamRounds: 1,
}

var everything = selection{groupNames(), regexp.MustCompile("")}

// TestARunWritesThePage runs everything once. Every variant ends the run when it is not what its name says.
func TestARunWritesThePage(t *testing.T) {
	out := t.TempDir()
	r := measure(once, everything, t.Logf)
	if err := write(r, out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || strings.Contains(page, "%!") {
		t.Errorf("not all figures are figures:\n%s", page)
	}
	for _, target := range r.list() {
		if target.missed() && !strings.Contains(page, notesOf(notes)[target.key]) {
			t.Errorf("%s was missed and its note is not on the page", target.key)
		}
	}
	for _, name := range variantNames {
		if !strings.Contains(page, "| "+name+" |") {
			t.Errorf("no figure for %q", name)
		}
	}
	for _, match := range regexp.MustCompile(`\]\((performance/[a-z]+\.svg)\)`).FindAllStringSubmatch(page, -1) {
		chart, err := os.ReadFile(filepath.Join(out, match[1]))
		if err != nil || !strings.Contains(string(chart), "</svg>") {
			t.Errorf("%s is no chart: %v", match[1], err)
		}
	}
	if got := r.verifications(ourStampede); got != 1 {
		t.Errorf("a stampede cost %d verifications, want 1", got)
	}
}

func TestEveryNoteIsThatOfATarget(t *testing.T) {
	var r results // in which everything was measured
	r.costs = []cost{{r.scale.few, serial, series{}}, {r.scale.few, concurrent, series{}}}
	r.allocs = map[string]float64{hit: 1, hitMetrics: 1, cacheDo: 0}
	for _, c := range r.costs {
		for _, name := range variantNames {
			c.series[name] = []float64{1}
		}
	}
	r.rpcs = map[string]series{bufconnTransport: {bareRPC: {1}, interceptedRPC: {1}}}
	r.holders, r.stalls, r.stampedes, r.streams = []holder{}, []stall{{}}, map[string][]stampede{}, make([]streamBytes, 2)
	var keys []string
	for _, target := range r.list() {
		keys = append(keys, target.key)
	}
	if len(keys) != 19 {
		t.Errorf("%d targets: %q", len(keys), keys)
	}
	for key, note := range notesOf(notes) {
		if !slices.Contains(keys, key) || note == "" {
			t.Errorf("there is a note for %q: %q; targets are %q", key, note, keys)
		}
	}
}

func TestOneGroupIsMeasuredAlone(t *testing.T) {
	r := measure(once, selection{[]string{"hit"}, regexp.MustCompile("^(" + hit + "|" + kubernetes + ")$")}, t.Logf)
	if len(r.costs) != len(ways) || len(r.costs[0].series) != 2 || r.streams != nil || r.whole {
		t.Errorf("%+v", r)
	}
	var p page
	p.targets(r)
	if text := p.String(); !strings.Contains(text, "Kubernetes") || strings.Contains(text, "hand-rolled") || strings.Contains(text, "NaN") {
		t.Error(text)
	}
}

// TestAVariantThatIsNotWhatItSaysIsNoticed: each check sees calls that were another's.
func TestAVariantThatIsNotWhatItSaysIsNoticed(t *testing.T) {
	few, many := tokensOf(2), tokensOf(8*missCapacity)
	policy := cache.Policy{TTL: ttl, MaxEntries: missCapacity}
	hits := func(stats cache.Stats) func() cache.Stats { return func() cache.Stats { return stats } }
	rare := hitOf("", newAuth(verify, policy), callsOf(many, bearerCall))
	fill([]variant{rare, rare}, len(many))
	common := missVariant(few)
	fill([]variant{common, common}, len(few))
	var twice loads
	for range 2 {
		if _, err := twice.verify(t.Context(), few[0], nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, check := range map[string]func() error{
		"misses among hits":    rare.check,
		"hits among misses":    common.check,
		"no call":              allHits(hits(cache.Stats{Misses: 2}), 2, false),
		"hits among refusals":  allHits(hits(cache.Stats{Misses: 2, Hits: 1, NegativeHits: 1}), 2, true),
		"a stale hit":          allHits(hits(cache.Stats{Misses: 2, Hits: 1, StaleHits: 1}), 2, false),
		"a verification twice": twice.one(1),
		"one of several":       all(twice.one(2), twice.one(1)),
	} {
		if check() == nil {
			t.Errorf("%s: not noticed", name)
		}
	}
}

func TestARatioIsTakenRoundByRound(t *testing.T) {
	s := series{"a": {1, 20, 3}, "b": {2, 40, 6}}
	if got := s.ratio("a", "b"); got != (spread{0.5, 0.5, 0.5}) {
		t.Errorf("%+v", got)
	}
	if got := s.beyond("b", "a"); got.median != 3 {
		t.Errorf("%+v", got)
	}
}

func TestASpreadIsTheMedianWithItsQuartiles(t *testing.T) {
	if got := spreadOf([]float64{5, 1, 4, 2, 3}); got != (spread{2, 3, 4}) {
		t.Errorf("%+v", got)
	}
}
