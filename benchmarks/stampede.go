package main

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// stampede is what came of many calls with one token that nobody has verified yet.
type stampede struct {
	verifications int64
	// The times of a call, from the moment at which all may begin: one that only
	// comes to run when the answer is there has waited, too.
	p50, p99, most time.Duration
}

// The ones that are called in a stampede.
const (
	ourStampede        = "sessionauth"
	kubernetesStampede = "Kubernetes' token cache"
	handRolledStampede = "hand-rolled interceptor"
	bareStampede       = "a channel that is closed, alone"
)

// crowds are who is called, and how.
var crowds = []struct {
	name string
	call func(verify interceptor.VerifyFunc[*session]) func() error
}{
	{ourStampede, func(verify interceptor.VerifyFunc[*session]) func() error {
		return callOf(newAuth(verify, cache.Policy{TTL: ttl}).UnaryServerInterceptor())
	}},
	{kubernetesStampede, func(verify interceptor.VerifyFunc[*session]) func() error {
		kube := newKubernetes(verify)
		return func() error {
			_, _, err := kube.AuthenticateToken(context.Background(), token(0))
			return err
		}
	}},
	{handRolledStampede, func(verify interceptor.VerifyFunc[*session]) func() error { return callOf(newHandRolled(verify)) }},
	{bareStampede, waitForChannel},
}

// waitForChannel is the least that calls can do which wait for the same answer: what the
// machine takes to start and to wake them.
func waitForChannel(verify interceptor.VerifyFunc[*session]) func() error {
	var once sync.Once
	answered := make(chan struct{})
	return func() error {
		once.Do(func() {
			go func() {
				_, err := verify(context.Background(), token(0), nil)
				must(err)
				close(answered)
			}()
		})
		<-answered
		return nil
	}
}

func callOf(intercept grpc.UnaryServerInterceptor) func() error {
	ctx := bearerCall(token(0))
	return func() error {
		_, err := intercept(ctx, nil, info, handler)
		return err
	}
}

// measureStampedes lets the crowds take turns.
func measureStampedes(s scale) map[string][]stampede {
	measured := map[string][]stampede{}
	for range s.stampedes {
		for _, c := range crowds {
			measured[c.name] = append(measured[c.name], runStampede(c.call, s.callers, s.ownerAnswers))
		}
	}
	return measured
}

// runStampede makes the calls at once. The owner of the sessions takes its time.
func runStampede(prepare func(interceptor.VerifyFunc[*session]) func() error, callers int, answers time.Duration) stampede {
	var verifications atomic.Int64
	call := prepare(func(ctx context.Context, token string, header http.Header) (*session, error) {
		verifications.Add(1)
		time.Sleep(answers)
		return verify(ctx, token, header)
	})
	waits := make([]time.Duration, callers)
	open := make(chan struct{})
	var start time.Time
	var ready, done sync.WaitGroup
	ready.Add(callers)
	for i := range callers {
		done.Go(func() {
			ready.Done()
			<-open
			err := call()
			waits[i] = time.Since(start)
			must(err)
		})
	}
	ready.Wait()
	runtime.GC()
	start = time.Now()
	close(open)
	done.Wait()
	s := stampede{verifications: verifications.Load()}
	slices.Sort(waits)
	s.p50, s.p99, s.most = waits[callers/2], waits[callers*99/100], waits[callers-1]
	return s
}
