package redisfleet_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// process is a replica in a process of its own, behind a proxy to Redis.
type process struct {
	t       *testing.T
	proxy   *proxy
	cmd     *exec.Cmd
	stdin   io.Closer
	client  grpc_testing.TestServiceClient
	control string
}

func newProcess(t *testing.T, s *server, ownerURL string, patient bool) *process {
	t.Helper()
	p := &process{t: t}
	var addr []string
	p.proxy, addr = through(t, s.addr)
	text, err := json.Marshal(order{addr[0], ownerURL, patient})
	if err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), orderVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	calls, control, _ := strings.Cut(strings.TrimSpace(line), " ")
	p.control = "http://" + control
	conn, err := grpc.NewClient("passthrough:///"+calls, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	p.client = grpc_testing.NewTestServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		_ = p.stdin.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("a replica has not ended well: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return p
}

func (p *process) state() (st state) {
	if _, err := get(context.Background(), p.control+"/state", &st); err != nil {
		p.t.Error(err)
	}
	return st
}

// call makes a unary call with a token.
func (p *process) call(token string) codes.Code {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.client.UnaryCall(grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), &grpc_testing.SimpleRequest{})
	return status.Code(err)
}

// open opens a stream with a token and returns a channel that says how it ended.
func (p *process) open(token string) <-chan codes.Code {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.t.Cleanup(cancel)
	stream, err := p.client.FullDuplexCall(grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token))
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		p.t.Errorf("a stream with %s: %v", token, err)
	}
	ended := make(chan codes.Code, 1)
	go func() {
		_, err := stream.Recv()
		ended <- status.Code(err)
	}()
	return ended
}

// replicaSet is three replicas, what they have in common, and what is known of their clients.
type replicaSet struct {
	*testing.T
	redis    *server
	owner    *owner
	replicas []*process

	mu     sync.Mutex
	told   map[string]time.Time // when it was sure that the sessions of these tokens had been forgotten
	served atomic.Int64
	next   int
}

// load has clients call with a token on all replicas until it is stopped. A session that has not
// ended must be let in, one that has must not be, a Lag after that was told.
func (f *replicaSet) load(token string, stop <-chan struct{}) {
	next := time.NewTicker(2 * time.Millisecond) // there is a machine to be shared
	defer next.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-next.C:
		}
		p := f.replicas[i%len(f.replicas)]
		f.mu.Lock()
		told := f.told[token]
		f.mu.Unlock()
		f.owner.mu.Lock()
		ended := !f.owner.ended[token].IsZero()
		f.owner.mu.Unlock()
		began := time.Now()
		code := p.call(token)
		f.served.Add(1)
		switch {
		case code == codes.OK && !told.IsZero() && began.Sub(told) > lag:
			f.Errorf("%s was let in by replica %d, %v after it was told", token, i%len(f.replicas), began.Sub(told))
			return
		case code != codes.OK && code != codes.Unauthenticated:
			f.Errorf("%s: %v", token, code)
		case code == codes.Unauthenticated && !ended:
			f.owner.mu.Lock()
			ended = !f.owner.ended[token].IsZero() // meanwhile
			f.owner.mu.Unlock()
			if !ended {
				f.Errorf("%s, which is good, was refused", token)
			}
		}
	}
}

// end ends the session of a token and tells a replica that can tell the others, if there is one.
func (f *replicaSet) end(token string) {
	f.owner.end(token)
	for i := range f.replicas {
		if code, err := get(context.Background(), f.replicas[(f.next+i)%len(f.replicas)].control+"/forget?token="+token, nil); err == nil && code == http.StatusOK {
			break
		}
	}
	f.next++
	f.mu.Lock()
	f.told[token] = time.Now()
	f.mu.Unlock()
}

// until waits until all replicas but these hear the bus, or none of these does.
func (f *replicaSet) until(heard bool, of ...*process) {
	for _, p := range of {
		eventually(f, fmt.Sprint("the bus is heard: ", heard), func() bool { return p.state().Bus.Heard == heard })
	}
}

