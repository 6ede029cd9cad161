package interceptor

import (
	"context"
	"net/http"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// headers is where the headers of a call come from. Nothing it returns from
// values may be modified; what full returns is a copy.
type headers interface {
	values(name headerName) []string
	// conflicts reports whether a credential contradicts the one that
	// grpc-gateway renamed.
	conflicts() bool
	full() http.Header
}

// incoming is the metadata of a gRPC call.
type incoming struct {
	md      grpcmd.MD
	renamed bool // grpc-gateway put its prefix on some of it
}

func (in *incoming) values(name headerName) []string {
	if name == host {
		return in.md[":authority"]
	}
	return authmd.Values(in.md, name.key)
}

// conflicts: grpc-gateway's names are still there only when they differ from the
// native ones.
func (in *incoming) conflicts() bool {
	return in.renamed && (len(in.values(gatewayAuthorization)) > 0 || len(in.values(gatewayCookie)) > 0)
}

func (in *incoming) full() http.Header { return authmd.Header(in.md) }

// supplied is a header that the caller of Authenticate passed in.
type supplied struct {
	cleaned http.Header
	host    []string // which does not survive the cleaning
}

func (s *supplied) values(name headerName) []string {
	if name == host {
		return s.host
	}
	return s.cleaned[name.canonical]
}

func (s *supplied) conflicts() bool {
	return len(s.values(gatewayAuthorization)) > 0 || len(s.values(gatewayCookie)) > 0
}

func (s *supplied) full() http.Header { return s.cleaned.Clone() }

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
// case, and ctx as the handler may see it: without metadata that would pass for an
// identity. The metadata may be the call's own and must not be modified.
func receive(ctx context.Context) (context.Context, incoming) {
	md := incomingMetadata(ctx)
	upper, spoofed, renamed := false, false, false
	for key := range md {
		if key == "" {
			continue
		}
		switch c := key[0]; {
		case c == 'x':
			spoofed = spoofed || headername.HasPrefix(key, headername.IdentityPrefix)
		case c == 'g' && headername.HasPrefix(key, headername.GatewayPrefix):
			renamed = true
			spoofed = spoofed || headername.IsIdentity(key)
		case c <= 'Z' && c >= 'A':
			// No key from the network has upper case, but a context made by hand, by
			// another interceptor or a test, may have canonical header names.
			upper = true
		}
	}
	if upper {
		lowered := make(grpcmd.MD, len(md))
		for key, values := range md {
			lowered.Append(key, values...)
		}
		md, spoofed, renamed = lowered, true, true // or may be
	}
	if !spoofed {
		return ctx, incoming{md, renamed}
	}
	kept := make(grpcmd.MD, len(md))
	for key, values := range md {
		if !headername.IsIdentity(key) {
			kept[key] = values
		}
	}
	return grpcmd.NewIncomingContext(ctx, kept), incoming{md, renamed}
}

func incomingMetadata(ctx context.Context) grpcmd.MD {
	if incomingKey == nil {
		md, _ := grpcmd.FromIncomingContext(ctx)
		return md
	}
	md, _ := ctx.Value(incomingKey).(grpcmd.MD)
	return md
}
