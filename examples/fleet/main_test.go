package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// slowly has no call give up Redis, and no replica the bus, because the machine is busy. The Wait is
// below the five seconds that a verification may take, of which it is a part.
var slowly = timing{Budget: 900 * time.Millisecond, Wait: 3 * time.Second, Lag: 4 * time.Second}

// patient bounds the waits of a test, on a machine that is busy.
const patient = 2 * time.Minute

const alone = "FLEET_ALONE" // has the test be the program itself, without a replica's or Redis's role

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && roles[os.Args[1]] != nil {
		main()
		return
	}
	if os.Getenv(alone) != "" {
		os.Args = []string{os.Args[0], "-addr", "127.0.0.1:0"}
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// written is what a program has written, which several of its processes do.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newWritten() *written { return &written{more: make(chan struct{}, 1)} }

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

var (
	open      = regexp.MustCompile(`Open (http://\S+) `)
	listening = regexp.MustCompile(`(?:listens on|serves gRPC on) (\S+)\.`)
)

// url waits until the page is served, and returns where.
func (w *written) url(t *testing.T, ended <-chan error) string {
	t.Helper()
	for {
		if found := open.FindStringSubmatch(w.String()); found != nil {
			return found[1]
		}
		select {
		case <-w.more:
		case err := <-ended:
			t.Fatalf("it has ended: %v\n%s", err, w)
		}
	}
}

// addresses are those of the processes that were started.
func (w *written) addresses(t *testing.T) (all []string) {
	t.Helper()
	for _, found := range listening.FindAllStringSubmatch(w.String(), -1) {
		all = append(all, found[1])
	}
	if len(all) != replicas+1 {
		t.Fatalf("there are %d addresses in\n%s", len(all), w)
	}
	return all
}

// needRedis skips a test where there is none, but never in CI.
func needRedis(t *testing.T) {
	t.Helper()
	if _, err := findRedis(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// browser uses the page.
type browser struct {
	*testing.T
	http.Client

	url string
}

func newBrowser(t *testing.T, url string) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t, http.Client{Jar: jar, Transport: &http.Transport{}}, url}
	t.Cleanup(b.CloseIdleConnections)
	return b
}

// ask makes a request and reads the JSON of its answer.
func (b *browser) ask(method, path string, v any) {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), method, b.url+path, nil)
	if err != nil {
		b.Fatal(err)
	}
	response, err := b.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		b.Fatalf("%s %s: %s", method, path, response.Status)
	}
	if v == nil {
		return
	}
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		b.Fatalf("%s %s: %v", method, path, err)
	}
}

// until asks for the state until it is as wanted.
func (b *browser) until(what string, wanted func(state) bool) state {
	b.Helper()
	ticker, over := time.NewTicker(10*time.Millisecond), time.After(patient)
	defer ticker.Stop()
	for {
		var st state
		b.ask(http.MethodGet, "/api/state", &st)
		if wanted(st) {
			return st
		}
		select {
		case <-ticker.C:
		case <-over:
			b.Fatalf("never: %s: %+v", what, st)
		}
	}
}

// well waits until all replicas reach Redis. Calls have those try that have given it up.
func (b *browser) well() {
	b.Helper()
	b.until("all replicas reach Redis", func(st state) bool {
		for _, r := range st.Replicas {
			if !r.Heard || !r.Shared {
				b.ask(http.MethodPost, "/api/call", nil)
				return false
			}
		}
		return len(st.Replicas) == replicas
	})
}

// call makes a call on all replicas, or on one, and asserts how it comes out.
func (b *browser) call(query, code, reason string) []answer {
	b.Helper()
	var answers []answer
	b.ask(http.MethodPost, "/api/call"+query, &answers)
	for _, a := range answers {
		if a.Code != code || a.Reason != reason {
			b.Errorf("replica %d: %+v, want %s %s", a.Replica, a, code, reason)
		}
	}
	return answers
}

// once signs in, calls all replicas twice, and asserts that the owner is asked once, by one of them. On
// a machine that is starved all may be forgotten in between, to be safe: then once more.
func (b *browser) once() {
	b.Helper()
	var asked, verified int
	for range 5 {
		b.well()
		b.ask(http.MethodPost, "/api/sign-in", nil)
		verified = 0
		for _, a := range append(b.call("", "OK", ""), b.call("", "OK", "")...) {
			if a.Name != "Ada" {
				b.Errorf("%+v", a)
			}
			if a.By != "hit" && a.By != "fetched" {
				verified++
			}
		}
		asked = b.until("it is known", func(st state) bool { return st.Name == "Ada" }).Asked
		if asked == 1 && verified == 1 {
			return
		}
	}
	b.Fatalf("the owner was asked %d times about one session, for %d calls, want once", asked, verified)
}

