package main

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// loads counts the verifications that a variant made.
type loads struct{ n atomic.Int64 }

func (l *loads) verify(ctx context.Context, token string, header http.Header) (*session, error) {
	l.n.Add(1)
	return verify(ctx, token, header)
}

// all is a check that others hold.
func all(checks ...func() error) func() error {
	return func() error {
		for _, check := range checks {
			if err := check(); err != nil {
				return err
			}
		}
		return nil
	}
}

// one is a check: each token was verified once, and every other call was a hit.
func (l *loads) one(tokens int) func() error {
	return func() error {
		if n := l.n.Load(); n != int64(tokens) {
			return fmt.Errorf("%d verifications of %d tokens: not all calls were hits", n, tokens)
		}
		return nil
	}
}

// allHits is a check: but for the first call with each token, all were answered from
// memory, by values or, if negative, by refusals.
func allHits(stats func() cache.Stats, tokens int, negative bool) func() error {
	return func() error {
		s := stats()
		hits, others := s.Hits, s.NegativeHits
		if negative {
			hits, others = others, hits
		}
		if s.Misses != uint64(tokens) || hits == 0 || others+s.Shared+s.StaleHits > 0 {
			return fmt.Errorf("not all calls but the first %d were hits: %+v", tokens, s)
		}
		return nil
	}
}

// allMisses is a check: but for one in a thousand, all calls were misses.
func allMisses(a *interceptor.Authenticator) func() error {
	return func() error {
		s := a.Stats()
		if others := s.Hits + s.NegativeHits + s.Shared + s.StaleHits; s.Misses == 0 || others > s.Misses/1000 {
			return fmt.Errorf("not all calls were misses: %+v", s)
		}
		return nil
	}
}

// counted is a check: the hits are in the metrics of the SDK, too.
func counted(a *interceptor.Authenticator, reader *sdkmetric.ManualReader) func() error {
	return func() error {
		var collected metricdata.ResourceMetrics
		if err := reader.Collect(context.Background(), &collected); err != nil {
			return err
		}
		var sum int64
		for _, scope := range collected.ScopeMetrics {
			for _, metric := range scope.Metrics {
				if data, ok := metric.Data.(metricdata.Sum[int64]); ok && metric.Name == telemetry.MetricAuthentications {
					for _, point := range data.DataPoints {
						sum += point.Value
					}
				}
			}
		}
		if s := a.Stats(); sum != int64(s.Hits+s.Misses) {
			return fmt.Errorf("%s is %d after %d hits and %d misses", telemetry.MetricAuthentications, sum, s.Hits, s.Misses)
		}
		return nil
	}
}

// sampled counts the spans of calls that were sampled, as an exporter would get them.
type sampled struct{ ended, attributed atomic.Int64 }

func (s *sampled) OnEnd(span sdktrace.ReadOnlySpan) {
	if span.Name() != spanName {
		return // a verification's
	}
	s.ended.Add(1)
	for _, attribute := range span.Attributes() {
		if attribute.Key == telemetry.KeyResult {
			s.attributed.Add(1)
		}
	}
}

func (*sampled) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (*sampled) Shutdown(context.Context) error                  { return nil }
func (*sampled) ForceFlush(context.Context) error                { return nil }

// oneInAHundred is a check: that part of the spans of calls was sampled, and the
// interceptor's result is on each of them.
func (s *sampled) oneInAHundred(a *interceptor.Authenticator) func() error {
	return func() error {
		stats := a.Stats()
		calls, spans, attributed := int64(stats.Hits+stats.Misses), s.ended.Load(), s.attributed.Load()
		if calls > 10_000 && (spans < calls/200 || spans > calls/50) {
			return fmt.Errorf("%d of %d spans were sampled", spans, calls)
		}
		if attributed != spans {
			return fmt.Errorf("the interceptor's result is on %d of %d spans", attributed, spans)
		}
		return nil
	}
}
