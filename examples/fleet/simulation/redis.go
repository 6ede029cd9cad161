package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/redis/rueidis"
)

// redis is a redis-server in a child process.
type redis struct {
	addr    string
	process *exec.Cmd
	client  rueidis.Client
}

// usage is what it has used so far.
type usage struct {
	cpu, sent, clients    float64
	reads                 float64 // how often a follower has asked for more
	added, length, memory float64 // of the stream
	err                   error
}

// startRedis starts one on a free port, which keeps nothing.
func startRedis(ctx context.Context) (*redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is missing: apt-get install redis-server, or brew install redis")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &redis{addr: listener.Addr().String()}
	_, port, _ := net.SplitHostPort(r.addr)
	if err := listener.Close(); err != nil {
		return nil, err
	}
	r.process = exec.CommandContext(ctx, program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--logfile", "", "--maxclients", "20000")
	out, err := r.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := r.process.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), "Ready to accept connections") {
			continue
		}
		go func() { _, _ = io.Copy(io.Discard, out) }() // so that it can go on writing
		r.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.addr}, DisableCache: true, ForceSingleClient: true, PipelineMultiplex: -1})
		if err != nil {
			return nil, errors.Join(err, r.stop())
		}
		return r, nil
	}
	return nil, fmt.Errorf("redis-server does not start: %w", r.process.Wait())
}

func (r *redis) stop() error {
	if r.client != nil {
		r.client.Close()
	}
	_ = r.process.Process.Signal(syscall.SIGTERM) // if it has ended by now, Wait says how
	return r.process.Wait()
}

// usage asks it.
func (r *redis) usage(ctx context.Context) (u usage) {
	key := "sessionauth:{" + name + "}:bus"
	text, err := r.client.Do(ctx, r.client.B().Info().Section("everything").Build()).ToString()
	u.err = errors.Join(u.err, err)
	number := func(field string) float64 {
		_, rest, _ := strings.Cut(text, "\n"+field)
		value := rest[:max(0, strings.IndexAny(rest, ",\r"))]
		n, err := strconv.ParseFloat(value, 64)
		u.err = errors.Join(u.err, err)
		return n
	}
	u.cpu = number("used_cpu_user:") + number("used_cpu_sys:")
	u.sent, u.clients = number("total_net_output_bytes:"), number("connected_clients:")-1 // this one
	u.reads = number("cmdstat_xread:calls=")
	ask := func(command ...string) (n int64) {
		n, err := r.client.Do(ctx, r.client.B().Arbitrary(command...).Build()).AsInt64()
		u.err = errors.Join(u.err, err)
		return n
	}
	u.length, u.memory = float64(ask("XLEN", key)), float64(ask("MEMORY", "USAGE", key, "SAMPLES", "0"))
	stream, err := r.client.Do(ctx, r.client.B().XinfoStream().Key(key).Build()).AsMap()
	u.err = errors.Join(u.err, err)
	added := stream["entries-added"]
	n, err := added.AsInt64()
	u.err = errors.Join(u.err, err)
	u.added = float64(n)
	return u
}
