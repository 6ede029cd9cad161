package connectauth

import (
	"context"
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// handlers is an error of the handler's own, which passes as it is, a status included.
type handlers struct{ error }

// own marks an error as the handler's own.
func own(err error) error {
	if err == nil {
		return nil
	}
	return handlers{err}
}

// wireError returns err as Connect sends it: with its code, message and details.
func wireError(err error) error {
	if err == nil {
		return nil
	}
	if own, ok := err.(handlers); ok { //nolint:errorlint // it is never wrapped
		return own.error
	}
	answer := refusal.AnswerTo(err)
	wire := connect.NewError(connect.Code(answer.Code), errors.New(answer.Message))
	for _, detail := range answer.Status.Proto().GetDetails() {
		if told, err := connect.NewErrorDetail(detail); err == nil {
			wire.AddDetail(told)
		}
	}
	return wire
}

// messages is a stream of Connect as one of gRPC, without its header and trailer, which handlers
// have from Connect.
type messages struct {
	ctx  context.Context //nolint:containedctx // what Context returns
	conn connect.StreamingHandlerConn
}

var _ grpc.ServerStream = messages{}

func (m messages) Context() context.Context  { return m.ctx }
func (m messages) SendMsg(message any) error { return m.conn.Send(message) }
func (m messages) RecvMsg(message any) error { return m.conn.Receive(message) }
func (messages) SetHeader(grpcmd.MD) error   { return nil }
func (messages) SendHeader(grpcmd.MD) error  { return nil }
func (messages) SetTrailer(grpcmd.MD)        {}

// bound is the same stream for its handler, which ends with its session.
type bound struct {
	connect.StreamingHandlerConn

	stream grpc.ServerStream
}

// Receive implements [connect.StreamingHandlerConn].
func (b bound) Receive(message any) error { return b.stream.RecvMsg(message) }

// Send implements [connect.StreamingHandlerConn].
func (b bound) Send(message any) error { return b.stream.SendMsg(message) }
