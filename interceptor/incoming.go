package interceptor

import (
	"context"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
)

// maxKeys bounds the names in a call's metadata, which handlers may have to be given
// without some: no honest client has as many.
const maxKeys = 1024

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

// incomingKey is the key under which grpc-go keeps the metadata of a call in its
// context. [grpcmd.FromIncomingContext] copies all of it, which is half the cost of
// a call that is answered from memory. It is nil should grpc-go ever keep
// something else there.
var incomingKey = probeIncomingKey()

func probeIncomingKey() any {
	probe := &keyProbe{Context: context.Background()}
	grpcmd.FromIncomingContext(probe)
	const name = "sessionauth-probe"
	ctx := grpcmd.NewIncomingContext(context.Background(), grpcmd.MD{name: {name}})
	md, ok := ctx.Value(probe.key).(grpcmd.MD)
	if probe.key == nil || !ok || len(md) != 1 || len(md[name]) != 1 || md[name][0] != name {
		return nil
	}
	return probe.key
}

// receive returns the metadata of the call that ctx belongs to, its keys in lower
// case, and ctx as the handler may see it: without metadata that would pass for
// an identity, or tells a secret. The metadata may be the call's own and must not be
// modified. It is false when there is too much of it.
func (g *guard) receive(ctx context.Context) (context.Context, incoming, bool) {
	md, suspects := incomingMetadata(ctx), &g.suspects
	if len(md) > maxKeys {
		return ctx, incoming{}, false
	}
	var own, cookies []string
	upper, hidden, renamed, hop := false, false, false, false
	for key, values := range md {
		if key == "" {
			continue
		}
		c := key[0]
		switch {
		case c >= 'A' && c <= 'Z':
			// No key from the network has upper case, but a context made by hand, by
			// another interceptor or a test, may have canonical header names.
			upper = true
		case c == 'a' && key == authorization.key:
			own = values
		case c == 'c' && key == cookie.key:
			cookies = values
		case c == 'c' && key == connection.key:
			hop = true
		}
		if suspects[c] {
			renamed = renamed || headername.HasPrefix(key, headername.GatewayPrefix)
			hidden = hidden || g.hides(key)
		}
	}
	in := incoming{md, renamed, hop, own, cookies}
	if upper {
		lowered := make(grpcmd.MD, len(md))
		for key, values := range md {
			lowered.Append(key, values...)
		}
		in, hidden = newIncoming(lowered), true // or may be
	}
	if !hidden {
		return ctx, in, true
	}
	kept := make(grpcmd.MD, len(in.md))
	for key, values := range in.md {
		if !g.hides(key) {
			kept[key] = values
		}
	}
	return grpcmd.NewIncomingContext(ctx, kept), in, true
}

func incomingMetadata(ctx context.Context) grpcmd.MD {
	if incomingKey == nil {
		md, _ := grpcmd.FromIncomingContext(ctx)
		return md
	}
	md, _ := ctx.Value(incomingKey).(grpcmd.MD)
	return md
}
