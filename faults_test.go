package sessionauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// faultyOwner is an owner of sessions behind a TCP connection that can fail.
type faultyOwner struct {
	t     *testing.T
	addr  string
	mode  atomic.Value // of string
	ended sync.Map     // of tokens
	asked atomic.Int64
	hung  atomic.Int64 // requests that wait for an answer that will not come
	first atomic.Int64 // hung at the first answer after a stall; -1 before it

	mu       sync.Mutex
	server   *http.Server
	served   chan error
	released chan struct{} // closed to let stalled requests go
}

func newFaultyOwner(t *testing.T) *faultyOwner {
	t.Helper()
	o := &faultyOwner{t: t, released: make(chan struct{})}
	o.mode.Store("up")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = listener.Addr().String() // the same one when it comes back
	o.serve(listener)
	t.Cleanup(func() {
		close(o.released)
		o.kill()
	})
	return o
}

func (o *faultyOwner) start() {
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Error(err)
		return
	}
	o.serve(listener)
}

func (o *faultyOwner) serve(listener net.Listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.server = &http.Server{Handler: o, ReadHeaderTimeout: time.Minute}
	o.served = make(chan error, 1)
	go func(server *http.Server, served chan<- error) { served <- server.Serve(listener) }(o.server, o.served)
}

func (o *faultyOwner) kill() {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = o.server.Close()
	<-o.served
}

func (o *faultyOwner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.asked.Add(1)
	switch o.mode.Load() {
	case "stalled":
		o.hung.Add(1)
		defer o.hung.Add(-1)
		select {
		case <-r.Context().Done():
		case <-o.released:
		}
		return
	case "slow":
		time.Sleep(200 * time.Millisecond)
	case "garbage":
		_, _ = io.WriteString(w, "<html>Bad gateway</html>")
		return
	case "cut off":
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"user":"`)
		return
	}
	o.first.CompareAndSwap(-1, o.hung.Load())
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, ended := o.ended.Load(token); ended || !strings.HasPrefix(token, "good-") {
		_, _ = io.WriteString(w, "null")
		return
	}
	_ = json.NewEncoder(w).Encode(record{User: token})
}

// verify is a careful callback: what is not an answer means "could not find out".
func (o *faultyOwner) verify(ctx context.Context, _ string, header http.Header) (*record, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.addr+"/session", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", header.Get("Authorization"))
	response, err := ownerClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var r *record
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<16)).Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", interceptor.ErrUnavailable, err)
	}
	return r, nil
}

var ownerClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// tally counts what clients were told in one phase of the test.
type tally struct {
	mu     sync.Mutex
	counts map[string]map[string]int
}

func (c *tally) add(phase, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[phase] == nil {
		c.counts[phase] = map[string]int{}
	}
	c.counts[phase][what]++
}

func (c *tally) get(phase, what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[phase][what]
}

// faults is TestFaults while it runs: clients, what they were told, and what they may be.
type faults struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // of all clients
	client grpc_testing.TestServiceClient
	phase  atomic.Value // of string
	counts tally
	warm   sync.Map // kind and token → true, once it was served
	ended  sync.Map // token → *ending
	over   sync.Map // tokens whose stream has ended
	wg     sync.WaitGroup
}

// ending is the end of a session.
type ending struct {
	forgotten atomic.Bool // Forget has returned
	refused   atomic.Bool // somebody was told that there is no such session
}

const longest = 2 * time.Minute // a machine that needs longer than this has stopped

// told compares what a client was told with what it may be told. before says what was so
// when it asked.
func (f *faults) told(kind, token string, before bool, err error) {
	if f.ctx.Err() != nil {
		return
	}
	now, code := f.phase.Load().(string), status.Code(err)
	f.counts.add(now, fmt.Sprintf("%s %s", kind, code))
	if err == nil {
		f.warm.Store(kind+token, true)
	}
	_, served := f.warm.Load(kind + token)
	end, isEnded := f.ended.Load(token)
	switch {
	case isEnded && code == codes.OK && before:
		f.t.Errorf("%s: %s was served after it was forgotten, or somebody refused", now, token)
	case isEnded && code == codes.Unauthenticated:
		end.(*ending).refused.Store(true)
	case !isEnded && code == codes.Unauthenticated:
		f.t.Errorf("%s: %s with a good session was told %v", now, token, err)
	case !isEnded && code != codes.OK && served:
		f.t.Errorf("%s: %s, whose session is in memory, was told %v", now, token, err)
	}
}

// finished reports whether a session may not be served any more.
func (f *faults) finished(token string) bool {
	end, ok := f.ended.Load(token)
	return ok && (end.(*ending).forgotten.Load() || end.(*ending).refused.Load())
}

func (f *faults) unary(token string) {
	for f.ctx.Err() == nil {
		before := f.finished(token)
		call, cancel := context.WithTimeout(f.ctx, longest)
		_, err := f.client.UnaryCall(authtest.WithBearer(call, token), &grpc_testing.SimpleRequest{})
		cancel()
		f.told("unary", token, before, err)
		time.Sleep(20 * time.Millisecond)
	}
}

func (f *faults) stream(token string) {
	stream, err := f.client.FullDuplexCall(authtest.WithBearer(f.ctx, token))
	for err == nil {
		if err = stream.Send(&grpc_testing.StreamingOutputCallRequest{}); err == nil || errors.Is(err, io.EOF) {
			_, err = stream.Recv()
		}
		f.told("stream", token, false, err) // an open stream is told by its end
		time.Sleep(20 * time.Millisecond)
	}
	if f.ctx.Err() == nil {
		f.over.Store(token, true)
	}
}

