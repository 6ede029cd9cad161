package peers

import (
	"context"
	"net/http"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpc-sessionauth/sessionauth/internal/ctxkey"
)

// peerKey is the key under which grpc-go keeps the peer in a context.
var peerKey = ctxkey.Of(func(ctx context.Context) { peer.FromContext(ctx) })

// RequestContext is the context of an HTTP request that has a [peer.Peer] as a gRPC call's
// has: its AuthInfo are the credentials.TLSInfo of the request's TLS state. The peer is
// made when it is asked for.
type RequestContext struct {
	context.Context //nolint:containedctx // it is one

	Request *http.Request
}

// Value implements [context.Context].
func (c *RequestContext) Value(key any) any {
	if key == peerKey {
		p := &peer.Peer{Addr: address(c.Request.RemoteAddr)}
		if c.Request.TLS != nil {
			p.AuthInfo = credentials.TLSInfo{State: *c.Request.TLS}
		}
		return p
	}
	return c.Context.Value(key)
}

// address is a RemoteAddr of net/http.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }
