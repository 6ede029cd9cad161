// Mutants shows what the tests of packages do not notice: it changes their code in one
// place at a time, compiles it and runs the tests. A change that no test fails for
// survives; either a test is missing, or the change makes no difference, which is argued
// in a file.
//
//	go -C internal/mutants run . -n 100 -seed 1 ./cache ./metadata ./authcontext/header.go
//
// The arguments are packages, or single files, of the module at -root. The files of the
// module are not touched: the go command reads a change from beside it (-overlay). The
// same seed takes the same mutants, of code that has changed but for those that changed.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// sayf prints; what cannot be printed is lost.
func sayf(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	root := flags.String("root", "../..", "directory of the module")
	n := flags.Int("n", 100, "how many mutants to try; 0: all")
	seed := flags.Uint64("seed", 1, "which ones")
	parallel := flags.Int("parallel", 2, "how many at once")
	timeout := flags.Duration("timeout", 2*time.Minute, "for the tests of one package, or five times what all take without a mutant, if that is more; a mutant that takes longer has hung")
	suites := flags.String("suites", "./interceptor,.", "packages whose tests run, too, where a package's own find nothing; separated by commas")
	arguments := flags.String("argued", "argued.txt", "file of the survivors that are argued")
	most := flags.Int("max-survivors", 0, "fail if more survive, argued or not")
	strict := flags.Bool("strict", false, "fail if one survives that is not argued")
	list := flags.Bool("list", false, "list the mutants and run nothing")
	if err := flags.Parse(args); err != nil {
		return err
	}
	module, err := filepath.Abs(*root)
	if err != nil {
		return err
	}
	r := &runner{root: module, timeout: *timeout, parallel: max(1, *parallel)}
	r.suites = strings.FieldsFunc(*suites, func(c rune) bool { return c == ',' })
	reasons, err := argued(*arguments)
	if err != nil {
		return err
	}
	mutants, err := all(module, flags.Args())
	if err != nil {
		return err
	}
	if err := stale(reasons, mutants); err != nil {
		return err
	}
	slices.SortFunc(mutants, func(x, y *mutant) int { return cmp.Compare(x.rank(*seed), y.rank(*seed)) })
	if *n > 0 && *list {
		mutants = mutants[:min(*n, len(mutants))]
	}
	if *list {
		for _, m := range mutants {
			sayf(out, "%d\t%s\n", m.line, m.name())
		}
		return nil
	}
	return report(ctx, r, mutants, reasons, limits{number: *n, most: *most, strict: *strict}, out)
}

type limits struct {
	number int // of mutants to try; 0: all
	most   int // may survive
	strict bool
}

// report tries the mutants and says what became of them.
func report(ctx context.Context, r *runner, mutants []*mutant, reasons map[string]string, limit limits, out io.Writer) error {
	total := len(mutants)
	if limit.number == 0 {
		limit.number = total
	}
	picked, err := r.pick(ctx, mutants, limit.number)
	if err != nil {
		return err
	}
	packages := slices.Clone(r.suites)
	for _, m := range picked {
		packages = append(packages, packageOf(m))
	}
	slices.Sort(packages)
	if err := r.check(ctx, slices.Compact(packages)); err != nil {
		return err
	}
	sayf(out, "%d of %d mutants\n", len(picked), total)
	var (
		mu       sync.Mutex
		count    [survived + 1]int
		unargued int
	)
	err = r.each(ctx, len(picked), func(ctx context.Context, i int) error {
		m := picked[i]
		what, by, err := r.try(ctx, m)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		count[what]++
		reason, isArgued := reasons[m.name()]
		sayf(out, "%s:%d: %s: ", m.file, m.line, words[what])
		switch {
		case what != survived && isArgued:
			sayf(out, "%s, though it is argued to survive\n\t%s\n", by, m.name())
		case what != survived:
			sayf(out, "%s: %s\n", by, m.change)
		case isArgued:
			sayf(out, "argued: %s\n\t%s\n", reason, m.name())
		default:
			unargued++
			sayf(out, "\n\t%s\n%s", m.name(), diff(m))
		}
		return nil
	})
	sayf(out, "killed %d (%d of them hung), survived %d (%d of them argued)\n",
		count[killed]+count[hung], count[hung], count[survived], count[survived]-unargued)
	switch {
	case err != nil:
		return err
	case count[survived] > limit.most:
		return fmt.Errorf("%d survived, at most %d may", count[survived], limit.most)
	case limit.strict && unargued > 0:
		return fmt.Errorf("%d survived that are not argued", unargued)
	}
	return nil
}

var words = [...]string{killed: "killed by", hung: "hung in", survived: "SURVIVED"}

func diff(m *mutant) string {
	var text strings.Builder
	with := strings.TrimPrefix(strings.TrimPrefix(m.with, unreached(m.old)), "\n")
	for _, part := range []struct{ sign, text string }{{"-", m.old}, {"+", with}} {
		for line := range strings.Lines(part.text) {
			fmt.Fprintf(&text, "\t%s %s\n", part.sign, strings.TrimRight(line, "\n"))
		}
	}
	return text.String()
}

// all returns the mutants of packages and files, each named from the root of the module.
func all(root string, targets []string) ([]*mutant, error) {
	if len(targets) == 0 {
		return nil, errors.New("which packages?")
	}
	var mutants []*mutant
	for _, target := range targets {
		files := []string{path.Clean(target)}
		if !strings.HasSuffix(target, ".go") {
			found, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(target), "*.go"))
			if err != nil {
				return nil, err
			}
			files = files[:0]
			for _, file := range found {
				if !strings.HasSuffix(file, "_test.go") {
					files = append(files, path.Join(target, filepath.Base(file)))
				}
			}
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("no Go file in %s", target)
		}
		for _, file := range files {
			source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
			if err != nil {
				return nil, err
			}
			found, err := find(file, source)
			if err != nil {
				return nil, err
			}
			mutants = append(mutants, found...)
		}
	}
	return mutants, nil
}

// stale is an error when a mutant is argued about that there is no more, in a file that
// is looked at.
func stale(reasons map[string]string, mutants []*mutant) error {
	names, files := map[string]bool{}, map[string]bool{}
	for _, m := range mutants {
		names[m.name()] = true
		files[m.file] = true
	}
	var gone []string
	for name := range reasons {
		if file, _, _ := strings.Cut(name, ": "); files[file] && !names[name] {
			gone = append(gone, name)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	slices.Sort(gone)
	return fmt.Errorf("argued, but there is no such mutant:\n%s", strings.Join(gone, "\n"))
}
