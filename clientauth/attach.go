package clientauth

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// prepareFunc returns the context and the options that a call is made with.
type prepareFunc func(context.Context, []grpc.CallOption) (context.Context, []grpc.CallOption, error)

func (prepare prepareFunc) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	ctx, opts, err := prepare(ctx, opts)
	if err != nil {
		return err
	}
	return invoker(ctx, method, req, reply, cc, opts...)
}

func (prepare prepareFunc) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, opts, err := prepare(ctx, opts)
	if err != nil {
		return nil, err
	}
	return streamer(ctx, desc, cc, method, opts...)
}

func (prepare prepareFunc) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(prepare.unary), grpc.WithChainStreamInterceptor(prepare.stream)}
}

// callCredentials are what an interceptor puts on one call, and what the call had
// already. They are credentials rather than metadata, since grpc looks at the
// connection before it asks for them.
type callCredentials struct {
	credentials.PerRPCCredentials

	before  credentials.PerRPCCredentials // nil: none
	replace func(key string) bool
}

// GetRequestMetadata returns both, without what of the earlier is replaced.
func (c *callCredentials) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	own, err := c.PerRPCCredentials.GetRequestMetadata(ctx, uri...)
	if err != nil || c.before == nil {
		return own, err
	}
	before, err := c.before.GetRequestMetadata(ctx, uri...)
	if err != nil {
		return nil, err
	}
	all := make(map[string]string, len(before)+len(own))
	for key, value := range before {
		if !c.replace(key) {
			all[key] = value
		}
	}
	maps.Copy(all, own)
	return all, nil
}

// RequireTransportSecurity reports whether either of them does.
func (c *callCredentials) RequireTransportSecurity() bool {
	return c.PerRPCCredentials.RequireTransportSecurity() || c.before != nil && c.before.RequireTransportSecurity()
}

// Format implements [fmt.Formatter]: call options are logged.
func (*callCredentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Credentials")) }

// attach puts own on a call in place of all that the caller has set under keys to be
// replaced.
func attach(
	ctx context.Context, opts []grpc.CallOption, own credentials.PerRPCCredentials, replace func(key string) bool,
) (context.Context, []grpc.CallOption) {
	c := &callCredentials{PerRPCCredentials: own, replace: replace}
	for _, opt := range opts {
		if set, ok := opt.(grpc.PerRPCCredsCallOption); ok {
			c.before = set.Creds // grpc uses the last
		}
	}
	return withoutOutgoing(ctx, replace), append(slices.Clip(opts), grpc.PerRPCCredentials(c))
}

// withoutOutgoing removes keys from the metadata that a call is made with.
func withoutOutgoing(ctx context.Context, remove func(key string) bool) context.Context {
	md, _ := grpcmd.FromOutgoingContext(ctx) // a copy
	all := len(md)
	for key := range md {
		if remove(key) {
			delete(md, key)
		}
	}
	if len(md) == all {
		return ctx
	}
	return grpcmd.NewOutgoingContext(ctx, md)
}

// failed is the error of a call that was not sent. Its cause is for the client's own
// code to find, and in no text.
type failed struct {
	*refusal.Refusal

	cause error
}

func (f *failed) Unwrap() error { return f.cause }

// Format implements [fmt.Formatter]: the text of the status, without the cause.
func (f *failed) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(f.Error())) }
