package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/dynamicpb"
)

// duplex is a service with this handler.
type duplex struct {
	grpc_testing.UnimplementedTestServiceServer
	handler func(grpc.ServerStream) error
}

func (d duplex) FullDuplexCall(stream grpc_testing.TestService_FullDuplexCallServer) error {
	return d.handler(stream)
}

// openDuplex opens a stream of it.
func openDuplex(ctx context.Context, t *testing.T, client grpc_testing.TestServiceClient) grpc_testing.TestService_FullDuplexCallClient {
	t.Helper()
	stream, err := client.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func request(body string) *grpc_testing.StreamingOutputCallRequest {
	return &grpc_testing.StreamingOutputCallRequest{Payload: &grpc_testing.Payload{Body: []byte(body)}}
}

// below is a stream interceptor that has each RecvMsg go through recv.
func below(recv func(inner func(any) error, m any) error) grpc.ServerOption {
	return grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return handler(srv, &receivingStream{stream, recv})
	})
}

type receivingStream struct {
	grpc.ServerStream
	recv func(inner func(any) error, m any) error
}

func (s *receivingStream) RecvMsg(m any) error { return s.recv(s.ServerStream.RecvMsg, m) }

func TestAPanicUnderRecvMsgReachesTheHandler(t *testing.T) {
	cause := errors.New("a codec's")
	for name, test := range map[string]struct {
		misbehave func()
		panics    bool
	}{
		"a string":        {func() { panic("a codec's") }, true},
		"an error":        {func() { panic(fmt.Errorf("%w", cause)) }, true},
		"a runtime error": {func() { var none []int; none[len(cause.Error())]++ }, true},
		"Goexit":          {runtime.Goexit, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOwner("t1")
				var recovered any
				handler := func(stream grpc.ServerStream) error {
					defer func() {
						if recovered = recover(); recovered != nil {
							panic(recovered)
						}
					}()
					return stream.RecvMsg(&grpc_testing.StreamingOutputCallRequest{})
				}
				recovering := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
					defer func() {
						if recover() != nil {
							err = status.Error(codes.Internal, "recovered")
						}
					}()
					return handler(srv, stream)
				}
				opts := []grpc.ServerOption{
					grpc.ChainStreamInterceptor(recovering),
					below(func(func(any) error, any) error { theCodecOfThisTest(test.misbehave); return nil }),
				}
				client := serve(t, duplex{handler: handler}, append(opts, newAuth(t, o).ServerOptions()...)...)
				_, err := openDuplex(long(t, "t1"), t, client).Recv()
				want := refusal{codes.Internal, "recovered", ""}
				if !test.panics {
					want.message = "receiving a message called runtime.Goexit"
				}
				want.check(t, err)
				if text := fmt.Sprint(recovered); test.panics &&
					(name != "a runtime error" && !strings.Contains(text, "a codec's") || !strings.Contains(text, "theCodecOfThisTest")) {
					t.Errorf("the handler's panic says %s", text)
				}
				if err, ok := recovered.(error); name == "an error" && (!ok || !errors.Is(err, cause)) {
					t.Error("the handler's panic does not wrap the error")
				}
				if err, ok := recovered.(error); name == "a runtime error" {
					if _, is := errors.AsType[runtime.Error](err); !ok || !is {
						t.Error("the handler's panic does not wrap the runtime's")
					}
				}
			})
		})
	}
}

// theCodecOfThisTest is a name to be found in a stack.
//
//go:noinline
func theCodecOfThisTest(misbehave func()) { misbehave() }

func TestAPanicUnderRecvMsgThatComesTooLateIsSwallowed(t *testing.T) {
	for name, misbehave := range map[string]func(){"a panic": func() { panic("late") }, "Goexit": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOwner("t1")
				a := newAuth(t, o)
				late := below(func(inner func(any) error, m any) error {
					defer misbehave()
					return inner(m) // waits for a client that never sends
				})
				client := serve(t, newPatient(), append([]grpc.ServerOption{late}, a.ServerOptions()...)...)
				receive := openStreams["a client that never sends"](long(t, "t1"), client)
				synctest.Wait()
				o.set("t1", nil)
				_ = a.Forget(context.Background(), "t1")
				endOf(t, receive, invalid)
			})
		})
	}
}

