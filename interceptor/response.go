package interceptor

import (
	"context"
	"fmt"
	"net/http"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/internal/response"
)

// SetResponseHeader hands a header, such as a session cookie that was refreshed, to
// the client of the call that caused a verification. It is for verify and map
// callbacks: ctx is the one that they got. The client gets it as header metadata, on
// errors too, along with what earlier calls handed back.
//
// It reaches that one call only: it is never cached, and those who wait for the same
// answer do not get it. Nobody gets it when there is no such call any more: when
// the caller gave up, in a refresh in the background, and when an open stream
// is verified again. [Authenticator.Authenticate] returns it.
//
// The error says which name or value cannot be sent as gRPC metadata, or that one
// verification hands back more than 16 KiB; nothing of header is then handed back.
// header is not modified or retained. It is safe to call concurrently.
func SetResponseHeader(ctx context.Context, header http.Header) error {
	if err := response.Add(ctx, header); err != nil {
		return fmt.Errorf("interceptor: SetResponseHeader: %w", err)
	}
	return nil
}

// responding returns a context whose callbacks can hand back to this call.
func (r *request) responding(ctx context.Context) context.Context {
	ctx, mine := response.New(ctx)
	r.response.Store(mine)
	return ctx
}

// respond sends the client what was handed back. A call that is not of gRPC has
// nowhere to send it.
func (r *request) respond(ctx context.Context) {
	if md := r.response.Load().Metadata(); md != nil {
		_ = grpc.SetHeader(ctx, md)
	}
}
