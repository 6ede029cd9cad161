package telemetry

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// authentications counts calls. The counts are read when the metrics are collected, since
// adding to an instrument of the SDK costs more than finding a session in memory.
type authentications struct {
	calls [results][errorTypes]atomic.Int64
	// hits are what most calls are, spread over cache lines.
	hits [32]struct {
		atomic.Int64
		_ [56]byte
	}
}

// newAuthentications returns counts that are observed for as long as they are in use:
// there is nothing to close, and a meter provider may live longer.
func newAuthentications(meter metric.Meter) (*authentications, error) {
	counter, err := meter.Int64ObservableCounter(MetricAuthentications, metric.WithUnit("{request}"),
		metric.WithDescription("Calls by how they were authenticated."))
	if err != nil {
		return nil, err
	}
	a := new(authentications)
	ref := weak.Make(a)
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if a := ref.Value(); a != nil {
			a.observe(o, counter)
		}
		return nil
	}, counter)
	if err != nil {
		return nil, err
	}
	runtime.AddCleanup(a, func(r metric.Registration) { _ = r.Unregister() }, registration)
	return a, nil
}

func (a *authentications) count(r Result, e ErrorType) {
	if r == Hit {
		a.hits[rand.Uint32()%uint32(len(a.hits))].Add(1) //nolint:gosec // any will do
		return
	}
	a.calls[r][e].Add(1)
}

func (a *authentications) observe(o metric.Observer, counter metric.Int64Observable) {
	hits := int64(0)
	for i := range a.hits {
		hits += a.hits[i].Load()
	}
	for r := range results {
		for e := range errorTypes {
			n := a.calls[r][e].Load()
			if r == Hit && e == NoError {
				n = hits
			}
			if n > 0 {
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
