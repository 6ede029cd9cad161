package redisfleet_test

import (
	"fmt"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

func TestStateAndLagAreInTheMetrics(t *testing.T) {
	s, o := startRedis(t), &owner{}
	reader := sdkmetric.NewManualReader()
	c := s.config()
	c.Meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	b, l := join(t, c, lag)
	store := newStore(t, c)
	a := newAuth(t, o, long, interceptor.WithSharedCache(store, nil))
	ask(t, a, "t1", codes.OK)
	s.do("XADD sessionauth:{test}:bus * e junk")
	l.until(t, "heard")
	collect := func() map[string]float64 {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		values := map[string]float64{}
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				switch data := m.Data.(type) {
				case metricdata.Gauge[float64]:
					values[m.Name] = data.DataPoints[0].Value
				case metricdata.Sum[int64]:
					for _, point := range data.DataPoints {
						part, _ := point.Attributes.Value(redisfleet.KeyPart)
						values[fmt.Sprint(m.Name, part.AsString())] = float64(point.Value)
					}
				}
			}
		}
		return values
	}
	is := collect()
	if behind := is[redisfleet.MetricBehind]; behind <= 0 || behind > 30 {
		t.Errorf("%v s behind", behind)
	}
	delete(is, redisfleet.MetricBehind)
	if want := map[string]float64{
		redisfleet.MetricReplicas: 1, redisfleet.MetricLost: 1, redisfleet.MetricDropped + "bus": 1, redisfleet.MetricDropped + "store": 0,
		redisfleet.MetricErrors + "bus": 0, redisfleet.MetricErrors + "store": 0,
		redisfleet.MetricReached: 1, redisfleet.MetricHits: 0, redisfleet.MetricMisses: 1,
	}; fmt.Sprint(is) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", is, want)
	}
	closeBus(t, b)
	store.Close()
	if is := collect(); len(is) != 0 {
		t.Errorf("reported after Close: %v", is)
	}
}