// rawFrame is a message of a proxy.
type rawFrame struct{ data []byte }

// rawCodec is a codec for raw frames, and for anything else that of protobuf.
type rawCodec struct{ encoding.CodecV2 }

func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if frame, ok := v.(*rawFrame); ok {
		return mem.BufferSlice{mem.SliceBuffer(frame.data)}, nil
	}
	return c.CodecV2.Marshal(v)
}

func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if frame, ok := v.(*rawFrame); ok {
		if frame.data == nil {
			return errors.New("this is not the handler's message")
		}
		frame.data = append(frame.data, data.Materialize()...)
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// embedding is no generated message, though it has all the methods of one.
type embedding struct {
	*grpc_testing.StreamingOutputCallRequest
}

func TestMessagesThatCannotBeMadeAnewAreReceivedInPlace(t *testing.T) {
	generated := &grpc_testing.StreamingOutputCallRequest{}
	for name, message := range map[string]any{
		"a raw frame":             &rawFrame{data: []byte{}},
		"a dynamic message":       dynamicpb.NewMessage(generated.ProtoReflect().Descriptor()),
		"one that embeds another": &embedding{&grpc_testing.StreamingOutputCallRequest{}},
		"one by value":            embedding{&grpc_testing.StreamingOutputCallRequest{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOwner("t1")
				a := newAuth(t, o)
				var got any
				ended := make(chan error, 3)
				handler := func(stream grpc.ServerStream) error {
					if err := stream.RecvMsg(message); err != nil {
						return err
					}
					ended <- stream.RecvMsg(message) // it is not cut short,
					<-stream.Context().Done()
					ended <- stream.RecvMsg(message) // but does not begin after the end
					return nil
				}
				inPlace := below(func(inner func(any) error, m any) error {
					got = m
					return inner(m)
				})
				opts := append([]grpc.ServerOption{inPlace, grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2(proto.Name)})}, a.ServerOptions()...)
				stream := openDuplex(long(t, "t1"), t, serve(t, duplex{handler: handler}, opts...))
				_ = stream.Send(request("1"))
				synctest.Wait()
				if name != "one by value" && got != message {
					t.Errorf("received into %T, not into the handler's own message", got)
				}
				o.set("t1", nil)
				_ = a.Forget(context.Background(), "t1")
				synctest.Wait()
				if len(ended) != 0 {
					t.Fatal("cut short")
				}
				_ = stream.Send(request("2"))
				invalid.check(t, <-ended)
				invalid.check(t, <-ended)
				_, err := stream.Recv()
				invalid.check(t, err)
			})
		})
	}
}

func TestNothingIsSentOrReceivedAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("t1")
		a := newAuth(t, o)
		var calls atomic.Int64
		under := below(func(inner func(any) error, m any) error {
			calls.Add(1)
			return inner(m)
		})
		leaked := make(chan grpc.ServerStream, 1)
		handler := func(stream grpc.ServerStream) error {
			leaked <- stream
			<-stream.Context().Done()
			for range 20 {
				invalid.check(t, stream.SendMsg(&grpc_testing.StreamingOutputCallResponse{}))
				invalid.check(t, stream.RecvMsg(&grpc_testing.StreamingOutputCallRequest{}))
			}
			return nil
		}
		client := serve(t, duplex{handler: handler}, append([]grpc.ServerOption{under}, a.ServerOptions()...)...)
		stream := openDuplex(long(t, "t1"), t, client)
		_ = stream.Send(request("already here"))
		synctest.Wait()
		o.set("t1", nil)
		_ = a.Forget(context.Background(), "t1")
		response, err := stream.Recv()
		if response != nil {
			t.Error("the client got a message that was sent after the end")
		}
		invalid.check(t, err)
		s := <-leaked
		invalid.check(t, s.SendMsg(&grpc_testing.StreamingOutputCallResponse{}))
		invalid.check(t, s.RecvMsg(&rawFrame{}))
		if got := calls.Load(); got != 0 {
			t.Errorf("%d calls of RecvMsg went through", got)
		}
	})
}