// newReplicaSet starts three replicas, one Redis in which they have no more rights than they need,
// and their owner.
func newReplicaSet(t *testing.T, patient bool) *replicaSet {
	t.Helper()
	o := &owner{}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := o.verify(r.Context(), r.FormValue("token"), nil); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(origin.Close)
	s := startRedis(t, append([]string{"--user", "fleet"}, strings.Fields(leastACL)...)...)
	f := &replicaSet{T: t, redis: s, owner: o, told: map[string]time.Time{}}
	for range 3 {
		f.replicas = append(f.replicas, newProcess(t, f.redis, origin.URL, patient))
	}
	f.until(true, f.replicas...)
	return f
}

// TestOneVerificationAcrossProcesses: three replicas see the same credentials while nobody knows them. The
// owner answers none before every replica has looked for each of them in vain.
func TestOneVerificationAcrossProcesses(t *testing.T) {
	const tokens = 30
	f := newReplicaSet(t, true)
	for i, p := range f.replicas {
		n := 0
		eventually(t, "the store is reached", func() bool {
			n++
			p.call(fmt.Sprint("warm", i, "-", n))
			return p.state().Store.Reached
		})
	}
	var looked []uint64
	for _, p := range f.replicas {
		looked = append(looked, p.state().Store.Misses)
	}
	before := f.owner.verified.Load()
	open := f.owner.shut()
	var wg sync.WaitGroup
	for _, p := range f.replicas {
		for n := range tokens {
			wg.Go(func() {
				if code := p.call(fmt.Sprint("well", n)); code != codes.OK {
					t.Errorf("%v", code)
				}
			})
		}
	}
	for i, p := range f.replicas {
		eventually(t, "all have looked for it", func() bool { return p.state().Store.Misses == looked[i]+tokens })
	}
	open()
	wg.Wait()
	if got := f.owner.verified.Load() - before; got != tokens {
		t.Errorf("%d verifications of %d credentials by %d replicas at once", got, tokens, len(f.replicas))
	}
	waited := uint64(0)
	for _, p := range f.replicas {
		waited += p.state().Store.Waits
	}
	if waited < tokens*2 {
		t.Errorf("%d calls waited for another replica, want %d", waited, tokens*2)
	}
}

// TestFleet puts three replicas in processes of their own in front of one owner, with one Redis that
// suffers everything it can, and asserts that good sessions are always let in, that ended ones
// are not for longer than a Lag, and that all streams of those end. Run it with -v to see the
// counts and the delays.
func TestFleet(t *testing.T) {
	t.Parallel()
	f := newReplicaSet(t, false)
	f.delays()
	everybody := f.replicas
	for _, fault := range []struct {
		name          string
		breaks, mends func()
		cut           []*process // who does not hear the bus then
	}{
		{"none", func() {}, func() {}, nil},
		{"killed, and restarted empty", func() { f.redis.kill() }, func() { f.redis.start() }, everybody},
		{"flushed", func() { f.redis.do("FLUSHALL") }, func() {}, nil},
		{"frozen", func() { f.redis.signal(syscall.SIGSTOP) }, func() { f.redis.signal(syscall.SIGCONT) }, everybody},
		{"full", func() { f.redis.do("CONFIG SET maxmemory 1") }, func() { f.redis.do("CONFIG SET maxmemory 0") }, everybody},
		{"read-only", func() { f.redis.do("REPLICAOF 127.0.0.1 1") }, func() { f.redis.do("REPLICAOF NO ONE") }, everybody},
		{"without rights", func() { f.redis.do("ACL SETUSER fleet -xadd -xread -set -get") }, func() { f.redis.do("ACL SETUSER fleet +xadd +xread +set +get") }, everybody},
		{"wrong password", func() {
			f.redis.do("ACL SETUSER fleet resetpass >rotated")
			f.redis.do("CLIENT KILL USER fleet")
		}, func() { f.redis.do("ACL SETUSER fleet >pw") }, everybody},
		{"slow", func() { f.slow(30 * time.Millisecond) }, func() { f.slow(0) }, nil},
		{"replica 0 cut off", func() { f.replicas[0].proxy.drop(true) }, func() { f.replicas[0].proxy.drop(false) }, f.replicas[:1]},
		{"replica 1 cut off", func() { f.replicas[1].proxy.drop(true) }, func() { f.replicas[1].proxy.drop(false) }, f.replicas[1:2]},
		{"replica 2 cut off", func() { f.replicas[2].proxy.drop(true) }, func() { f.replicas[2].proxy.drop(false) }, f.replicas[2:]},
	} {
		f.suffer(fault.name, fault.breaks, fault.mends, fault.cut)
	}
}

