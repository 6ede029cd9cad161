package redisfleet_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// TestAFailover: the server is killed, and its replica takes over by way of a sentinel.
func TestAFailover(t *testing.T) {
	main := startRedis(t)
	replica := startRedis(t, "--replicaof", strings.Replace(main.addr, ":", " ", 1), "--repl-diskless-sync-delay", "0")
	sentinel := startSentinel(t, main)
	for {
		if text, _ := replica.do("INFO replication").ToString(); strings.Contains(text, "master_link_status:up") {
			if text, _ := sentinel.do("SENTINEL replicas main").ToAny(); strings.Contains(fmt.Sprint(text), "master-link-status") {
				break
			}
		}
		runtime.Gosched()
	}
	c := main.config()
	c.Redis.InitAddress = []string{sentinel.addr}
	c.Redis.Sentinel = rueidis.SentinelOption{MasterSet: "main"}
	o := &owner{}
	var replicas []*interceptor.Authenticator
	for range 2 {
		b, store := newBus(t, c), newStore(t, c)
		replicas = append(replicas, newAuth(t, o, minute, interceptor.WithBus(b, secret), interceptor.WithSharedCache(store, nil)))
		for !b.Stats().Heard {
			runtime.Gosched()
		}
	}
	for _, a := range replicas {
		ask(t, a, "t1", codes.OK)
		ask(t, a, "t2", codes.OK)
	}
	main.kill()
	o.end("t1")
	began := time.Now()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_ = replicas[0].Forget(short, "t1") // nobody is there to be told; it is sent again
	for _, a := range replicas {
		for time.Since(began) <= lag { // so long it may be served
			runtime.Gosched()
		}
		ask(t, a, "t1", codes.Unauthenticated)
		ask(t, a, "t2", codes.OK)
	}
	o.end("t2")
	for errors.Is(replicas[0].ForgetSession(t.Context(), "session-of-user-of-t2"), redisfleet.ErrNotAccepted) {
		runtime.Gosched() // until it is known who the new one is
	}
	t.Logf("the new one was told %v after the old one was killed", time.Since(began))
	for _, a := range replicas {
		for authenticate(a, "t2") == nil {
			runtime.Gosched()
		}
	}
}