func TestAStreamIsNotUsedAfterItsHandlerHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner("t1")
		leaked := make(chan grpc.ServerStream, 1)
		handler := func(stream grpc.ServerStream) error { leaked <- stream; return nil }
		stream := openDuplex(long(t, "t1"), t, serve(t, duplex{handler: handler}, newAuth(t, o).ServerOptions()...))
		if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		s, want := <-leaked, refusal{codes.Canceled, "the handler has returned", ""}
		want.check(t, s.SendMsg(&grpc_testing.StreamingOutputCallResponse{}))
		want.check(t, s.RecvMsg(&grpc_testing.StreamingOutputCallRequest{}))
		want.check(t, s.RecvMsg(&rawFrame{}))
	})
}

// counting is what many an interceptor does, without a lock since grpc calls RecvMsg from
// one goroutine at a time.
type counting struct {
	grpc.ServerStream
	began, returned int
}

func (s *counting) RecvMsg(m any) error {
	s.began++
	err := s.ServerStream.RecvMsg(m)
	s.returned++
	return err
}

func TestWhatOtherInterceptorsCanRelyOn(t *testing.T) {
	// Registered after ours: never called beyond their handler's return. Registered before
	// ours: as long as the handler ends by itself while no RecvMsg waits, the same; when the
	// session's end has cut a RecvMsg short, that one returns later, and none begins.
	counts := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		c := &counting{ServerStream: stream}
		err := handler(srv, c)
		if c.began != c.returned { // the race detector looks on
			t.Errorf("%d began, %d returned", c.began, c.returned)
		}
		return err
	}
	option := []grpc.ServerOption{grpc.ChainStreamInterceptor(counts)}
	t.Run("after ours, when the session ends", func(t *testing.T) {
		for range 50 {
			o := newOwner("t1")
			a := newAuth(t, o)
			client := serve(t, newPatient(), append(a.ServerOptions(), option...)...)
			stream := openDuplex(long(t, "t1"), t, client)
			_ = stream.Send(request("1"))
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			o.set("t1", nil)
			_ = a.Forget(context.Background(), "t1")
			_, err := stream.Recv()
			invalid.check(t, err)
		}
	})
	t.Run("before ours, when the handler ends by itself", func(t *testing.T) {
		o := newOwner("t1")
		once := func(stream grpc.ServerStream) error { return stream.RecvMsg(request("")) }
		client := serve(t, duplex{handler: once}, append(option, newAuth(t, o).ServerOptions()...)...)
		for range 200 {
			stream := openDuplex(long(t, "t1"), t, client)
			_ = stream.Send(request("1"))
			_ = stream.Send(request("2"))
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
	})
	t.Run("before ours, when the session ends", func(t *testing.T) {
		for range 50 {
			synctest.Test(t, func(t *testing.T) {
				var began, returned, whenReleased atomic.Int64
				atomics := below(func(inner func(any) error, m any) error {
					began.Add(1)
					defer returned.Add(1)
					return inner(m)
				})
				released := func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
					err := handler(srv, stream)
					whenReleased.Store(began.Load())
					return err
				}
				o := newOwner("t1")
				a := newAuth(t, o)
				opts := append([]grpc.ServerOption{atomics, grpc.ChainStreamInterceptor(released)}, a.ServerOptions()...)
				stream := openDuplex(long(t, "t1"), t, serve(t, newPatient(), opts...))
				_ = stream.Send(request("1"))
				if _, err := stream.Recv(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // in the second RecvMsg
				o.set("t1", nil)
				_ = a.Forget(context.Background(), "t1")
				_, err := stream.Recv()
				invalid.check(t, err)
				synctest.Wait()
				if b, r := began.Load(), returned.Load(); b != 2 || r != 2 || whenReleased.Load() != 2 {
					t.Errorf("%d began, %d of them before the release; %d returned", b, whenReleased.Load(), r)
				}
			})
		}
	})
}

