package main

import (
	"context"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
)

// holder is something that holds sessions in memory.
type holder struct {
	name  string
	bytes float64 // for each session
	// share is the part of the CPU's time that the collector took while garbage was made,
	// and cycle the CPU time of one collection.
	share float64
	cycle time.Duration
}

const (
	identitiesAlone = "AuthContexts alone, in a slice"
	ourHolder       = "sessionauth, whole"
)

// fillings are the holders and how they come to hold n sessions.
var fillings = []struct {
	name string
	hold func(n int) any
}{
	{identitiesAlone, func(n int) any {
		held := make([]*authcontext.AuthContext, n)
		for i := range held {
			held[i] = heldIdentity(token(i))
		}
		return held
	}},
	{ourHolder, func(n int) any {
		auth := newAuth(verify, cache.Policy{TTL: ttl, MaxEntries: 2 * n})
		intercept := auth.UnaryServerInterceptor()
		for i := range n {
			_, err := intercept(bearerCall(token(i)), nil, info, handler)
			must(err)
		}
		found(auth.Stats().Entries == n)
		return auth
	}},
	{"ttlcache of AuthContexts, by digest", func(n int) any {
		held := newTTLCache[cache.Key](n)
		for i := range n {
			held.Set(cache.NewKey(token(i)), heldIdentity(token(i)), ttl)
		}
		found(held.Len() == n)
		return held
	}},
	{"otter of AuthContexts, by digest", func(n int) any {
		held := newOtter[cache.Key](n)
		for i := range n {
			held.Set(cache.NewKey(token(i)), heldIdentity(token(i)))
		}
		held.CleanUp()
		found(held.EstimatedSize() == n)
		return held
	}},
	{"Kubernetes' token cache", func(n int) any {
		held := newKubernetes(verify)
		for i := range n {
			_, _, err := held.AuthenticateToken(context.Background(), token(i))
			must(err)
		}
		return held
	}},
}

// heldIdentity is an AuthContext as it is kept: a copy, whose subject is a part of the token.
func heldIdentity(token string) *authcontext.AuthContext {
	ac, _, err := loadOf(token)(context.Background())
	must(err)
	return ac.Clone()
}

// measureHolders weighs one holder after the other: the collector would look at all
// that are there.
func measureHolders(s scale) []holder {
	holders := make([]holder, 0, len(fillings))
	for _, f := range fillings {
		before, _ := inUse()
		held := f.hold(s.held)
		after, _ := inUse()
		h := holder{name: f.name, bytes: float64(after-before) / float64(s.held)}
		if f.name == identitiesAlone {
			h.bytes -= 8 // the slice's
		}
		h.share, h.cycle = collect(s.garbage)
		runtime.KeepAlive(held)
		holders = append(holders, h)
	}
	return holders
}

// sinks keep the compiler from leaving the garbage out.
var sinks [8]struct {
	garbage []byte
	_       [64]byte // a cache line of its own
}

// collect makes garbage for a while, the same whoever holds what, and returns what the
// collector took meanwhile.
func collect(duration time.Duration) (share float64, cycle time.Duration) {
	before := cpu()
	runtime.GC()
	runtime.GC()
	after := cpu()
	cycle = time.Duration((after.collector - before.collector) / 2 * float64(time.Second))
	before = after
	var all sync.WaitGroup
	for g := range min(runtime.GOMAXPROCS(0), len(sinks)) {
		all.Go(func() {
			for start := time.Now(); time.Since(start) < duration; {
				for range 100 {
					sinks[g].garbage = make([]byte, 1024)
				}
			}
		})
	}
	all.Wait()
	runtime.GC() // the figures are those of the last collection
	after = cpu()
	return (after.collector - before.collector) / (after.busy - before.busy), cycle
}

// seconds are those of the CPU so far.
type seconds struct{ collector, busy float64 }

func cpu() seconds {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	return seconds{samples[0].Value.Float64(), samples[1].Value.Float64() - samples[2].Value.Float64()}
}