// newcomers are in nobody's memory: what they are told shows the outage and its end.
func (f *faults) newcomers() {
	for i := 0; f.ctx.Err() == nil; i++ {
		call, cancel := context.WithTimeout(f.ctx, longest)
		_, err := f.client.UnaryCall(authtest.WithBearer(call, fmt.Sprintf("good-new-%d", i)), &grpc_testing.SimpleRequest{})
		cancel()
		if f.ctx.Err() != nil {
			return
		}
		f.counts.add(f.phase.Load().(string), fmt.Sprintf("newcomer %s", status.Code(err)))
		if err != nil && status.Code(err) != codes.Unavailable {
			f.t.Errorf("%s: a newcomer was told %v", f.phase.Load(), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// until waits for something that has to happen.
func (f *faults) until(what string, happened func() bool) {
	f.t.Helper()
	for start := time.Now(); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > longest {
			f.t.Fatalf("%s: %s does not happen: %v", f.phase.Load(), what, f.counts.counts)
		}
	}
}

// seen waits until so many clients were told this in this phase.
func (f *faults) seen(what string, times int) {
	f.t.Helper()
	now := f.phase.Load().(string)
	f.until(fmt.Sprintf("%q, %d times,", what, times), func() bool { return f.counts.get(now, what) >= times })
}

// TestFaults puts 200 clients in front of an owner of sessions that is killed, stalls,
// answers slowly, answers garbage, and comes back. What happens is waited for; nothing is
// timed.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	const ttl, clients, streamed = time.Second, 150, 50
	o := newFaultyOwner(t)
	t.Cleanup(ownerClient.CloseIdleConnections)
	a, err := interceptor.NewSessionAuth(o.verify, mapRecord, interceptor.WithStreamRecheck(ttl/2),
		interceptor.WithCache(cache.Policy{TTL: ttl, RefreshAfter: ttl / 2, StaleIfError: time.Hour})) // the rest as by default
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &faults{
		t: t, ctx: ctx, client: serve(t, &service{}, a.ServerOptions()...),
		counts: tally{counts: map[string]map[string]int{}},
	}
	t.Cleanup(func() { stop(); f.wg.Wait() })
	enter := func(name, mode string) {
		o.mode.Store(mode)
		f.phase.Store(name)
	}
	// memory waits until all kinds of client were served often, whatever the owner does.
	memory := func() {
		f.seen("unary OK", 3*clients)
		f.seen("stream OK", 3*streamed)
	}
	end := func(token string, forget func() error) {
		e := &ending{}
		f.ended.Store(token, e) // before anybody can be refused for it
		o.ended.Store(token, true)
		if forget == nil {
			return
		}
		if err := forget(); err != nil {
			t.Error(err)
		}
		e.forgotten.Store(true)
	}
	over := func(tokens ...string) {
		for _, token := range tokens {
			f.until("the end of the stream of "+token, func() bool { _, ok := f.over.Load(token); return ok })
			f.until("a refusal of "+token, func() bool { e, _ := f.ended.Load(token); return e.(*ending).refused.Load() })
		}
	}

	f.phase.Store("up")
	for i := range clients {
		f.wg.Go(func() { f.unary(fmt.Sprintf("good-%d", i)) })
	}
	for i := range streamed { // which share the sessions of some of those
		f.wg.Go(func() { f.stream(fmt.Sprintf("good-%d", i)) })
	}
	f.wg.Go(f.newcomers)
	f.until("that everybody is served", func() bool {
		served := 0
		f.warm.Range(func(any, any) bool { served++; return true })
		return served == clients+streamed
	})
	f.seen("newcomer OK", 3)
	end("good-0", nil) // found out by a later verification
	end("good-1", func() error { return a.Forget(ctx, "good-1") })
	over("good-0", "good-1")

	enter("killed", "up")
	o.kill()
	f.seen("newcomer Unavailable", 3)
	memory()
	end("good-2", nil) // not found out until the owner is back
	end("good-3", func() error { return a.ForgetSubject(ctx, "good-3") })
	f.until("the end of the stream of good-3", func() bool { _, ok := f.over.Load("good-3"); return ok })
	memory()
	o.start()
	enter("up after the kill", "up")
	f.seen("newcomer OK", 3)
	over("good-2", "good-3")

	enter("stalled", "stalled")
	f.seen("newcomer Unavailable", 1)
	memory()
	enter("up after the stall", "up")
	o.first.Store(-1)
	end("good-4", nil)
	over("good-4")
	// It is asked anew about once a second, with requests of before the return still waiting
	// for VerifyTimeout, which is 5 s.
	if o.first.Load() <= 0 {
		t.Error("the owner was asked again only when those who had asked before had given up")
	}
	f.seen("newcomer OK", 3)
	for _, mode := range []string{"slow", "garbage", "cut off"} {
		enter(mode, mode)
		memory()
		if mode != "slow" {
			f.seen("newcomer Unavailable", 3)
		}
	}
	enter("up at last", "up")
	f.seen("newcomer OK", 3)
	memory()

	stop()
	f.wg.Wait()
	f.over.Range(func(token, _ any) bool {
		if _, isEnded := f.ended.Load(token); !isEnded {
			t.Errorf("the stream of %s, whose session is good, has ended", token)
		}
		return true
	})
	for _, name := range slices.Sorted(maps.Keys(f.counts.counts)) {
		t.Logf("%-19s %v", name, f.counts.counts[name])
	}
	t.Logf("%d verifications reached the owner; %+v", o.asked.Load(), a.Stats())
}
