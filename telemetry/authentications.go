package telemetry

import (
	"context"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"weak"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// authentications counts calls. The counts are read when the metrics are collected, since
// adding to an instrument of the SDK costs more than finding a session in memory.
type authentications struct{ counts *counts }

type counts struct {
	calls [results][errorTypes]atomic.Int64
	// hits are what most calls are, spread over cache lines.
	hits [32]struct {
		n atomic.Int64
		_ [56]byte
	}
}

// newAuthentications returns counts that are added to those of the meter when they are no
// longer in use: there is nothing to close.
func newAuthentications(meter metric.Meter) (*authentications, error) {
	t, err := totalsOf(meter)
	if err != nil {
		return nil, err
	}
	a := &authentications{new(counts)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.live[a.counts] = true
	runtime.AddCleanup(a, t.keep, a.counts)
	return a, nil
}

func (a *authentications) count(r Result, e ErrorType) {
	if r == Hit {
		a.counts.hits[rand.Uint32()%uint32(len(a.counts.hits))].n.Add(1) //nolint:gosec // any will do
	} else {
		a.counts.calls[r][e].Add(1)
	}
	runtime.KeepAlive(a) // the last call counts as well
}

// sums are counts at one time.
type sums [results][errorTypes]int64

func (s *sums) add(c *counts) {
	for i := range c.hits {
		s[Hit][NoError] += c.hits[i].n.Load()
	}
	for r := range results {
		for e := range errorTypes {
			s[r][e] += c.calls[r][e].Load()
		}
	}
}

// totals are the counts of one meter. A sum never goes down, so it is not enough to observe
// those that are in use; and no two callbacks may observe the same attributes.
type totals struct {
	meter metric.Meter
	mu    sync.Mutex
	live  map[*counts]bool
	gone  sums // of those that are no longer in use
}

// known finds the totals of a meter, for as long as the meter, whose callback has them, or
// somebody who counts is there.
var known struct {
	mu  sync.Mutex
	all []weak.Pointer[totals]
}

func totalsOf(meter metric.Meter) (*totals, error) {
	known.mu.Lock()
	defer known.mu.Unlock()
	known.all = slices.DeleteFunc(known.all, func(p weak.Pointer[totals]) bool { return p.Value() == nil })
	same := reflect.ValueOf(meter).Comparable()
	for _, p := range known.all {
		if t := p.Value(); t != nil && same && t.meter == meter {
			return t, nil
		}
	}
	counter, err := meter.Int64ObservableCounter(MetricAuthentications, metric.WithUnit("{request}"),
		metric.WithDescription("Calls by how they were authenticated."))
	if err != nil {
		return nil, err
	}
	t := &totals{meter: meter, live: make(map[*counts]bool)}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		t.observe(o, counter)
		return nil
	}, counter)
	if err != nil {
		return nil, err
	}
	known.all = append(known.all, weak.Make(t))
	return t, nil
}

// keep keeps the sum of counts, and not them.
func (t *totals) keep(c *counts) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone.add(c)
	delete(t.live, c)
}

func (t *totals) observe(o metric.Observer, counter metric.Int64Observable) {
	t.mu.Lock()
	all := t.gone
	for c := range t.live {
		all.add(c)
	}
	t.mu.Unlock()
	for r := range results {
		for e := range errorTypes {
			if n := all[r][e]; n > 0 {
				o.ObserveInt64(counter, n, counted()[r][e])
			}
		}
	}
}

// counted holds the attributes of each count.
var counted = sync.OnceValue(func() (attributes [results][errorTypes]metric.ObserveOption) {
	for r := range results {
		for e := range errorTypes {
			set := attribute.NewSet(append(errorAttributes(e), KeyResult.String(r.String()))...)
			attributes[r][e] = metric.WithAttributeSet(set)
		}
	}
	return attributes
})