// signOut signs out on a replica and asserts that it reaches all of them.
func (b *browser) signOut(query string, streams bool) {
	b.Helper()
	var out signedOut
	b.ask(http.MethodPost, "/api/sign-out"+query, &out)
	if out.Code != "OK" || len(out.Reached) != replicas {
		b.Fatalf("the sign-out: %+v", out)
	}
	for _, r := range out.Reached {
		if r.RefusedMs == nil || streams && r.StreamMs == nil {
			b.Errorf("replica %d was not reached: %+v", r.Replica, r)
			continue
		}
		b.Logf("replica %d refuses after %.1f ms", r.Replica, *r.RefusedMs)
	}
	b.call("", "Unauthenticated", "INVALID_SESSION")
}

// watch opens the streams and returns when all are open. wait waits until all have ended.
func (b *browser) watch() (wait func()) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patient)
	b.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/api/watch", nil)
	if err != nil {
		b.Fatal(err)
	}
	response, err := b.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	read := func(enough func(tick) bool) {
		seen := map[int]bool{}
		for len(seen) < replicas && lines.Scan() {
			var said tick
			if err := json.Unmarshal(lines.Bytes(), &said); err != nil {
				b.Fatal(err)
			}
			if enough(said) {
				seen[said.Replica] = true
			}
		}
		if len(seen) < replicas {
			b.Errorf("only the streams of %v: %v", seen, lines.Err())
		}
	}
	read(func(said tick) bool {
		if said.Ended {
			b.Errorf("a stream was not opened: %+v", said)
		}
		return true
	})
	return func() {
		b.Helper()
		read(func(said tick) bool {
			if said.Ended && (said.Code != "Unauthenticated" || said.Reason != "INVALID_SESSION") {
				b.Errorf("a stream has ended: %+v", said)
			}
			return said.Ended
		})
	}
}

func TestAFleet(t *testing.T) {
	needRedis(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, ended := newWritten(), make(chan error, 1)
	go func() { ended <- run(ctx, out, "127.0.0.1:0", slowly) }()
	b := newBrowser(t, out.url(t, ended))
	b.well()
	b.call("", "Unauthenticated", "INVALID_SESSION")

	// All is well: one verification, and a sign-out reaches all.
	b.once()
	wait := b.watch()
	b.signOut("?replica=0", true)
	wait()

	// One is cut off: it asks the owner again, and does not serve what has ended.
	b.ask(http.MethodPost, "/api/sign-in", nil)
	b.call("", "OK", "")
	wait = b.watch()
	b.ask(http.MethodPost, "/api/cut?replica=2&cut=true", nil)
	before := b.until("it hears nothing", func(st state) bool { return !st.Replicas[2].Heard && st.Replicas[0].Heard && st.Replicas[1].Heard })
	if !before.Replicas[2].Cut {
		t.Error("it is not shown that it is cut off")
	}
	b.call("", "OK", "")
	asked := func(n int) func(state) bool { return func(st state) bool { return st.Asked > n } }
	first := b.until("the owner is asked again", func(st state) bool {
		b.call("?replica=2", "OK", "")
		return asked(before.Asked)(st)
	})
	b.until("and again", func(st state) bool {
		b.call("?replica=2", "OK", "")
		return asked(first.Asked)(st)
	})
	b.signOut("?replica=0", true)
	wait()

	// It recovers by itself.
	b.ask(http.MethodPost, "/api/cut?replica=2&cut=false", nil)
	b.well()
	b.call("", "Unauthenticated", "INVALID_SESSION")
	b.ask(http.MethodPost, "/api/sign-in", nil)
	b.call("", "OK", "")
	b.signOut("?replica=2", false)

	addresses := out.addresses(t)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it has ended with %v\n%s", err, out)
	}
	nothingLeft(t, temp, addresses)
}

