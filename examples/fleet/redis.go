package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	installRedis = "install Redis 7 or Valkey: apt-get install redis-server, or brew install redis"
	// leastACL is what a replica may do in Redis, and no more; docs/fleet.md has it, too.
	leastACL = "resetkeys ~sessionauth:{notes}:* ~sessionauth:s:notes:* resetchannels -@all +hello +ping +xadd +xread +xrange +xrevrange +set +get +del"
	user     = "fleet"
)

// redisOrder is what the process that keeps Redis is told.
type redisOrder struct {
	Program  string `json:"program"`
	Password string `json:"password"`
}

// findRedis returns the path of a Redis, or of a Valkey.
func findRedis() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("redis-server is missing: " + installRedis)
}

// redisRole keeps a Redis, says where it is, and ends it with in: by itself it would outlive whoever
// started it.
func redisRole(in io.Reader, out io.Writer) (err error) {
	var order redisOrder
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &order); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	signal.Ignore(os.Interrupt) // which is for who started this
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		close(gone)
	}()
	dir, err := os.MkdirTemp("", "sessionauth-fleet-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	command, addr, err := startRedis(order, dir)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	if _, err := fmt.Fprintln(out, addr); err != nil {
		return errors.Join(err, command.Process.Kill(), <-ended)
	}
	select {
	case err := <-ended:
		return fmt.Errorf("redis-server has ended by itself: %w", errors.Join(err))
	case <-stop:
	case <-gone:
	}
	_ = command.Process.Signal(syscall.SIGTERM) // if it has ended by now, all is well
	select {
	case err = <-ended:
		return err
	case <-time.After(stopTimeout):
		return errors.Join(command.Process.Kill(), <-ended)
	}
}

// startRedis starts one on a free port of loopback, with all its files in dir, and returns when it
// is ready.
func startRedis(order redisOrder, dir string) (*exec.Cmd, string, error) {
	const tries = 5 // another program may take the port
	var said bytes.Buffer
	for range tries {
		addr, err := freePort()
		if err != nil {
			return nil, "", err
		}
		path := filepath.Join(dir, "redis.conf")
		if err := os.WriteFile(path, []byte(configuration(addr, dir, order.Password)), 0o600); err != nil {
			return nil, "", err
		}
		command := exec.Command(order.Program, path)
		command.SysProcAttr = ownGroup()
		stdout, err := command.StdoutPipe()
		if err != nil {
			return nil, "", err
		}
		if err := command.Start(); err != nil {
			return nil, "", err
		}
		log := bufio.NewScanner(stdout)
		for log.Scan() {
			if strings.Contains(log.Text(), "Ready to accept connections") {
				go func() { _, _ = io.Copy(io.Discard, stdout) }() // so that it can go on writing
				return command, addr, nil
			}
			said.WriteString(log.Text() + "\n")
		}
		_ = command.Wait()
	}
	return nil, "", fmt.Errorf("redis-server does not start:\n%s", said.String())
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// configuration is that of a Redis which nobody reaches but over loopback and with the password,
// and which keeps nothing.
func configuration(addr, dir, password string) string {
	host, port, _ := net.SplitHostPort(addr)
	return strings.Join([]string{
		"bind " + host, "port " + port, fmt.Sprintf("dir %q", dir), `logfile ""`,
		`save ""`, "appendonly no",
		"maxmemory 256mb", "maxmemory-policy volatile-ttl", // which spares the stream of the bus
		"user default off",
		fmt.Sprintf("user %s on #%x %s", user, sha256.Sum256([]byte(password)), leastACL),
	}, "\n") + "\n"
}
