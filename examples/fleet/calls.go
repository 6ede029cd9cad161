package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/reason"
)

const (
	patience = 30 * time.Second // with everything a client does here
	pause    = time.Millisecond // between two calls that wait for a refusal
)

// answer is how a call came out.
type answer struct {
	Replica int     `json:"replica"`
	Code    string  `json:"code"`
	Reason  string  `json:"reason,omitempty"`
	Name    string  `json:"name,omitempty"`
	By      string  `json:"by,omitempty"` // a result of package telemetry
	TookMs  float64 `json:"tookMs"`
}

func withToken(ctx context.Context, token string) context.Context {
	return grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

func milliseconds(d time.Duration) float64 { return max(0, float64(d.Microseconds())/1000) }

// call makes a unary call with a token on these replicas, on all at once.
func (f *fleet) call(ctx context.Context, token string, on ...int) []answer {
	ctx, cancel := context.WithTimeout(withToken(ctx, token), patience)
	defer cancel()
	answers := make([]answer, len(on))
	var wg sync.WaitGroup
	for i, n := range on {
		wg.Go(func() {
			began := time.Now()
			response, err := f.all[n].UnaryCall(ctx, &grpc_testing.SimpleRequest{})
			answers[i] = answer{
				Replica: n, Code: status.Code(err).String(), Reason: string(reason.Of(err)), Name: response.GetUsername(),
				By: string(response.GetPayload().GetBody()), TookMs: milliseconds(time.Since(began)),
			}
		})
	}
	wg.Wait()
	return answers
}

// stream is an open one.
type stream struct {
	replica int
	token   string
	ended   chan struct{} // closed when it has
	at      time.Time     // when that was, from then on
}

// tick is what a stream says: that it goes on, or how it ended.
type tick struct {
	Replica int    `json:"replica"`
	Ended   bool   `json:"ended"`
	Code    string `json:"code,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// watch has a stream open with a token on every replica, until all have ended.
func (f *fleet) watch(ctx context.Context, token string, tell func(tick)) {
	ctx, cancel := context.WithCancel(withToken(ctx, token))
	defer cancel()
	var wg sync.WaitGroup
	for n, r := range f.all {
		s := &stream{replica: n, token: token, ended: make(chan struct{})}
		f.mu.Lock()
		f.streams[s] = true
		f.mu.Unlock()
		wg.Go(func() {
			open, err := r.StreamingOutputCall(ctx, &grpc_testing.StreamingOutputCallRequest{})
			for err == nil {
				if _, err = open.Recv(); err == nil {
					tell(tick{Replica: n})
				}
			}
			s.at = time.Now()
			close(s.ended)
			f.mu.Lock()
			delete(f.streams, s)
			f.mu.Unlock()
			tell(tick{n, true, status.Code(err).String(), string(reason.Of(err))})
		})
	}
	wg.Wait()
}

// signedOut is how a sign-out came out.
type signedOut struct {
	Code    string    `json:"code"`
	Message string    `json:"message,omitempty"`
	Reached []reached `json:"reached"`
}

// reached is how long after the sign-out a replica refused a call, and ended its stream.
type reached struct {
	Replica   int      `json:"replica"`
	RefusedMs *float64 `json:"refusedMs"` // null: not within the patience
	StreamMs  *float64 `json:"streamMs"`  // null: none was open, or the same
}

// signOut signs out on one replica and sees when that reaches each of them.
func (f *fleet) signOut(ctx context.Context, token string, on int) signedOut {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	f.mu.Lock()
	open := map[int]*stream{}
	for s := range f.streams {
		if s.token == token {
			open[s.replica] = s
		}
	}
	f.mu.Unlock()
	refused := make([]time.Time, len(f.all))
	var wg sync.WaitGroup
	for n := range f.all {
		wg.Go(func() { refused[n] = f.untilRefused(ctx, token, n) })
	}
	var trailer grpcmd.MD
	_, err := f.all[on].EmptyCall(withToken(ctx, token), &grpc_testing.Empty{}, grpc.Trailer(&trailer))
	out := signedOut{Code: status.Code(err).String(), Message: status.Convert(err).Message()}
	said := trailer.Get(forgetBegan)
	if len(said) != 1 {
		cancel()
		wg.Wait()
		return out
	}
	nanoseconds, _ := strconv.ParseInt(said[0], 10, 64)
	began := time.Unix(0, nanoseconds)
	wg.Wait()
	for n := range f.all {
		r := reached{Replica: n, RefusedMs: since(began, refused[n])}
		if s := open[n]; s != nil {
			select {
			case <-s.ended:
				r.StreamMs = since(began, s.at)
			case <-ctx.Done():
			}
		}
		out.Reached = append(out.Reached, r)
	}
	return out
}

func since(began, at time.Time) *float64 {
	if at.IsZero() {
		return nil
	}
	ms := milliseconds(at.Sub(began))
	return &ms
}

// untilRefused calls until the token is refused, and returns when that was.
func (f *fleet) untilRefused(ctx context.Context, token string, on int) time.Time {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		if f.call(ctx, token, on)[0].Code == codes.Unauthenticated.String() {
			return time.Now()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return time.Time{}
		}
	}
}

// everywhere are the numbers of all replicas.
func (f *fleet) everywhere() []int {
	all := make([]int, len(f.all))
	for n := range all {
		all[n] = n
	}
	return all
}
