package redisfleet

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	// ScopeName is the instrumentation scope of the metrics, which is the module's path.
	ScopeName = "github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"

	// MetricBehind is a gauge, in seconds: BusStats.Behind.
	MetricBehind = "sessionauth.fleet.behind"
	// MetricReplicas is a gauge, in {replica}: BusStats.Publishers.
	MetricReplicas = "sessionauth.fleet.replicas"
	// MetricLost counts, in {loss}, how often everything had to be forgotten.
	MetricLost = "sessionauth.fleet.lost"
	// MetricDropped counts, in {entry}, what was on the bus or in the store and not of this
	// fleet, by KeyPart.
	MetricDropped = "sessionauth.fleet.dropped"
	// MetricErrors counts, in {error}, the round trips that failed, by KeyPart.
	MetricErrors = "sessionauth.fleet.errors"
	// MetricReached is a gauge: 1 while the store asks Redis, 0 while it does not.
	MetricReached = "sessionauth.fleet.store.reached"
	// MetricHits counts, in {record}, what was found in the store.
	MetricHits = "sessionauth.fleet.store.hits"
	// MetricMisses counts, in {record}, what was not.
	MetricMisses = "sessionauth.fleet.store.misses"

	// KeyPart is the attribute that says whether a metric is of the "bus" or the "store".
	KeyPart = attribute.Key("sessionauth.fleet.part")
)

// meter makes instruments.
type meter struct {
	metric.Meter

	errs []error
}

func newMeter(provider metric.MeterProvider) *meter {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	return &meter{Meter: provider.Meter(ScopeName)}
}

func (m *meter) gauge(name, unit, about string) metric.Float64ObservableGauge {
	g, err := m.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about))
	m.errs = append(m.errs, err)
	return g
}

func (m *meter) counter(name, unit, about string) metric.Int64ObservableCounter {
	c, err := m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(about))
	m.errs = append(m.errs, err)
	return c
}

// observe reports what is known at every collection, until the registration is undone.
func (m *meter) observe(report metric.Callback, of ...metric.Observable) (metric.Registration, error) {
	if err := errors.Join(m.errs...); err != nil {
		return nil, err
	}
	return m.RegisterCallback(report, of...)
}

func (b *Bus) observe(provider metric.MeterProvider) (metric.Registration, error) {
	m := newMeter(provider)
	behind := m.gauge(MetricBehind, "s", "For how long the bus has not been heard.")
	replicas := m.gauge(MetricReplicas, "{replica}", "Replicas that are heard on the bus.")
	lost := m.counter(MetricLost, "{loss}", "How often everything had to be forgotten.")
	dropped := m.counter(MetricDropped, "{entry}", "What is not of this fleet.")
	failed := m.counter(MetricErrors, "{error}", "Round trips to Redis that failed.")
	part := metric.WithAttributeSet(attribute.NewSet(KeyPart.String("bus")))
	return m.observe(func(_ context.Context, o metric.Observer) error {
		s := b.Stats()
		o.ObserveFloat64(behind, s.Behind.Seconds())
		o.ObserveFloat64(replicas, float64(s.Publishers))
		o.ObserveInt64(lost, count(s.Lost))
		o.ObserveInt64(dropped, count(s.Dropped), part)
		o.ObserveInt64(failed, count(s.Errors), part)
		return nil
	}, behind, replicas, lost, dropped, failed)
}

func (s *Store) observe(provider metric.MeterProvider) (metric.Registration, error) {
	m := newMeter(provider)
	reached := m.gauge(MetricReached, "1", "Whether the store asks Redis.")
	hits := m.counter(MetricHits, "{record}", "Records that were found in the store.")
	misses := m.counter(MetricMisses, "{record}", "Records that were not found in the store.")
	dropped := m.counter(MetricDropped, "{entry}", "What is not of this fleet.")
	failed := m.counter(MetricErrors, "{error}", "Round trips to Redis that failed.")
	part := metric.WithAttributeSet(attribute.NewSet(KeyPart.String("store")))
	return m.observe(func(_ context.Context, o metric.Observer) error {
		stats, is := s.Stats(), 0.0
		if stats.Reached {
			is = 1
		}
		o.ObserveFloat64(reached, is)
		o.ObserveInt64(hits, count(stats.Hits))
		o.ObserveInt64(misses, count(stats.Misses))
		o.ObserveInt64(dropped, count(stats.Dropped), part)
		o.ObserveInt64(failed, count(stats.Errors), part)
		return nil
	}, reached, hits, misses, dropped, failed)
}

// count is n as a metric has it.
func count(n uint64) int64 { return int64(min(n, 1<<62)) }