// nothingLeft waits until there are no files, and nobody listens.
func nothingLeft(t *testing.T, temp string, addresses []string) {
	t.Helper()
	ticker, over := time.NewTicker(10*time.Millisecond), time.After(patient)
	defer ticker.Stop()
	for {
		var left []string
		for _, addr := range addresses {
			if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				left = append(left, addr)
			}
		}
		files, err := filepath.Glob(filepath.Join(temp, "sessionauth-fleet-*"))
		if err != nil {
			t.Fatal(err)
		}
		if left = append(left, files...); len(left) == 0 {
			return
		}
		select {
		case <-ticker.C:
		case <-over:
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestChildrenEndWithWhoStartedThem(t *testing.T) {
	needRedis(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			temp := t.TempDir()
			command := exec.Command(os.Args[0])
			command.Env = append(os.Environ(), alone+"=1", "TMPDIR="+temp)
			command.SysProcAttr = ownGroup()
			stdout, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			problems := newWritten()
			command.Stderr = problems
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			out, ended := newWritten(), make(chan error, 1)
			go func() {
				_, err := io.Copy(out, stdout)
				ended <- err
			}()
			out.url(t, ended)
			addresses := out.addresses(t)
			to := command.Process.Pid
			if sig == syscall.SIGINT {
				to = -to // as a terminal does: to all of its group
			}
			if err := syscall.Kill(to, sig); err != nil {
				t.Fatal(err)
			}
			<-ended
			if err := command.Wait(); (err == nil) != (sig == syscall.SIGINT) {
				t.Errorf("it has ended with %v\n%s", err, problems)
			}
			nothingLeft(t, temp, addresses)
		})
	}
}

func TestAProcessThatEndsByItselfIsSaid(t *testing.T) {
	needRedis(t)
	out := newWritten()
	f, err := startFleet(t.Context(), out, slowly)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.all[1].process.kill(); err != nil {
		t.Error(err)
	}
	if name := <-f.ended; name != "Replica 2" {
		t.Errorf("%s has ended first", name)
	}
	if err := f.stop(); err == nil || err.Error() != "Replica 2: signal: killed" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWhatCannotWorkIsSaidPlainly(t *testing.T) {
	empty := t.TempDir()
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "redis-server"), []byte("#!/bin/sh\necho no memory\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ path, addr, want string }{
		{empty, "127.0.0.1:0", "redis-server is missing: " + installRedis},
		{broken, "127.0.0.1:0", "start redis-server"},
		{broken, "0.0.0.0:0", "0.0.0.0:0 is not a loopback address"},
		{broken, ":0", ":0 is not a loopback address"},
		{broken, "192.0.2.1:0", "192.0.2.1:0 is not a loopback address"},
		{broken, "127.0.0.1", "missing port"},
	} {
		t.Setenv("PATH", row.path)
		out := newWritten()
		if err := run(t.Context(), out, row.addr, timing{}); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %s", row.addr, err, row.want)
		}
		if row.want == "start redis-server" && !strings.Contains(out.String(), "no memory") {
			t.Errorf("it does not show what Redis says: %s", out)
		}
	}
}

func TestThePageAnswersItsOwnRequestsAlone(t *testing.T) {
	handler, err := newPage(&fleet{all: []*replica{{}}}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080})
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		method, path, host, site string
		want                     int
	}{
		"the page":               {http.MethodGet, "/", "127.0.0.1:8080", "", http.StatusOK},
		"by another name":        {http.MethodGet, "/", "localhost:8080", "", http.StatusOK},
		"a name that leads here": {http.MethodGet, "/", "example.com:8080", "", http.StatusMisdirectedRequest},
		"from another site":      {http.MethodPost, "/api/sign-in", "127.0.0.1:8080", "cross-site", http.StatusForbidden},
		"no such replica":        {http.MethodPost, "/api/call?replica=3", "127.0.0.1:8080", "", http.StatusBadRequest},
		"no number":              {http.MethodPost, "/api/sign-out", "127.0.0.1:8080", "", http.StatusBadRequest},
		"neither cut nor not":    {http.MethodPost, "/api/cut?replica=0", "127.0.0.1:8080", "", http.StatusBadRequest},
		"by a link":              {http.MethodGet, "/api/cut?replica=0&cut=true", "127.0.0.1:8080", "", http.StatusNotFound},
	} {
		request, err := http.NewRequestWithContext(t.Context(), row.method, "http://"+row.host+row.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if row.site != "" {
			request.Header.Set("Sec-Fetch-Site", row.site)
		}
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		response := recorder.Result()
		if response.StatusCode != row.want {
			t.Errorf("%s: %d, want %d", name, response.StatusCode, row.want)
		}
		if policy := response.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
			t.Errorf("%s: the policy is %q", name, policy)
		}
	}
}

func TestTheDocumentationHasTheSameRights(t *testing.T) {
	text, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), leastACL) {
		t.Errorf("docs/fleet.md does not have %s", leastACL)
	}
}