// TestWhatReleasesASendMsg: one that waits for a client to read is not cut short by the end
// of the session.
func TestWhatReleasesASendMsg(t *testing.T) {
	connectionAge := keepalive.ServerParameters{MaxConnectionAge: 10 * time.Second, MaxConnectionAgeGrace: 5 * time.Second}
	pings := keepalive.ServerParameters{Time: time.Second, Timeout: time.Second}
	for name, test := range map[string]struct {
		server   keepalive.ServerParameters
		deadline time.Duration // of the call
		client   func(read func(), hangUp func())
		after    time.Duration // of the session's end, which is at 0; 0: not at all
		want     refusal
	}{
		"nothing":                      {want: refusal{codes.OK, "", ""}},
		"keepalive does not":           {server: pings, want: refusal{codes.OK, "", ""}},
		"the client's deadline":        {deadline: 20 * time.Second, after: 20 * time.Second, want: invalid},
		"the connection's age":         {server: connectionAge, after: 15 * time.Second, want: invalid},
		"a client that hangs up":       {client: func(_, hangUp func()) { hangUp() }, after: 3 * time.Second, want: invalid},
		"a client that begins to read": {client: func(read, _ func()) { read() }, after: 3 * time.Second, want: invalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOwner("t1")
				a := newAuth(t, o)
				var sent atomic.Int64
				result := make(chan error, 1)
				handler := func(stream grpc.ServerStream) error {
					for {
						if err := stream.SendMsg(&grpc_testing.StreamingOutputCallResponse{Payload: &grpc_testing.Payload{Body: make([]byte, 16<<10)}}); err != nil {
							result <- context.Cause(stream.Context())
							return err
						}
						sent.Add(1)
					}
				}
				server := grpc.NewServer(append(a.ServerOptions(), grpc.KeepaliveParams(test.server))...)
				grpc_testing.RegisterTestServiceServer(server, duplex{handler: handler})
				listener := bufconn.Listen(1 << 20)
				served := make(chan error, 1)
				go func() { served <- server.Serve(listener) }()
				conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
					grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					_ = conn.Close()
					server.Stop()
					<-served
				}()
				ctx, cancel := context.WithCancel(bearerCtx("t1"))
				if test.deadline > 0 {
					ctx, cancel = context.WithTimeout(bearerCtx("t1"), test.deadline)
				}
				defer cancel()
				stream := openDuplex(ctx, t, grpc_testing.NewTestServiceClient(conn))
				synctest.Wait()
				blocked := sent.Load()
				o.set("t1", nil)
				_ = a.Forget(context.Background(), "t1")
				start := time.Now()
				var reading sync.WaitGroup
				if test.client != nil {
					time.Sleep(3 * time.Second)
					test.client(func() {
						reading.Go(func() {
							for {
								if _, err := stream.Recv(); err != nil {
									return
								}
							}
						})
					}, func() { _ = conn.Close() })
				}
				select {
				case err := <-result:
					// grpc varies the connection's age by a tenth.
					if late := time.Since(start) - test.after; late.Abs() > 2*time.Second {
						t.Errorf("released %v after it was to be, at %v", late, test.after)
					}
					test.want.check(t, err)
				case <-time.After(time.Hour):
					if test.after != 0 {
						t.Error("not released")
					}
				}
				if got := sent.Load(); blocked == 0 || got > blocked+1 {
					t.Errorf("%d messages before the end, %d in all", blocked, got)
				}
				cancel()
				reading.Wait()
			})
		})
	}
}
