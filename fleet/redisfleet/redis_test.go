package redisfleet_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/fleet"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
)

// lazyRefresh is what a client of rueidis may leave for up to a second when it is closed.
var lazyRefresh = goleak.IgnoreAnyFunction("github.com/redis/rueidis.(*call).DelayDo.func1")

func TestMain(m *testing.M) {
	if text := os.Getenv(orderVariable); text != "" { // one of the processes of TestFleet
		if err := replica(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, lazyRefresh)
}

const secret = "0123456789abcdef0123456789abcdef"

// server is a redis-server in a child process.
type server struct {
	t    testing.TB
	addr string
	dir  string
	args []string
	cmd  *exec.Cmd

	sentinelOf string // host and port
}

// startRedis starts one on a port of its own, without persistence, and with these arguments.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("needs redis-server: apt-get install redis-server")
	}
	s := &server{t: t, addr: freePort(t), dir: t.TempDir(), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// freePort is an address on which nobody listens.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// startSentinel starts a sentinel that watches a server.
func startSentinel(t testing.TB, main *server) *server {
	t.Helper()
	s := &server{t: t, addr: freePort(t), dir: t.TempDir(), sentinelOf: strings.Replace(main.addr, ":", " ", 1)}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// start starts it and returns when it is ready.
func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	s.cmd = exec.Command("redis-server", append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no", "--logfile", "",
	}, s.args...)...)
	if s.sentinelOf != "" {
		path := filepath.Join(s.dir, "sentinel.conf")
		if err := os.WriteFile(path, []byte("port "+port+"\nbind 127.0.0.1\ndir "+s.dir+"\nsentinel monitor main "+s.sentinelOf+" 1\n"+
			"sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"), 0o600); err != nil {
			s.t.Fatal(err)
		}
		s.cmd = exec.Command("redis-server", path, "--sentinel")
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if line := lines.Text(); strings.Contains(line, "Ready to accept connections") || strings.Contains(line, "+monitor master main") {
			go func() {
				for lines.Scan() { // so that it can go on writing
				}
			}()
			return
		}
	}
	s.t.Fatal("redis-server has not started")
}

// kill kills it, as kill -9 does, by its pid.
func (s *server) kill() {
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *server) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// config is for a Bus or a Store there, which does not give up on a machine that is busy.
func (s *server) config() redisfleet.Config {
	return redisfleet.Config{
		Redis: rueidis.ClientOption{
			InitAddress: []string{s.addr}, ConnWriteTimeout: patience,
			Dialer: net.Dialer{Timeout: patience, KeepAlive: patience},
		},
		Name: "test", Secrets: []string{secret}, Budget: 10 * time.Second, Wait: patience,
	}
}

// do has the server run commands, each in one string, as whoever has all rights can.
func (s *server) do(command string, more ...string) rueidis.RedisResult {
	s.t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true, DisableRetry: true, ForceSingleClient: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	words := append(strings.Fields(command), more...)
	result := c.Do(context.Background(), c.B().Arbitrary(words...).Build())
	if err := result.Error(); err != nil && !rueidis.IsRedisNil(err) {
		s.t.Fatalf("%s: %v", command, err)
	}
	return result
}

// entries are what is on the stream.
func (s *server) entries() []rueidis.XRangeEntry {
	s.t.Helper()
	all, err := s.do("XRANGE sessionauth:{test}:bus - +").AsXRange()
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// patience is for how long something is waited for that comes sooner on any machine.
const patience = 90 * time.Second

// eventually waits until something is true, and looks at it again and again.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(patience); !is(); <-again.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// hears waits until a bus is heard.
func hears(t testing.TB, b *redisfleet.Bus) {
	t.Helper()
	eventually(t, "the bus is heard", func() bool { return b.Stats().Heard })
}

// event is what a Bus told.
type event struct {
	what string // "apply", "heard" or "lost"
	f    fleet.Forgotten
	at   fleet.Position
	by   time.Time
}

// listener is a Follower that passes on what it is told.
type listener struct {
	lag    time.Duration
	events chan event
}

func newListener(lag time.Duration) *listener {
	return &listener{lag, make(chan event, 1<<20)}
}

func (l *listener) Lag() time.Duration { return l.lag }
func (l *listener) Apply(f fleet.Forgotten, at fleet.Position) {
	l.events <- event{"apply", f, at, time.Now()}
}

func (l *listener) Heard(at fleet.Position, by time.Time) {
	l.events <- event{"heard", fleet.Forgotten{}, at, by}
}

func (l *listener) Lost(from fleet.Position) {
	l.events <- event{"lost", fleet.Forgotten{}, from, time.Now()}
}

// until returns the events up to the first of this kind that was told of after now.
func (l *listener) until(t testing.TB, what string) []event {
	t.Helper()
	now := time.Now()
	var all []event
	timeout := time.After(patience)
	for {
		select {
		case e := <-l.events:
			all = append(all, e)
			if e.what == what && (what != "heard" || e.by.After(now)) {
				return all
			}
		case <-timeout:
			t.Fatalf("not %s within %v, but %d other events", what, patience, len(all))
		}
	}
}

// after returns the events up to the nth of a kind.
func (l *listener) after(t testing.TB, what string, n int) (all []event) {
	t.Helper()
	for count(all, what) < n {
		all = append(all, l.until(t, what)...)
	}
	return all
}

// untilApplied waits until it is told of message n.
func (l *listener) untilApplied(t testing.TB, n int) {
	t.Helper()
	for {
		if all := l.until(t, "apply"); same(t, all[len(all)-1].f, forgotten(t, n)) {
			return
		}
	}
}

// count is how many of the events are of this kind.
func count(all []event, what string) (n int) {
	for _, e := range all {
		if e.what == what {
			n++
		}
	}
	return n
}

// newBus returns a bus that is closed with the test.
func newBus(t testing.TB, c redisfleet.Config) *redisfleet.Bus {
	t.Helper()
	b, err := redisfleet.NewBus(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func closeBus(t testing.TB, b *redisfleet.Bus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// join has somebody follow a new bus and returns when they hear it.
func join(t testing.TB, c redisfleet.Config, lag time.Duration) (*redisfleet.Bus, *listener) {
	t.Helper()
	b, l := newBus(t, c), newListener(lag)
	if err := b.Follow(l); err != nil {
		t.Fatal(err)
	}
	l.until(t, "heard")
	return b, l
}

// forgotten is something that was forgotten, told apart by n.
func forgotten(t testing.TB, n int) fleet.Forgotten {
	t.Helper()
	var f fleet.Forgotten
	if err := f.UnmarshalBinary(fmt.Appendf([]byte{3}, "%032d", n)); err != nil {
		t.Fatal(err)
	}
	return f
}

func same(t testing.TB, a, b fleet.Forgotten) bool {
	t.Helper()
	one, err := a.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	other, err := b.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return string(one) == string(other)
}
