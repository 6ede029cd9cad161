package main

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// stampede is what came of many calls with one token that nobody has verified yet.
type stampede struct {
	verifications  int64
	p50, p99, most time.Duration // of a call
	all            time.Duration // from the first call until the last was answered
}

// runStampede makes the calls at once. The owner of the sessions takes its time.
func runStampede(callers int, answers time.Duration) stampede {
	var verifications atomic.Int64
	auth := newAuth(func(_ context.Context, token string, _ http.Header) (*session, error) {
		verifications.Add(1)
		time.Sleep(answers)
		return &session{token[:12]}, nil
	}, cache.Policy{TTL: ttl})
	intercept, call := auth.UnaryServerInterceptor(), bearerCall(token(0))
	waits := make([]time.Duration, callers)
	open := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(callers)
	for i := range callers {
		done.Go(func() {
			ready.Done()
			<-open
			start := time.Now()
			_, err := intercept(call, nil, info, handler)
			waits[i] = time.Since(start)
			must(err)
		})
	}
	ready.Wait()
	start := time.Now()
	close(open)
	done.Wait()
	s := stampede{verifications: verifications.Load(), all: time.Since(start)}
	slices.Sort(waits)
	s.p50, s.p99, s.most = waits[callers/2], waits[callers*99/100], waits[callers-1]
	return s
}
