package main

import (
	"io"
	"net"
	"sync"
)

// proxy is the way of one replica to Redis, which can be cut.
type proxy struct {
	to       string
	listener net.Listener
	work     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	cut   bool
}

// newProxy starts one on loopback.
func newProxy(to string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{to: to, listener: listener, conns: map[net.Conn]bool{}}
	p.work.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			p.work.Go(func() { p.carry(in) })
		}
	})
	return p, nil
}

// carry joins a connection with one to Redis until one of the two ends.
func (p *proxy) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	if !p.add(in) {
		return
	}
	defer p.remove(in)
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	if !p.add(out) {
		return
	}
	defer p.remove(out)
	back := make(chan struct{})
	go func() {
		_, _ = io.Copy(in, out)
		_ = in.Close()
		close(back)
	}()
	_, _ = io.Copy(out, in)
	_ = out.Close()
	<-back
}

// add is false while the way is cut.
func (p *proxy) add(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.cut {
		p.conns[c] = true
	}
	return !p.cut
}

func (p *proxy) remove(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// set cuts the way, with all that is under way, or mends it.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	if cut {
		for c := range p.conns {
			_ = c.Close()
		}
	}
}

func (p *proxy) isCut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut
}

// close ends it and waits for that.
func (p *proxy) close() {
	_ = p.listener.Close()
	p.set(true)
	p.work.Wait()
}
