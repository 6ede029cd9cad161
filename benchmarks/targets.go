package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// target is what a figure is to be at most.
type target struct {
	key    string // of its note
	figure string
	most   float64
	unit   string
	got    float64
	text   string // got, with its quartiles where there are any
}

func (t target) missed() bool { return t.got > t.most }

func rpcRatio(s series, of string) spread { return s.groups(10).ratio(of, bareRPC) }

func (r results) cost(tokens int, w way) series {
	for _, c := range r.costs {
		if c.tokens == tokens && c.way == w {
			return c.series
		}
	}
	return nil
}

// beyondIdentities is what a holder takes for a session beyond its AuthContext.
func (r results) beyondIdentities(name string) float64 {
	var bytes, identities float64
	for _, h := range r.holders {
		switch h.name {
		case name:
			bytes = h.bytes
		case identitiesAlone:
			identities = h.bytes
		}
	}
	return bytes - identities
}

// verifications is the most that any stampede of somebody's cost.
func (r results) verifications(name string) (most int64) {
	for _, s := range r.stampedes[name] {
		most = max(most, s.verifications)
	}
	return most
}

// stampede is the median of some duration in somebody's stampedes.
func (r results) stampede(name string, of func(stampede) time.Duration) time.Duration {
	return time.Duration(durationsOf(r.stampedes[name], of).median)
}

func durationsOf[T any](of []T, duration func(T) time.Duration) spread {
	values := make([]float64, len(of))
	for i, t := range of {
		values[i] = float64(duration(t))
	}
	return spreadOf(values)
}

func p99(s stampede) time.Duration { return s.p99 }

// beyondQuiet is how much longer the longest lookup took than in the quiet cache.
func beyondQuiet(s stall) time.Duration { return s.ours.longest - s.quiet.longest }

// list returns the targets whose figures were measured.
func (r results) list() []target {
	list := make([]target, 0, 20)
	add := func(measured bool, key, figure string, most float64, unit string, decimals int, s spread) {
		if !measured {
			return
		}
		text := strconv.FormatFloat(s.median, 'f', decimals, 64)
		if s.low != s.median || s.high != s.median {
			text = fmt.Sprintf("%s [%.*f, %.*f]", text, decimals, s.low, decimals, s.high)
		}
		list = append(list, target{key, figure, most, unit, s.median, text + unit})
	}
	alone, together := r.cost(r.scale.few, serial), r.cost(r.scale.few, concurrent)
	ratio := func(of series, key, figure, name, to string, most float64) {
		add(of[name] != nil && of[to] != nil, key, figure, most, "", 2, of.ratio(name, to))
	}
	ratio(alone, "hit-kubernetes", "hit ÷ Kubernetes' token cache, "+serial.String(), hit, kubernetes, 0.8)
	ratio(together, "hit-kubernetes-8", "hit ÷ Kubernetes' token cache, "+concurrent.String(), hit, kubernetes, 0.7)
	ratio(alone, "hit-kubernetes-received", "the same, as a transport hands it over, "+serial.String(), hitReceived, kubernetes, 0.8)
	ratio(together, "hit-kubernetes-received-8", "the same, as a transport hands it over, "+concurrent.String(), hitReceived, kubernetes, 0.7)
	ratio(alone, "hit-hand-rolled", "hit ÷ hand-rolled interceptor, "+serial.String(), hit, handRolled, 0.3)
	ratio(together, "hit-hand-rolled-8", "hit ÷ hand-rolled interceptor, "+concurrent.String(), hit, handRolled, 0.3)
	ratio(alone, "get-kubernetes", "`cache.Get` ÷ Kubernetes' token cache", cacheGet, kubernetes, 0.3)
	ratio(alone, "do-kubernetes", "`cache.Do` on a hit ÷ Kubernetes' token cache", cacheDo, kubernetes, 0.35)
	allocs := func(key, figure, name, beyond string, most float64) {
		_, ok := r.allocs[name]
		_, both := r.allocs[beyond]
		add(ok && (both || beyond == ""), key, figure, most, "", 2, exactly(r.allocs[name]-r.allocs[beyond]))
	}
	allocs("hit-allocations", "allocations of a hit", hit, "", 1)
	allocs("do-allocations", "allocations of `cache.Do` on a hit", cacheDo, "", 0)
	add(alone[hitMetrics] != nil && alone[hit] != nil, "metrics", "what the SDK's metrics add to a hit", 20, " ns", 0, alone.beyond(hitMetrics, hit))
	allocs("metrics-allocations", "allocations that they add", hitMetrics, hit, 0)
	bufconn := r.rpcs[bufconnTransport]
	add(bufconn[interceptedRPC] != nil, "rpc", "call over bufconn, with the interceptor ÷ bare", 1.03, "", 3, rpcRatio(bufconn, interceptedRPC))
	add(r.holders != nil, "memory", "a cached session beyond its AuthContext", 350, " B", 0, exactly(r.beyondIdentities(ourHolder)))
	expiry := durationsOf(r.stalls, beyondQuiet)
	add(r.stalls != nil, "expiry", "longest lookup while entries expire, beyond the quiet cache beside it", 1000, " µs", 0,
		spread{expiry.low / 1000, expiry.median / 1000, expiry.high / 1000})
	add(r.stampedes != nil, "stampede", "verifications in a stampede", 1, "", 0, exactly(float64(r.verifications(ourStampede))))
	owner := float64(r.scale.ownerAnswers)
	crowd := durationsOf(r.stampedes[ourStampede], p99)
	least := float64(r.stampede(bareStampede, p99)) / owner
	add(r.stampedes != nil, "stampede-p99", fmt.Sprintf("p99 in a stampede ÷ the owner's time (%s: %.2f)", bareStampede, least), 1.15, "", 2, spread{crowd.low / owner, crowd.median / owner, crowd.high / owner})
	for i, s := range r.streams {
		add(true, []string{"stream-one", "stream-many"}[i], "open stream beyond an interceptor that does nothing, "+s.kind, []float64{1229, 4096}[i], " B", 0,
			s.bytes.beyond(boundStream, passingStream))
	}
	return list
}

func exactly(value float64) spread { return spread{value, value, value} }

// targets is the table of what is to be reached, and what bounds what was not.
func (p *page) targets(r results) {
	list := r.list()
	if len(list) == 0 {
		return
	}
	p.linef("\n## Targets\n")
	p.linef("With %s, where nothing else is said.", tokensText(r.scale.few))
	p.table("", "at most", "this run", "")
	missed := make([]target, 0, len(list))
	for _, t := range list {
		verdict := "met"
		if t.missed() {
			verdict = "**missed**"
			missed = append(missed, t)
		}
		p.row(t.figure, strconv.FormatFloat(t.most, 'f', -1, 64)+t.unit, t.text, verdict)
	}
	if len(missed) == 0 || !r.whole {
		return
	}
	p.linef("\n### What bounds it")
	for _, t := range missed {
		text := notesOf(notes)[t.key]
		if text == "" {
			text = "Not known yet."
		}
		p.linef("\n%s: %s. %s", strings.ToUpper(t.figure[:1])+t.figure[1:], t.text, text)
	}
}

// notesOf splits the notes, each below a heading that is the key of its target.
func notesOf(text string) map[string]string {
	found := map[string]string{}
	for section := range strings.SplitSeq("\n"+text, "\n## ") {
		key, note, _ := strings.Cut(section, "\n")
		if key != "" {
			found[key] = strings.TrimSpace(note)
		}
	}
	return found
}
