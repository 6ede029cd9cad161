package incoming

import (
	"context"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
)

// maxKeys bounds the names in a call's metadata, which handlers may have to be given
// without some: no honest client has as many.
const maxKeys = 1024

// Receive makes in the metadata of the call that ctx belongs to, its keys in lower
// case, and returns ctx as the handler may see it: without the metadata that hides says. It is asked
// about those keys only whose first byte is a suspect. The metadata may be the call's own
// and must not be modified. It is false when there is too much of it.
func (in *Call) Receive(ctx context.Context, suspects *[256]bool, hides func(key string) bool) (context.Context, bool) {
	md := Metadata(ctx)
	if len(md) > maxKeys {
		return ctx, false
	}
	var own, cookies []string
	upper, hidden, renamed, hop := false, false, false, false
	for key, values := range md {
		if key == "" || key == acceptEncodingKey { // gRPC's own, of nearly every call: nobody reads more into it
			continue
		}
		c := key[0]
		switch {
		case c >= 'A' && c <= 'Z':
			// No key from the network has upper case, but a context made by hand, by
			// another interceptor or a test, may have canonical header names.
			upper = true
		case c == 'a' && key == authorizationKey:
			own = values
		case c == 'c' && key == cookieKey:
			cookies = values
		case c == 'c' && key == connectionKey:
			hop = true
		}
		if suspects[c] {
			renamed = renamed || headername.HasPrefix(key, headername.GatewayPrefix)
			hidden = hidden || hides(key)
		}
	}
	*in = Call{md, renamed, hop, own, cookies}
	if upper {
		lowered := make(grpcmd.MD, len(md))
		for key, values := range md {
			lowered.Append(key, values...)
		}
		*in, hidden = newCall(lowered), true // or may be
	}
	if !hidden {
		return ctx, true
	}
	kept := make(grpcmd.MD, len(in.md))
	for key, values := range in.md {
		if !hides(key) {
			kept[key] = values
		}
	}
	return grpcmd.NewIncomingContext(ctx, kept), true
}
