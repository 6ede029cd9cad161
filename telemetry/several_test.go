package telemetry_test

import (
	"runtime"
	"sync"
	"testing"
	"weak"

	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// meters is a provider of which some meters are of a type that cannot be compared.
type meters struct {
	metric.MeterProvider

	odd bool
}

func (m meters) Meter(name string, opts ...metric.MeterOption) metric.Meter {
	made := m.MeterProvider.Meter(name, opts...)
	if m.odd {
		return oddMeter{made, nil}
	}
	return made
}

type oddMeter struct {
	metric.Meter

	_ []int
}

// TestCountsOfSeveralAddUp: of those that are gone, too, as a sum that goes down is a restart to
// who reads it, and a negative number where only what is new is told.
func TestCountsOfSeveralAddUp(t *testing.T) {
	for name, odd := range map[string]bool{"of one meter": false, "of meters that cannot be compared": true} {
		for _, temporality := range []metricdata.Temporality{metricdata.CumulativeTemporality, metricdata.DeltaTemporality} {
			t.Run(name+", "+temporality.String(), func(t *testing.T) {
				reader := sdkmetric.NewManualReader(sdkmetric.WithTemporalitySelector(
					func(sdkmetric.InstrumentKind) metricdata.Temporality { return temporality }))
				provider := meters{sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)), odd}
				told := int64(0)
				total := func() int64 {
					sum, _ := collect(t, reader)[telemetry.MetricAuthentications].Data.(metricdata.Sum[int64])
					if len(sum.DataPoints) != 1 || !sum.IsMonotonic {
						t.Fatalf("%+v", sum)
					}
					if value := sum.DataPoints[0].Value; temporality == metricdata.CumulativeTemporality {
						told = value
					} else if told += value; value < 0 {
						t.Errorf("%d more", value)
					}
					return told
				}
				record := func(calls int) *telemetry.Instruments {
					i, err := telemetry.New(nil, provider)
					if err != nil {
						t.Fatal(err)
					}
					var wg sync.WaitGroup
					for range 2 {
						wg.Go(func() {
							for range calls {
								i.Record(t.Context(), telemetry.Hit, telemetry.NoError, trace.SpanContext{})
							}
						})
					}
					wg.Wait()
					return i
				}
				record(1000)
				kept := record(10)
				if n := total(); n != 2020 {
					t.Errorf("%d calls", n)
				}
				record(500) // and gone before anyone looks
				for !odd && telemetry.InUse(provider) > 1 {
					runtime.GC()
				}
				for range 2 {
					if n := total(); n != 3020 {
						t.Errorf("%d calls, want 3020", n)
					}
				}
				runtime.KeepAlive(kept)
			})
		}
	}
}

// TestNothingKeepsAMeterProvider: nor what was counted, when both are gone.
func TestNothingKeepsAMeterProvider(t *testing.T) {
	reader := func() weak.Pointer[sdkmetric.ManualReader] {
		reader := sdkmetric.NewManualReader()
		provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		made := make([]*telemetry.Instruments, 3)
		for n := range made {
			var err error
			if made[n], err = telemetry.New(nil, provider); err != nil {
				t.Fatal(err)
			}
		}
		if n := telemetry.InUse(provider); n != len(made) {
			t.Errorf("%d in use", n)
		}
		runtime.KeepAlive(made)
		return weak.Make(reader)
	}()
	for reader.Value() != nil {
		runtime.GC()
	}
}
