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

	hanging  atomic.Int64 // verifications of sessions in memory that a stall has caught
	answered atomic.Int64 // the same, that were answered since the last start of a phase
	caught   atomic.Int64 // one more than still hung when the first of those was answered; 0: none was

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
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, ended := o.ended.Load(token)
	inMemory := !ended && !strings.HasPrefix(token, newcomer)
	switch o.mode.Load() {
	case "stalled":
		if inMemory {
			o.hanging.Add(1)
			defer o.hanging.Add(-1)
		}
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
	if inMemory {
		o.caught.CompareAndSwap(0, 1+o.hanging.Load())
		o.answered.Add(1)
	}
	if ended || !strings.HasPrefix(token, "good-") {
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

// newcomer begins the tokens of those who are in nobody's memory: what they are told
// shows the outage and its end.
const newcomer = "good-new-"

// crowdOfFaults are the clients of TestFaults, and what they were told.
type crowdOfFaults struct {
	t     *testing.T
	phase atomic.Value // of string
	tally tally
	// starved counts good sessions that were told Unavailable: a load that the machine does
	// not get round to for half a second looks like one for which there is no place.
	calls, starved atomic.Int64
	// ended has, for a token, when its session ended and how: forgotten ones are refused
	// from then on. refused has when a client was first told so.
	ended, refused, over sync.Map
}

// check compares what a client was told with what it may be told, by the order of events:
// how long anything takes is the machine's affair.
func (c *crowdOfFaults) check(kind, token string, asked time.Time, err error) {
	now, code := c.phase.Load().(string), status.Code(err)
	c.tally.add(now, kind+" "+code.String())
	ended, isEnded := c.ended.Load(token)
	refused, isRefused := c.refused.Load(kind + token)
	c.calls.Add(1)
	switch {
	case !isEnded && code == codes.Unavailable && kind == "unary":
		c.starved.Add(1)
	case !isEnded && code != codes.OK:
		c.t.Errorf("%s: %s, whose session is good and in memory, was told %v", now, token, err)
	case code == codes.Unauthenticated:
		c.refused.LoadOrStore(kind+token, time.Now())
	case code != codes.OK:
	case isRefused && asked.After(refused.(time.Time)):
		c.t.Errorf("%s: %s was refused, and served again", now, token)
	case isEnded && kind == "unary" && !ended.(time.Time).IsZero() && asked.After(ended.(time.Time)):
		c.t.Errorf("%s: %s was served after a Forget", now, token)
	}
}

// until waits for something that must happen, however long the machine takes.
func (c *crowdOfFaults) until(what string, happened func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !happened(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s: it never happened that %s", c.phase.Load(), what)
		}
	}
}

// more returns whether so many more of these were told by now.
func (c *crowdOfFaults) more(n int, what string) func() bool {
	phase := c.phase.Load().(string)
	before := c.tally.get(phase, what)
	return func() bool { return c.tally.get(phase, what) >= before+n }
}

// TestFaults puts 200 clients in front of an owner of sessions that is killed, stalls,
// answers slowly, answers garbage, and comes back. It looks at counts and the order of
// events, and goes on when those have come.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const (
		ttl      = time.Second
		clients  = 150
		streamed = 50
	)
	o := newFaultyOwner(t)
	t.Cleanup(ownerClient.CloseIdleConnections)
	// VerifyTimeout is the default: it is not what a recovery waits for.
	a, err := interceptor.NewSessionAuth(o.verify, mapRecord, interceptor.WithStreamRecheck(ttl/2),
		interceptor.WithCache(cache.Policy{TTL: ttl, RefreshAfter: ttl / 2, StaleIfError: time.Hour, MaxVerifies: 1024}))
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, &service{}, a.ServerOptions()...)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	c := &crowdOfFaults{t: t, tally: tally{counts: map[string]map[string]int{}}}
	c.phase.Store("warming up")

	for i := range clients {
		token := fmt.Sprintf("good-%d", i)
		wg.Go(func() {
			for ctx.Err() == nil {
				asked := time.Now()
				_, err := client.UnaryCall(authtest.WithBearer(ctx, token), &grpc_testing.SimpleRequest{})
				if ctx.Err() == nil {
					c.check("unary", token, asked, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	for i := range streamed {
		token := fmt.Sprintf("good-%d", i) // shared with the unary clients
		wg.Go(func() {
			stream, err := client.FullDuplexCall(authtest.WithBearer(ctx, token))
			for err == nil {
				asked := time.Now()
				if err = stream.Send(&grpc_testing.StreamingOutputCallRequest{}); err == nil || errors.Is(err, io.EOF) {
					_, err = stream.Recv()
				}
				if ctx.Err() == nil {
					c.check("stream message", token, asked, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
			if ctx.Err() == nil {
				c.over.Store(token, true)
			}
		})
	}
	var closed atomic.Bool // to newcomers
	var arriving atomic.Int64
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			arriving.Add(1)
			if closed.Load() {
				arriving.Add(-1)
				time.Sleep(100 * time.Millisecond)
				continue
			}
			wg.Go(func() { // one that hangs holds up none that come later
				defer arriving.Add(-1)
				phase := c.phase.Load().(string)
				_, err := client.UnaryCall(authtest.WithBearer(ctx, fmt.Sprint(newcomer, i)), &grpc_testing.SimpleRequest{})
				if ctx.Err() != nil {
					return
				}
				c.tally.add(phase, "newcomer "+status.Code(err).String())
				if err != nil && status.Code(err) != codes.Unavailable {
					t.Errorf("%s: a newcomer was told %v", phase, err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
	})

	enter := func(name, mode string) {
		c.phase.Store(name)
		o.mode.Store(mode)
	}
	everybody := func() {
		t.Helper()
		c.until("everybody was served", func(unary, message func() bool) func() bool {
			return func() bool { return unary() && message() }
		}(c.more(3*clients, "unary OK"), c.more(3*streamed/2, "stream message OK")))
	}
	// outage lasts until newcomers have noticed and everybody was served from memory.
	outage := func() {
		t.Helper()
		stale := a.Stats().StaleHits
		c.until("newcomers noticed the outage", c.more(5, "newcomer Unavailable"))
		c.until("stale sessions were served", func() bool { return a.Stats().StaleHits >= stale+3*clients })
		everybody()
	}
	// up lasts until the owner was found to be there, by newcomers and for those in memory.
	up := func(name string) {
		t.Helper()
		enter(name, "up")
		o.answered.Store(0)
		c.until("a newcomer was served", c.more(5, "newcomer OK"))
		c.until("sessions in memory were verified again", func() bool { return o.answered.Load() >= clients/2 })
		everybody()
	}
	// end ends the session of a client.
	end := func(token string, forget func() error) {
		t.Helper()
		c.ended.Store(token, time.Time{})
		o.ended.Store(token, true)
		if forget == nil {
			return
		}
		if err := forget(); err != nil {
			t.Error(err)
		}
		c.ended.Store(token, time.Now())
	}
	found := func(tokens ...string) {
		t.Helper()
		for _, token := range tokens {
			c.until("the end of the session of "+token+" was noticed", func() bool {
				_, refused := c.refused.Load("unary" + token)
				_, over := c.over.Load(token)
				return refused && over
			})
		}
	}

	c.until("all sessions were in memory", func() bool { return a.Stats().Entries >= clients })
	everybody()
	up("up")
	end("good-0", nil) // found out by a later verification
	end("good-1", func() error { return a.Forget(context.Background(), "good-1") })
	found("good-0", "good-1")

	enter("killed", "up")
	o.kill()
	outage()
	end("good-2", nil) // served until the owner is back
	end("good-3", func() error { return a.ForgetSubject(context.Background(), "good-3") })
	outage()
	o.start()
	up("up after the kill")
	found("good-2", "good-3")

	enter("stalled", "stalled")
	outage()
	// With nobody new to bring an answer, the return is noticed by those who are asked about
	// anew beside the verifications that still hang, not when those are given up.
	closed.Store(true)
	c.until("the newcomers gave up", func() bool { return arriving.Load() == 0 })
	c.until("the owner was asked again beside what hangs", func() bool { return o.hanging.Load() >= 3 })
	o.caught.Store(0)
	enter("up after the stall", "up")
	c.until("the owner's return was noticed", func() bool { return o.caught.Load() > 0 })
	caught := o.caught.Load()
	closed.Store(false)
	up("up after the stall")
	if caught <= 2 { // one of them may just have been given up
		t.Error("the owner's return was noticed when what hung was given up, not by asking anew meanwhile")
	}
	enter("slow", "slow")
	everybody()
	enter("garbage", "garbage")
	outage()
	enter("cut off", "cut off")
	outage()
	up("up at last")

	stop()
	wg.Wait()
	if starved, calls := c.starved.Load(), c.calls.Load(); starved*100 > calls {
		t.Errorf("%d of %d calls with good sessions were told Unavailable", starved, calls)
	}
	c.over.Range(func(token, _ any) bool {
		if _, isEnded := c.ended.Load(token); !isEnded {
			t.Errorf("the stream of %s, whose session is good, has ended", token)
		}
		return true
	})
	for _, name := range slices.Sorted(maps.Keys(c.tally.counts)) {
		t.Logf("%-19s %v", name, c.tally.counts[name])
	}
	t.Logf("%d verifications reached the owner; %+v", o.asked.Load(), a.Stats())
}
