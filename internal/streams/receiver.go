package streams

import (
	"fmt"
	"reflect"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/runtime/protoimpl"
)

// receiver is a goroutine that waits for the client in the handler's place, so that the
// handler can be released. It belongs to the stream, and receives into messages of its
// own, since what is the handler's must not be touched when the handler has been released.
type receiver struct {
	requests chan any        // messages to receive into; nil: no receiver runs
	replies  chan error      // what came of it
	over     <-chan struct{} // of the watch
}

// errReceiverExited is the error of a RecvMsg that ended its goroutine. Only a codec, or
// what another interceptor wraps around the stream, can do that.
var errReceiverExited = status.Error(codes.Internal, "receiving a message called runtime.Goexit")

// receivePanic is what a handler's RecvMsg panics with when receiving did.
type receivePanic struct {
	value any
	stack []byte
}

// Error holds the text of the original value and where it was thrown.
func (p *receivePanic) Error() string {
	return fmt.Sprintf("%v\n\nwhile receiving, in a goroutine of its own:\n%s", p.value, p.stack)
}

// Unwrap returns the original value, if it is an error.
func (p *receivePanic) Unwrap() error {
	err, _ := p.value.(error)
	return err
}

// receive has the receiver receive into received, and copies it into m. It returns early,
// with no particular error, when the stream is over.
func (s *boundStream) receive(m, received any) error {
	s.receiving.Lock()
	defer s.receiving.Unlock()
	r := &s.receiver
	if r.requests == nil {
		*r = receiver{make(chan any), make(chan error, 1), s.watch.ended()}
		go s.receiveEach(*r)
	}
	select {
	case r.requests <- received:
	case <-r.over:
		return nil
	}
	select {
	case err := <-r.replies:
		if p, ok := err.(*receivePanic); ok { //nolint:errorlint // made below, and never wrapped
			r.requests = nil
			panic(p) //nolint:forbidigo // it is where it would have been without the receiver
		}
		if err != nil || !s.many {
			*r = receiver{} // it is gone, and an idle stream holds nothing of it
			s.watch.notAwaited()
		}
		if err == nil {
			reflect.ValueOf(m).Elem().Set(reflect.ValueOf(received).Elem())
		}
		return err
	case <-r.over:
		return nil
	}
}

// receiveEach is the receiver. It ends with the first error of the stream, and there is
// one when grpc closes it; after the only message; or when the stream is over. What comes
// too late, a panic included, nobody hears of.
func (s *boundStream) receiveEach(r receiver) {
	receiving := false
	defer func() {
		if !receiving {
			return
		}
		if value := recover(); value != nil {
			r.replies <- &receivePanic{value, debug.Stack()}
			return
		}
		r.replies <- errReceiverExited
	}()
	for {
		select {
		case m := <-r.requests:
			if s.watch.Check() != nil {
				return // nothing starts after the release
			}
			receiving = true
			err := s.ServerStream.RecvMsg(m)
			receiving = false
			r.replies <- err // which has room
			if err != nil || !s.many {
				return
			}
		case <-r.over:
			return
		}
	}
}

// ended returns what is closed when the session has ended or the handler has returned.
func (w *Watch) ended() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = make(chan struct{})
	if w.closed {
		close(w.over)
	}
	return w.over
}

// notAwaited drops what ended has returned.
func (w *Watch) notAwaited() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = nil
}

// like returns an empty message of m's type; nil if it cannot surely be made. That is
// known of generated messages only: a message of another kind may need what its maker has
// put into it, such as a descriptor.
func like(m any) any {
	message, ok := m.(proto.Message)
	if !ok || reflect.ValueOf(m).Kind() != reflect.Pointer || reflect.ValueOf(m).IsNil() {
		return nil
	}
	// A type that wraps or embeds a message has the methods of that.
	described := message.ProtoReflect()
	info, generated := described.Type().(*protoimpl.MessageInfo)
	if !generated || info.GoReflectType != reflect.TypeOf(m) {
		return nil
	}
	return described.New().Interface()
}
