package redisfleet_test

import (
	"context"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/redis/rueidis"
	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// Example has the replicas of a service forget and remember together.
func Example() {
	verify := func(context.Context, string, http.Header) (*session, error) {
		return nil, interceptor.ErrInvalidSession
	}
	mapSession := func(context.Context, *session) (*authcontext.AuthContext, error) { return nil, nil }

	secret := os.Getenv("FLEET_SECRET") // the same for all replicas, unknown to Redis
	config := redisfleet.Config{
		Redis:   rueidis.ClientOption{InitAddress: []string{"redis.internal:6379"}, Username: "fleet", Password: os.Getenv("REDIS_PASSWORD")},
		Name:    "notes",
		Secrets: []string{secret},
	}
	bus, err := redisfleet.NewBus(config)
	if err != nil {
		log.Fatal(err)
	}
	store, err := redisfleet.NewStore(config)
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(verify, mapSession,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}),
		interceptor.WithBus(bus, secret),
		interceptor.WithSharedCache(store, nil),
	)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(auth.ServerOptions()...)

	// When the server has stopped:
	server.Stop()
	_ = bus.Close(context.Background())
	store.Close()
}
