package telemetry

import "go.opentelemetry.io/otel/metric"

// InUse is how many Instruments of a provider count calls.
func InUse(meters metric.MeterProvider) int {
	t, err := totalsOf(meters.Meter(ScopeName, metric.WithInstrumentationVersion(Version)))
	if err != nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.live)
}
