package interceptor

import (
	"context"
	"reflect"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// boundStream is a stream that ends with its session.
type boundStream struct {
	grpc.ServerStream

	ctx      context.Context //nolint:containedctx // what Context returns
	watch    *watch
	many     bool          // the client may send more than one message
	returned chan struct{} // closed when the handler has returned
	once     sync.Once

	// A receiver is a goroutine that waits for the client in the handler's place, so
	// that the handler can be released. It belongs to the stream.
	mu       sync.Mutex
	requests chan any   // messages to receive into; nil: no receiver runs
	replies  chan error // what came of it
}

// serve runs the handler of a stream that ends when the watch says so. ctx is the
// handler's.
func (w *watch) serve(
	ctx context.Context, srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	bound := &boundStream{
		ServerStream: stream, ctx: ctx, watch: w, many: info.IsClientStream, returned: make(chan struct{}),
	}
	defer func() { _ = bound.release() }() // when the handler panics, too
	err := handler(srv, bound)
	if f := bound.release(); f != nil {
		return f
	}
	return err
}

// release lets go of all that the stream holds when its handler is done, as often as
// it is called. It returns why the session has ended, nil if it has not.
func (s *boundStream) release() *refusal.Refusal {
	s.once.Do(func() {
		close(s.returned)
		s.watch.close()
	})
	return s.watch.failure
}

// Context returns the handler's context.
func (s *boundStream) Context() context.Context { return s.ctx }

// SendMsg sends m, unless the session has ended.
func (s *boundStream) SendMsg(m any) error {
	select {
	case <-s.watch.ended:
		return context.Cause(s.ctx)
	default:
		return s.ServerStream.SendMsg(m)
	}
}

// RecvMsg receives into m, until the session ends. The receiver, which goes on to
// wait for the client, never touches m: by then it is the handler's again.
func (s *boundStream) RecvMsg(m any) error {
	select {
	case <-s.watch.ended:
		return context.Cause(s.ctx)
	default:
	}
	received := like(m)
	if received == nil {
		return s.ServerStream.RecvMsg(m)
	}
	s.mu.Lock() // grpc allows one RecvMsg at a time
	defer s.mu.Unlock()
	if s.requests == nil {
		s.requests, s.replies = make(chan any), make(chan error, 1)
		go s.receive(s.requests, s.replies)
	}
	select {
	case s.requests <- received:
	case <-s.watch.ended:
		return context.Cause(s.ctx)
	case <-s.returned:
		return context.Canceled
	}
	select {
	case err := <-s.replies:
		if err != nil || !s.many {
			s.requests = nil // the receiver is gone
		}
		if err == nil {
			reflect.ValueOf(m).Elem().Set(reflect.ValueOf(received).Elem())
		}
		return err
	case <-s.watch.ended:
		return context.Cause(s.ctx)
	}
}

// receive is the receiver. It ends with the first error of the stream, and there is
// one when grpc closes it; after the only message; or when the handler has returned.
func (s *boundStream) receive(requests <-chan any, replies chan<- error) {
	for {
		select {
		case m := <-requests:
			err := s.ServerStream.RecvMsg(m)
			replies <- err
			if err != nil || !s.many {
				return
			}
		case <-s.returned:
			return
		}
	}
}

// like returns an empty message of m's type, or nil if it cannot be made.
func like(m any) any {
	if v := reflect.ValueOf(m); v.Kind() != reflect.Pointer || v.IsNil() {
		return nil
	}
	message, ok := m.(proto.Message)
	if !ok {
		return reflect.New(reflect.TypeOf(m).Elem()).Interface()
	}
	// A dynamicpb.Message is no message without its descriptor.
	if empty := message.ProtoReflect().New().Interface(); reflect.TypeOf(empty) == reflect.TypeOf(m) {
		return empty
	}
	return nil
}
