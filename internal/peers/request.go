package peers

import (
	"context"
	"net/http"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// keyProbe is a context that remembers what it is asked for.
type keyProbe struct {
	context.Context //nolint:containedctx // it is one

	key any
}

func (p *keyProbe) Value(key any) any {
	if p.key == nil {
		p.key = key
	}
	return nil
}

// peerKey is the key under which grpc-go keeps the peer in a context.
var peerKey = probePeerKey()

func probePeerKey() any {
	probe := &keyProbe{Context: context.Background()}
	peer.FromContext(probe)
	return probe.key
}

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
