package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// limited runs a test program with a bound on its memory, since a mutant may allocate
// without end.
const limited = `sh -c 'ulimit -d 4194304; exec "$0" "$@"'`

type verdict int

const (
	killed verdict = iota
	hung           // killed too: the tests did not end
	survived
)

// runner runs the tests of a module against mutants. No file of the module is changed.
type runner struct {
	root     string        // of the module, absolute
	suites   []string      // packages whose tests run where a package's own have found nothing
	timeout  time.Duration // of one run of tests, at least
	parallel int
}

// each calls do for every index below n, as many at once as r allows, and stops at the
// first error.
func (r *runner) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range r.parallel {
		workers.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := 0; i < n && ctx.Err() == nil; i++ {
		next <- i
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// pick returns the first n mutants that compile, or all that do.
func (r *runner) pick(ctx context.Context, mutants []*mutant, n int) ([]*mutant, error) {
	var picked []*mutant
	for len(mutants) > 0 && len(picked) < n {
		batch := mutants[:min(len(mutants), n-len(picked))]
		mutants = mutants[len(batch):]
		compiles := make([]bool, len(batch))
		err := r.each(ctx, len(batch), func(ctx context.Context, i int) error {
			var err error
			_, compiles[i], err = r.overlaid(ctx, batch[i], "build", packageOf(batch[i]))
			return err
		})
		if err != nil {
			return nil, err
		}
		for i, m := range batch {
			if compiles[i] {
				picked = append(picked, m)
			}
		}
	}
	return picked, nil
}

// try runs the tests of a mutant's package and, if they find nothing, those of the suites.
// by is the test that noticed, or its package.
func (r *runner) try(ctx context.Context, m *mutant) (v verdict, by string, err error) {
	own := packageOf(m)
	suites := []string{own}
	for _, suite := range r.suites {
		if suite != own {
			suites = append(suites, suite)
		}
	}
	for _, suite := range suites {
		output, passed, err := r.overlaid(ctx, m, append(r.testFlags(), suite)...)
		switch {
		case err != nil:
			return survived, "", err
		case bytes.Contains(output, []byte("panic: test timed out")):
			return hung, suite, nil
		case !passed:
			return killed, failed(output, suite), nil
		}
	}
	return survived, "", nil
}

// failed names the first test that output says has failed, or else the package.
func failed(output []byte, suite string) string {
	_, after, _ := bytes.Cut(output, []byte("--- FAIL: "))
	if name, _, ok := bytes.Cut(after, []byte(" ")); ok {
		return string(name)
	}
	return suite
}

func (r *runner) testFlags() []string {
	return []string{"test", "-short", "-failfast", "-vet=off", "-timeout", r.timeout.String(), "-exec", limited}
}

// check runs the tests without a mutant: if they fail there, they tell nothing. A machine
// on which they take long gets more time for a mutant.
func (r *runner) check(ctx context.Context, packages []string) error {
	start := time.Now()
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-short", "-vet=off", "-timeout", "0", "-exec", limited}, packages...)...)
	command.Dir = r.root
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("the tests fail without a mutant: %w\n%s", err, output)
	}
	r.timeout = max(r.timeout, 5*time.Since(start))
	return nil
}

// overlaid runs the go command on the module as it is with the mutant, and tells whether
// it was content. An error is none of the mutant's.
func (r *runner) overlaid(ctx context.Context, m *mutant, args ...string) (output []byte, ok bool, err error) {
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	original := filepath.Join(r.root, filepath.FromSlash(m.file))
	source, err := os.ReadFile(original)
	if err != nil {
		return nil, false, err
	}
	mutated, overlay := filepath.Join(dir, "mutated.go"), filepath.Join(dir, "overlay.json")
	plan, err := json.Marshal(map[string]map[string]string{"Replace": {original: mutated}})
	if err != nil {
		return nil, false, err
	}
	if err := errors.Join(os.WriteFile(mutated, m.apply(source), 0o600), os.WriteFile(overlay, plan, 0o600)); err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*r.timeout+buildTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, "go", slices.Insert(args, 1, "-overlay", overlay)...)
	command.Dir = r.root
	command.WaitDelay = time.Second
	output, err = command.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return output, true, nil
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case errors.As(err, &exit) && exit.Exited():
		return output, false, nil
	}
	return nil, false, fmt.Errorf("%w\n%s", err, output)
}

// buildTimeout bounds what comes before a test, on a busy machine.
const buildTimeout = 10 * time.Minute

func packageOf(m *mutant) string { return "./" + path.Dir(m.file) }
