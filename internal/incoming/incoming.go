// Package incoming reads what came with a call, the metadata of gRPC or the header of HTTP,
// without copying it, and says how much is too much.
package incoming

import (
	"context"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/internal/ctxkey"
)

// incomingKey is the key under which grpc-go keeps the metadata of a call in its
// context. [grpcmd.FromIncomingContext] copies all of it, which is half the cost of
// a call that is answered from memory. It is nil should grpc-go ever keep
// something else there.
var incomingKey = probeIncomingKey()

func probeIncomingKey() any {
	key := ctxkey.Of(func(ctx context.Context) { grpcmd.FromIncomingContext(ctx) })
	const name = "sessionauth-probe"
	ctx := grpcmd.NewIncomingContext(context.Background(), grpcmd.MD{name: {name}})
	md, ok := ctx.Value(key).(grpcmd.MD)
	if key == nil || !ok || len(md) != 1 || len(md[name]) != 1 || md[name][0] != name {
		return nil
	}
	return key
}

// Metadata returns the metadata of the call that ctx belongs to: grpc-go's own where it
// can be had. It must not be modified.
func Metadata(ctx context.Context) grpcmd.MD {
	if incomingKey == nil {
		md, _ := grpcmd.FromIncomingContext(ctx)
		return md
	}
	md, _ := ctx.Value(incomingKey).(grpcmd.MD)
	return md
}

// InPlace reports whether metadata is read without copying it.
func InPlace() bool { return incomingKey != nil }

// ByCopy has metadata be read as with a grpc-go that keeps it in another way, until the
// returned func is called. It is for tests, which run nothing beside it.
func ByCopy() (restore func()) {
	key := incomingKey
	incomingKey = nil
	return func() { incomingKey = key }
}
