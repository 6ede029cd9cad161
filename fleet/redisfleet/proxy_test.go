package redisfleet_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is a way to Redis that can be cut.
type proxy struct {
	listener net.Listener

	delay atomic.Int64 // of what passes, each way

	mu    sync.Mutex
	conns []net.Conn
	cut   bool
}

// through returns a proxy to addr, and its address as rueidis takes it.
func through(t testing.TB, addr string) (*proxy, []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	t.Cleanup(p.close)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			p.mu.Lock()
			if p.conns = append(p.conns, in, out); p.cut {
				_ = in.Close()
				_ = out.Close()
			}
			p.mu.Unlock()
			go p.pass(in, out)
			go p.pass(out, in)
		}
	}()
	return p, []string{l.Addr().String()}
}

// pass copies what comes, late if it is told to.
func (p *proxy) pass(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if d := time.Duration(p.delay.Load()); d > 0 {
			<-time.After(d)
		}
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

// close cuts it for good.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.drop(true)
}

// drop closes what is open, and what opens from now on if it is to stay cut.
func (p *proxy) drop(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}
