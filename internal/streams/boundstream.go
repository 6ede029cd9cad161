package streams

import (
	"context"
	"sync"

	"google.golang.org/grpc"
)

// boundStream is a stream that ends with its session, as its handler sees it.
type boundStream struct {
	grpc.ServerStream

	ctx   context.Context //nolint:containedctx // what Context returns
	watch *Watch
	many  bool // the client may send more than one message

	receiving sync.Mutex // grpc allows one RecvMsg at a time
	receiver  receiver
}

// Serve runs the handler of a stream that ends when the watch says so. ctx is the
// handler's.
func (w *Watch) Serve(
	ctx context.Context, srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler,
) error {
	defer func() { _ = w.Close() }() // when the handler panics, too
	err := handler(srv, &boundStream{ServerStream: stream, ctx: ctx, watch: w, many: info.IsClientStream})
	if ended := w.Close(); ended != nil {
		return ended
	}
	return err
}

// Context returns the handler's context.
func (s *boundStream) Context() context.Context { return s.ctx }

// SendMsg sends m, unless the stream is over.
func (s *boundStream) SendMsg(m any) error {
	if err := s.watch.Check(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

// RecvMsg receives into m, until the stream is over: a wait for the client is cut short
// then, if m can be made anew. Nothing that comes later is handed out.
func (s *boundStream) RecvMsg(m any) error {
	if err := s.watch.Check(); err != nil {
		return err
	}
	var err error
	if received := like(m); received == nil {
		err = s.ServerStream.RecvMsg(m)
	} else {
		err = s.receive(m, received)
	}
	if over := s.watch.Check(); over != nil {
		return over
	}
	return err
}
