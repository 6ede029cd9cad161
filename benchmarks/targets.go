package main

import (
	"fmt"
	"time"
)

// target is what a figure is to be at most.
type target struct {
	figure string
	most   float64
	got    float64
	text   string // got, with its spread
	unit   string
}

func rpcRatio(s series) spread { return s.groups(10).ratio(interceptedRPC, bareRPC) }

func (r results) cost(tokens int, w way) series {
	for _, c := range r.costs {
		if c.tokens == tokens && c.way == w {
			return c.series
		}
	}
	return nil
}

func (r results) holder(name string) holder {
	for _, h := range r.holders {
		if h.name == name {
			return h
		}
	}
	return holder{}
}

// verifications is the most that any stampede cost.
func (r results) verifications() (most int64) {
	for _, s := range r.stampedes {
		most = max(most, s.verifications)
	}
	return most
}

func (r results) stampede(of func(stampede) time.Duration) time.Duration {
	values := make([]float64, 0, len(r.stampedes))
	for _, s := range r.stampedes {
		values = append(values, float64(of(s)))
	}
	return time.Duration(spreadOf(values).median)
}

func (r results) list() []target {
	alone, together := r.cost(r.scale.few, serial), r.cost(r.scale.few, concurrent)
	ratio := func(figure string, most float64, s spread) target {
		return target{figure, most, s.median, ratioText(s), ""}
	}
	plain := func(figure string, most, got float64, format, unit string) target {
		return target{figure, most, got, fmt.Sprintf(format, got) + unit, unit}
	}
	metrics := alone.beyond(hitMetrics, hit)
	rpc := rpcRatio(r.rpcs[bufconnTransport])
	list := []target{
		ratio("hit ÷ Kubernetes' token cache, "+serial.String(), 0.8, alone.ratio(hit, kubernetes)),
		ratio("hit ÷ Kubernetes' token cache, "+concurrent.String(), 0.7, together.ratio(hit, kubernetes)),
		ratio("hit ÷ hand-rolled interceptor, "+serial.String(), 0.3, alone.ratio(hit, handRolled)),
		ratio("hit ÷ hand-rolled interceptor, "+concurrent.String(), 0.3, together.ratio(hit, handRolled)),
		ratio("`cache.Get` ÷ Kubernetes' token cache", 0.3, alone.ratio(cacheGet, kubernetes)),
		ratio("`cache.Do` on a hit ÷ Kubernetes' token cache", 0.35, alone.ratio(cacheDo, kubernetes)),
		plain("allocations of a hit", 1, r.allocs[hit], "%.0f", ""),
		plain("allocations of `cache.Do` on a hit", 0, r.allocs[cacheDo], "%.0f", ""),
		{"what the SDK's metrics add to a hit", 20, metrics.median, fmt.Sprintf("%.0f [%.0f, %.0f] ns", metrics.median, metrics.low, metrics.high), " ns"},
		plain("allocations that they add", 0, r.allocs[hitMetrics]-r.allocs[hit], "%.0f", ""),
		{"call over bufconn, with the interceptor ÷ bare", 1.03, rpc.median, fmt.Sprintf("%.3f [%.3f, %.3f]", rpc.median, rpc.low, rpc.high), ""},
		plain("bytes for a cached session beyond its AuthContext", 350, r.holder(ourHolder).bytes-r.holder(identitiesAlone).bytes, "%.0f", " B"),
		plain("longest lookup while entries expire, beyond the quiet cache beside it", 1000,
			float64((r.stall.ours.longest - r.stall.quiet.longest).Microseconds()), "%.0f", " µs"),
		plain("verifications in a stampede", 1, float64(r.verifications()), "%.0f", ""),
		plain("p99 in a stampede ÷ the owner's time", 1.15,
			float64(r.stampede(func(s stampede) time.Duration { return s.p99 }))/float64(r.scale.ownerAnswers), "%.2f", ""),
	}
	for i, s := range r.streams {
		list = append(list, plain("open stream beyond an interceptor that does nothing, "+s.kind, []float64{1229, 4096}[i], s.bound-s.passing, "%.0f", " B"))
	}
	return list
}

// targets is the table of what is to be reached.
func (p *page) targets(r results) {
	p.linef("\n## Targets\n")
	p.linef("With %s, where nothing else is said.", tokensText(r.scale.few))
	p.table("", "at most", "this run", "")
	for _, t := range r.list() {
		verdict := "met"
		if t.got > t.most {
			verdict = "**missed**"
		}
		p.row(t.figure, fmt.Sprintf("%v%s", t.most, t.unit), t.text, verdict)
	}
}
