package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/redis/rueidis"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/interop/grpc_testing"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// timing is what a test on a slow machine sets; zero: the defaults, a Lag of 1 s among them.
type timing struct {
	Budget time.Duration `json:"budget"`
	Wait   time.Duration `json:"wait"`
	Lag    time.Duration `json:"lag"`
}

// replicaOrder is what a replica is told.
type replicaOrder struct {
	Name     string `json:"name"`
	Redis    string `json:"redis"`
	Password string `json:"password"`
	Secret   string `json:"secret"`
	Owner    string `json:"owner"`
	Timing   timing `json:"timing"`
}

// health is what a replica says of itself, whenever that has changed.
type health struct {
	Addr    string `json:"addr"`
	Heard   bool   `json:"heard"`   // it hears the bus
	Shared  bool   `json:"shared"`  // it reaches the shared cache
	Entries int    `json:"entries"` // sessions in memory
	Lost    uint64 `json:"lost"`    // how often it has forgotten everything
}

// replicaRole is a replica of the service.
func replicaRole(in io.Reader, out io.Writer) (err error) {
	signal.Ignore(os.Interrupt) // which is for who started this
	var order replicaOrder
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &order); err != nil {
		return err
	}
	config := redisfleet.Config{
		Redis:   rueidis.ClientOption{InitAddress: []string{order.Redis}, Username: user, Password: order.Password},
		Name:    "notes",
		Secrets: []string{order.Secret},
		Budget:  order.Timing.Budget,
		Wait:    order.Timing.Wait,
	}
	bus, err := redisfleet.NewBus(config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		err = errors.Join(err, bus.Close(ctx)) // says goodbye to the others
	}()
	store, err := redisfleet.NewStore(config)
	if err != nil {
		return err
	}
	defer store.Close()
	tracers := sdktrace.NewTracerProvider() // exports nothing; a call can read its own span
	service := &notes{name: order.Name, owner: order.Owner, closing: make(chan struct{})}
	service.auth, err = interceptor.NewSessionAuth(service.verify, identify,
		interceptor.WithCache(cache.Policy{TTL: time.Minute}),
		interceptor.WithKeyHeaders(), // it looks at nothing but the token
		interceptor.WithBus(bus, order.Secret),
		interceptor.WithLag(cmp.Or(order.Timing.Lag, time.Second)),
		interceptor.WithSharedCache(store, nil),
		interceptor.WithTracerProvider(tracers),
	)
	if err != nil {
		return err
	}
	traced := grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		ctx, span := tracers.Tracer("fleet").Start(ctx, "call")
		defer span.End()
		return handle(ctx, request)
	})
	server := grpc.NewServer(append([]grpc.ServerOption{traced}, service.auth.ServerOptions()...)...)
	grpc_testing.RegisterTestServiceServer(server, service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		close(gone)
	}()
	report(out, gone, func() health {
		b := bus.Stats()
		return health{Addr: listener.Addr().String(), Heard: b.Heard, Shared: store.Stats().Reached, Entries: service.auth.Stats().Entries, Lost: b.Lost}
	})
	close(service.closing)
	server.Stop()
	service.client.CloseIdleConnections()
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) { // it is when it was to end before it had begun
		return err
	}
	return nil
}

// report says how a replica is, at first and when it has changed, until it is to end.
func report(out io.Writer, gone <-chan struct{}, look func() health) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for said := (health{}); ; {
		if is := look(); is != said {
			if err := json.NewEncoder(out).Encode(is); err != nil {
				return
			}
			said = is
		}
		select {
		case <-ticker.C:
		case <-gone:
			return
		}
	}
}

// verify asks the owner about a token.
func (n *notes) verify(ctx context.Context, token string, _ http.Header) (*session, error) {
	response, err := n.ask(ctx, http.MethodGet, token)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return nil, interceptor.ErrInvalidSession
	default:
		return nil, fmt.Errorf("%w: the owner answered %s", interceptor.ErrUnavailable, response.Status)
	}
	const longest = 64 << 10
	var s session
	if err := json.NewDecoder(io.LimitReader(response.Body, longest)).Decode(&s); err != nil {
		return nil, err
	}
	return &s, nil
}

// ask makes a request to the owner on behalf of a token.
func (n *notes) ask(ctx context.Context, method, token string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, n.owner, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return n.client.Do(request)
}

func identify(_ context.Context, s *session) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s.Name, Name: s.Name, SessionID: s.ID, ExpiresAt: s.Expires}, nil
}
