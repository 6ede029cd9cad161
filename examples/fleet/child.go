package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

const (
	startTimeout = 30 * time.Second
	stopTimeout  = 5 * time.Second
)

// roles are what this program can be besides the one that starts all: a process that reads its
// order from its standard input, says on its standard output how it is, and ends when its
// standard input does.
var roles = map[string]func(in io.Reader, out io.Writer) error{
	"redis":   redisRole,
	"replica": replicaRole,
}

// child is this program in a role, as a process.
type child struct {
	name  string
	stdin io.Closer
	ended chan struct{} // closed when it has ended
	err   error         // how it did, from then on
	kill  func() error
}

// startChild starts a process in a role and gives it an order, which no list of processes shows. It
// returns when said has first been called, which is with each line that the process says.
func startChild(ctx context.Context, out io.Writer, name, role string, order any, said func(line []byte) error) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, role) // stop ends it
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
	c := &child{name: name, stdin: stdin, ended: make(chan struct{}), kill: command.Process.Kill}
	first := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			err := said(lines.Bytes())
			select {
			case first <- err:
			default:
			}
		}
		c.err = command.Wait()
		close(c.ended)
	}()
	err = json.NewEncoder(stdin).Encode(order)
	if err == nil {
		select {
		case err = <-first:
		case <-c.ended:
			err = errors.New("it ended at once; what it says is above")
		case <-ctx.Done():
			err = ctx.Err()
		case <-time.After(startTimeout):
			err = fmt.Errorf("it was not up after %v", startTimeout)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), c.stop())
	}
	return c, nil
}

// stop ends the process and waits for that. It ends when its standard input does,
// which happens even if this process is killed.
func (c *child) stop() error {
	_ = c.stdin.Close()
	var err error
	select {
	case <-c.ended:
	case <-time.After(2 * stopTimeout):
		err = fmt.Errorf("%s had to be killed: %w", c.name, errors.Join(c.kill()))
		<-c.ended
	}
	if c.err != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", c.name, c.err))
	}
	return err
}