// delays measures how long a Forget takes to be effective on the other replicas.
func (f *replicaSet) delays() {
	var delays []time.Duration
	for n := range 30 {
		token := fmt.Sprint("delay", n)
		for _, p := range f.replicas {
			p.call(token)
		}
		began := time.Now()
		f.end(token)
		for _, p := range f.replicas[1:] {
			for p.call(token) != codes.Unauthenticated && !f.Failed() && time.Since(began) < patience {
				runtime.Gosched() // as often as it can be, to measure
			}
			if time.Since(began) >= patience {
				f.Fatalf("%s is not forgotten", token)
			}
			delays = append(delays, time.Since(began))
		}
	}
	slices.Sort(delays)
	f.Logf("Forget to refused on another replica, two calls over HTTP and gRPC included: p50 %v, p99 %v, max %v",
		delays[len(delays)/2], delays[len(delays)*99/100], delays[len(delays)-1])
}

// slow delays what goes to Redis, and what comes back.
func (f *replicaSet) slow(by time.Duration) {
	for _, p := range f.replicas {
		p.proxy.delay.Store(int64(by))
	}
}

// suffer has clients call, breaks something, ends sessions before, in it and after, and mends it.
func (f *replicaSet) suffer(name string, breaks, mends func(), cut []*process) {
	token := func(when string) string { return strings.NewReplacer(" ", "-", ",", "").Replace(name) + "-" + when }
	times := []string{"before", "early", "late", "after"}
	streams := map[string][]<-chan codes.Code{}
	var good []<-chan codes.Code
	for _, p := range f.replicas {
		for _, when := range times {
			streams[when] = append(streams[when], p.open(token(when)))
		}
		good = append(good, p.open(token("good")))
	}
	verified, served := f.owner.verified.Load(), f.served.Load()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, when := range append(times, "good") {
		wg.Go(func() { f.load(token(when), stop) })
	}
	f.end(token("before"))
	breaks()
	f.end(token("early"))
	f.until(false, cut...)
	f.end(token("late"))
	for _, when := range []string{"early", "late"} { // nobody is served for longer than a Lag, and streams are asked about
		f.ended(name, when, streams[when])
	}
	mends()
	f.until(true, f.replicas...)
	f.end(token("after"))
	for _, when := range []string{"before", "after"} {
		f.ended(name, when, streams[when])
	}
	// Long enough for what is served too long to be seen.
	for began := time.Now(); time.Since(began) < lag+lag/2; {
		for _, p := range f.replicas {
			p.call(token("good"))
		}
	}
	close(stop)
	wg.Wait()
	for i, ended := range good {
		select {
		case code := <-ended:
			f.Errorf("%s: the good stream on replica %d ended with %v", name, i, code)
		default:
		}
	}
	f.Logf("%-28s %6d calls, %4d verifications, every ended session refused, every good one served", name, f.served.Load()-served, f.owner.verified.Load()-verified)
}

// ended waits until streams have, by what was found out about their session.
func (f *replicaSet) ended(name, when string, streams []<-chan codes.Code) {
	for i, ended := range streams {
		select {
		case code := <-ended:
			if code != codes.Unauthenticated {
				f.Errorf("%s, %s: the stream on replica %d ended with %v", name, when, i, code)
			}
		case <-time.After(patience):
			f.Errorf("%s, %s: the stream on replica %d has not ended", name, when, i)
		}
	}
}
