package redisfleet_test

import (
	"context"
	"errors"
	"fmt"
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
	t.Parallel()
	main := startRedis(t)
	replica := startRedis(t, "--replicaof", strings.Replace(main.addr, ":", " ", 1), "--repl-diskless-sync-delay", "0")
	sentinel := startSentinel(t, main)
	eventually(t, "the replica is one", func() bool {
		text, _ := replica.do("INFO replication").ToString()
		known, _ := sentinel.do("SENTINEL replicas main").ToAny()
		return strings.Contains(text, "master_link_status:up") && strings.Contains(fmt.Sprint(known), "master-link-status")
	})
	c := main.config()
	c.Redis.InitAddress = []string{sentinel.addr}
	c.Redis.Sentinel = rueidis.SentinelOption{MasterSet: "main"}
	o := &owner{}
	var replicas []*interceptor.Authenticator
	for range 2 {
		b, store := newBus(t, c), newStore(t, c)
		replicas = append(replicas, newAuth(t, o, long, interceptor.WithBus(b, secret), interceptor.WithSharedCache(store, nil)))
		hears(t, b)
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
		eventually(t, "a Lag is over", func() bool { return time.Since(began) > lag }) // so long it may be served
		ask(t, a, "t1", codes.Unauthenticated)
		ask(t, a, "t2", codes.OK)
	}
	o.end("t2")
	eventually(t, "it is known who the new one is", func() bool {
		return !errors.Is(replicas[0].ForgetSession(t.Context(), "session-of-user-of-t2"), redisfleet.ErrNotAccepted)
	})
	t.Logf("the new one was told %v after the old one was killed", time.Since(began))
	for _, a := range replicas {
		eventually(t, "it is refused", func() bool { return authenticate(a, "t2") != nil })
	}
}
