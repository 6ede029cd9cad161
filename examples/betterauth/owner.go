package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	minNode      = 20
	installNode  = "install Node.js 20 or newer, which brings npm: https://nodejs.org, or apt-get install nodejs npm, or brew install node"
	startTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
)

// owner is the better-auth server, the owner of the sessions: a process of Node.
type owner struct {
	url    *url.URL
	secret string        // signs its cookies
	ended  chan struct{} // closed when the process has ended
	err    error         // how it did, from then on
	stdin  io.Closer
	kill   func() error
}

// startOwner starts the server in dir, whose packages it installs the first time, for
// pages at these origins.
func startOwner(ctx context.Context, out io.Writer, dir string, origins []string) (*owner, error) {
	node, err := findNode(ctx)
	if err != nil {
		return nil, err
	}
	if err := install(ctx, out, dir); err != nil {
		return nil, err
	}
	o := &owner{secret: rand.Text() + rand.Text(), ended: make(chan struct{})}
	command := exec.Command(node, "server.mjs") // stop ends it, after those that use it
	command.Dir = dir
	command.Env = append(os.Environ(), "BETTER_AUTH_SECRET="+o.secret, "ORIGINS="+strings.Join(origins, ","))
	command.Stderr = out
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	o.stdin, o.kill = stdin, command.Process.Kill
	announced := make(chan int, 1)
	go func() {
		defer close(announced)
		var hello struct {
			Port int `json:"port"`
		}
		lines := bufio.NewReader(stdout)
		if line, err := lines.ReadBytes('\n'); err == nil && json.Unmarshal(line, &hello) == nil {
			announced <- hello.Port
		}
		_, _ = io.Copy(out, lines) // to the end of the process
		o.err = command.Wait()
		close(o.ended)
	}()
	select {
	case port, ok := <-announced:
		if ok {
			o.url = &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(port)}
			return o, nil
		}
		err = errors.New("it ended at once; what it says is above")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = fmt.Errorf("it was not up after %v", startTimeout)
	}
	return nil, errors.Join(fmt.Errorf("start better-auth: %w", err), o.stop())
}

// stop ends the process and waits for that. It ends when its standard input does,
// which happens even if this process is killed.
func (o *owner) stop() error {
	_ = o.stdin.Close()
	var err error
	select {
	case <-o.ended:
	case <-time.After(stopTimeout):
		err = o.kill()
		<-o.ended
	}
	return errors.Join(err, o.err)
}

// findNode returns the path of a Node that is new enough.
func findNode(ctx context.Context) (string, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return "", fmt.Errorf("node is missing: %s", installNode)
	}
	version, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("node --version: %w", err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(version)), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < minNode {
		return "", fmt.Errorf("this is Node %s: %s", strings.TrimSpace(string(version)), installNode)
	}
	return node, nil
}

// install runs npm ci unless the packages are there in the versions of the lock file.
func install(ctx context.Context, out io.Writer, dir string) error {
	lock, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return fmt.Errorf("%w: run this in examples/betterauth, as go -C examples/betterauth run . does", err)
	}
	// npm writes this file when it is done.
	installed, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	switch {
	case err == nil && !installed.ModTime().Before(lock.ModTime()):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("npm is missing: %s", installNode)
	}
	fmt.Fprintln(out, "Installing better-auth with npm ci, once.")
	command := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	command.Dir, command.Stdout, command.Stderr = dir, out, out
	command.WaitDelay = stopTimeout
	if err := command.Run(); err != nil {
		return fmt.Errorf("npm ci in %s: %w", dir, err)
	}
	return nil
}
