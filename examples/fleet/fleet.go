package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop/grpc_testing"
)

const replicas = 3

// fleet is all that is started: Redis, the owner of the sessions, and the replicas.
type fleet struct {
	redis *child
	owner *owner
	all   []*replica
	ended chan string // the name of a process that has ended by itself

	mu      sync.Mutex
	streams map[*stream]bool // that are open
}

// replica is one replica, seen from outside.
type replica struct {
	grpc_testing.TestServiceClient

	name    string
	process *child
	proxy   *proxy
	conn    *grpc.ClientConn

	mu     sync.Mutex
	health health
}

// startFleet starts it all. What has been started when something fails is ended.
func startFleet(ctx context.Context, out io.Writer, t timing) (_ *fleet, err error) {
	program, err := findRedis()
	if err != nil {
		return nil, err
	}
	f := &fleet{ended: make(chan string, replicas+1), streams: map[*stream]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.stop())
		}
	}()
	password, secret := rand.Text()+rand.Text(), rand.Text()+rand.Text()
	var addr string
	f.redis, err = startChild(ctx, out, "redis-server", "redis", redisOrder{program, password}, func(line []byte) error {
		addr = string(line)
		return nil
	})
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(out, "Redis listens on %s.\n", addr)
	if f.owner, err = startOwner(); err != nil {
		return nil, err
	}
	for n := range replicas {
		r := &replica{name: fmt.Sprintf("Replica %d", n+1)}
		if r.proxy, err = newProxy(addr); err != nil {
			return nil, err
		}
		f.all = append(f.all, r)
		order := replicaOrder{r.name, r.proxy.listener.Addr().String(), password, secret, f.owner.url, t}
		if r.process, err = startChild(ctx, out, r.name, "replica", order, r.heard); err != nil {
			return nil, err
		}
		addr := r.state().Addr
		if r.conn, err = grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil { // loopback
			return nil, err
		}
		r.TestServiceClient = grpc_testing.NewTestServiceClient(r.conn)
		fmt.Fprintf(out, "%s serves gRPC on %s.\n", r.name, addr)
	}
	for _, c := range append([]*child{f.redis}, f.processes()...) {
		go func() {
			<-c.ended
			f.ended <- c.name
		}()
	}
	return f, nil
}

func (f *fleet) processes() (all []*child) {
	for _, r := range f.all {
		if r.process != nil {
			all = append(all, r.process)
		}
	}
	return all
}

// heard takes what a replica says of itself.
func (r *replica) heard(line []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return json.Unmarshal(line, &r.health)
}

func (r *replica) state() health {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health
}

// stop ends what startFleet started: the replicas before what they use.
func (f *fleet) stop() error {
	var wg sync.WaitGroup
	errs := make([]error, len(f.all))
	for i, r := range f.all {
		wg.Go(func() {
			if r.conn != nil {
				errs[i] = r.conn.Close()
			}
			if r.process != nil {
				errs[i] = errors.Join(errs[i], r.process.stop())
			}
			r.proxy.close()
		})
	}
	wg.Wait()
	if f.owner != nil {
		f.owner.stop()
	}
	if f.redis != nil {
		return errors.Join(errors.Join(errs...), f.redis.stop())
	}
	return errors.Join(errs...)
}
