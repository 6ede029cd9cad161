package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestARunWritesThePage runs everything once. Every variant panics when a call does not end as it should.
func TestARunWritesThePage(t *testing.T) {
	out := t.TempDir()
	r := measure(once, t.Logf)
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
	if !strings.Contains(page, strings.TrimSpace(notes)) {
		t.Error("the notes are not on the page")
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
	if got := r.verifications(); got != 1 {
		t.Errorf("a stampede cost %d verifications, want 1", got)
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
