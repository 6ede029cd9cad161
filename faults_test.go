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

// TestFaults puts 200 clients in front of an owner of sessions that is killed,
// stalls, answers slowly, answers garbage, and comes back, for 22 seconds.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 22 seconds")
	}
	const (
		ttl      = time.Second
		clients  = 150
		streamed = 50
		grace    = 500 * time.Millisecond // of a busy machine
	)
	o := newFaultyOwner(t)
	t.Cleanup(ownerClient.CloseIdleConnections)
	a, err := interceptor.NewSessionAuth(o.verify, mapRecord, interceptor.WithStreamRecheck(ttl/2),
		interceptor.WithCache(cache.Policy{
			TTL: ttl, RefreshAfter: ttl / 2, StaleIfError: time.Minute, VerifyTimeout: ttl / 2, MaxVerifies: 256,
		}))
	if err != nil {
		t.Fatal(err)
	}
	client := serve(t, &service{}, a.ServerOptions()...)
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)

	var phase atomic.Value
	phase.Store("warming up")
	counts := &tally{counts: map[string]map[string]int{}}
	var ends sync.Map // token → by when it must not be served any more
	var streamsOver sync.Map
	var wg sync.WaitGroup

	// check compares what a client was told with what it may be told.
	check := func(kind, token string, asked time.Time, err error) {
		now, code := phase.Load().(string), status.Code(err)
		if ctx.Err() != nil {
			return
		}
		counts.add(now, fmt.Sprintf("%s %s", kind, code))
		by, isEnded := ends.Load(token)
		switch {
		case isEnded && code == codes.OK && asked.After(by.(time.Time)):
			t.Errorf("%s: %s was served %v after its bound", now, token, asked.Sub(by.(time.Time)))
		case !isEnded && code == codes.Unauthenticated:
			t.Errorf("%s: %s with a good session was told %v", now, token, err)
		case !isEnded && code != codes.OK && now != "warming up":
			t.Errorf("%s: %s, whose session is in memory, was told %v", now, token, err)
		}
	}
	for i := range clients {
		token := fmt.Sprintf("good-%d", i)
		wg.Go(func() {
			for ctx.Err() == nil {
				asked := time.Now()
				call, cancel := context.WithTimeout(ctx, 5*time.Second)
				_, err := client.UnaryCall(authtest.WithBearer(call, token), &grpc_testing.SimpleRequest{})
				cancel()
				check("unary", token, asked, err)
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
				if err = stream.Send(&grpc_testing.StreamingOutputCallRequest{}); err == nil {
					_, err = stream.Recv()
				} else if errors.Is(err, io.EOF) {
					_, err = stream.Recv()
				}
				check("stream message", token, asked, err)
				time.Sleep(20 * time.Millisecond)
			}
			if ctx.Err() == nil {
				streamsOver.Store(token, time.Now())
			}
		})
	}
	// Newcomers are in nobody's memory: what they are told shows the outage and its end.
	var recovered atomic.Int64 // when a newcomer was served last for the first time in a phase, in ns
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			call, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := client.UnaryCall(authtest.WithBearer(call, fmt.Sprintf("good-new-%d", i)), &grpc_testing.SimpleRequest{})
			cancel()
			if ctx.Err() != nil {
				return
			}
			counts.add(phase.Load().(string), fmt.Sprintf("newcomer %s", status.Code(err)))
			if err == nil {
				recovered.CompareAndSwap(0, time.Now().UnixNano())
			} else if status.Code(err) != codes.Unavailable {
				t.Errorf("%s: a newcomer was told %v", phase.Load(), err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})

	enter := func(name, mode string) {
		phase.Store(name)
		o.mode.Store(mode)
		recovered.Store(0)
	}
	up := func(name string, lasts time.Duration) {
		enter(name, "up")
		back := time.Now()
		time.Sleep(lasts)
		if first := recovered.Load(); first == 0 || time.Duration(first-back.UnixNano()) > time.Second+grace {
			t.Errorf("%s: no newcomer was served within a second", name)
		}
	}
	// end ends the session of a client; from by on, nobody may be served by it.
	end := func(token string, within time.Duration) {
		o.ended.Store(token, true)
		ends.Store(token, time.Now().Add(within+grace))
	}

	time.Sleep(time.Second)
	up("up", 2*time.Second)
	end("good-0", ttl) // found out by the next verification
	end("good-1", 0)
	_ = a.Forget(context.Background(), "good-1")
	time.Sleep(ttl + grace)

	enter("killed", "up")
	o.kill()
	time.Sleep(2 * time.Second)
	end("good-2", time.Hour) // until the owner is back
	end("good-3", 0)
	_ = a.ForgetSubject(context.Background(), "good-3")
	time.Sleep(2 * time.Second)
	o.start()
	ends.Store("good-2", time.Now().Add(time.Second+grace))
	up("up after the kill", 3*time.Second)

	enter("stalled", "stalled")
	time.Sleep(4 * time.Second)
	up("up after the stall", 2*time.Second)
	enter("slow", "slow")
	time.Sleep(2 * time.Second)
	enter("garbage", "garbage")
	time.Sleep(1500 * time.Millisecond)
	enter("cut off", "cut off")
	time.Sleep(1500 * time.Millisecond)
	up("up at last", 2*time.Second)

	stop()
	wg.Wait()
	for _, token := range []string{"good-0", "good-1", "good-2", "good-3"} {
		if _, over := streamsOver.Load(token); !over {
			t.Errorf("the stream of %s, whose session has ended, is still open", token)
		}
	}
	streamsOver.Range(func(token, _ any) bool {
		if _, isEnded := ends.Load(token); !isEnded {
			t.Errorf("the stream of %s, whose session is good, has ended", token)
		}
		return true
	})
	for _, outage := range []string{"killed", "stalled", "garbage", "cut off"} {
		if counts.get(outage, "unary OK") == 0 || counts.get(outage, "stream message OK") == 0 {
			t.Errorf("%s: nobody was served from memory", outage)
		}
		if counts.get(outage, "newcomer Unavailable") == 0 {
			t.Errorf("%s: no newcomer noticed: there was no outage", outage)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(counts.counts)) {
		t.Logf("%-19s %v", name, counts.counts[name])
	}
	t.Logf("%d verifications reached the owner; %+v", o.asked.Load(), a.Stats())
}
