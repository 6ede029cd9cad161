package redisfleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// order is what a replica in a process of its own is told, in its environment.
type order struct {
	Redis, Owner string
	Patient      bool // waits for Redis, and for other replicas, for as long as it takes
}

const orderVariable = "REDISFLEET_REPLICA"

// state is what it says of itself.
type state struct {
	Bus   redisfleet.BusStats
	Store redisfleet.StoreStats
	Cache cache.Stats
}

// whoami is a service whose unary calls say who calls, and whose streams stay open.
type whoami struct {
	grpc_testing.UnimplementedTestServiceServer
}

func (whoami) UnaryCall(ctx context.Context, _ *grpc_testing.SimpleRequest) (*grpc_testing.SimpleResponse, error) {
	ac, err := authcontext.Require(ctx)
	if err != nil {
		return nil, err
	}
	return &grpc_testing.SimpleResponse{Payload: &grpc_testing.Payload{Body: []byte(ac.Subject)}}, nil
}

func (whoami) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	if err := stream.Send(&grpc_testing.StreamingOutputCallResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return context.Cause(stream.Context())
}

// replica is a replica of a service: it says where it listens, and ends with its standard input.
func replica(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	config := redisfleet.Config{Redis: rueidis.ClientOption{InitAddress: []string{o.Redis}}, Name: "test", Secrets: []string{secret}, Budget: 50 * time.Millisecond}
	config.Redis.Username, config.Redis.Password = "fleet", "pw"
	if o.Patient {
		config.Budget, config.Wait = 10*time.Second, patience
		config.Redis.ConnWriteTimeout = patience
		config.Redis.Dialer = net.Dialer{Timeout: patience, KeepAlive: patience}
	}
	bus, err := redisfleet.NewBus(config)
	if err != nil {
		return err
	}
	store, err := redisfleet.NewStore(config)
	if err != nil {
		return err
	}
	verify := func(ctx context.Context, token string, _ http.Header) (*session, error) {
		code, err := get(ctx, o.Owner+"/?token="+token, nil)
		switch {
		case err != nil:
			return nil, err
		case code != http.StatusOK:
			return nil, interceptor.ErrInvalidSession
		}
		return &session{"user-of-" + token}, nil
	}
	auth, err := interceptor.NewSessionAuth(verify, identify, long, interceptor.WithBus(bus, secret), interceptor.WithSharedCache(store, nil))
	if err != nil {
		return err
	}
	server := grpc.NewServer(auth.ServerOptions()...)
	grpc_testing.RegisterTestServiceServer(server, whoami{})
	calls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = server.Serve(calls) }()
	mux := http.NewServeMux()
	mux.HandleFunc("/forget", func(w http.ResponseWriter, r *http.Request) {
		if err := auth.Forget(r.Context(), r.FormValue("token")); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(state{bus.Stats(), store.Stats(), auth.Stats()})
	})
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	front := &http.Server{Handler: mux}
	go func() { _ = front.Serve(control) }()
	fmt.Println(calls.Addr(), control.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	server.Stop()
	_ = front.Close()
	http.DefaultClient.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := bus.Close(ctx); err != nil {
		return err
	}
	store.Close()
	return goleak.Find(lazyRefresh)
}

// get asks for a page, and reads what it says into v.
func get(ctx context.Context, url string, v any) (code int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if v != nil {
		return response.StatusCode, json.NewDecoder(response.Body).Decode(v)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
