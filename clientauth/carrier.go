package clientauth

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// carrier sends headers with every call of a connection, and nobody else's under the
// same names. It has two halves:
//
//   - Interceptors take away what the call carries under those names, in its metadata and
//     in the credentials of its options.
//   - Credentials of the connection send the headers. grpc adds those to the credentials
//     of a call, of which it uses the last only: so no interceptor that runs later can
//     replace them. They see the metadata as it will be sent, too.
type carrier struct {
	// sends reports whether a key is one that only the carrier may send.
	sends func(key string) bool
	// withholds reports whether metadata under a key must not be sent, either.
	withholds func(key string) bool
	// begin is run by the interceptors; its error fails the call.
	begin func(context.Context) (context.Context, error)
	// header is what to send with a call. The map is not modified.
	header func(context.Context) (map[string]string, error)
	// contested is the refusal of a call that carries a key of the carrier after all.
	contested *refusal.Refusal
}

// dialOptions returns both halves.
func (c *carrier) dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithChainUnaryInterceptor(c.unary), grpc.WithChainStreamInterceptor(c.stream), grpc.WithPerRPCCredentials(c),
	}
}

func (c *carrier) unary(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	ctx, err := c.begin(ctx)
	if err != nil {
		return err
	}
	return invoker(c.cleared(ctx), method, req, reply, cc, without(opts, c.sends)...)
}

func (c *carrier) stream(
	ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	ctx, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	return streamer(c.cleared(ctx), desc, cc, method, without(opts, c.sends)...)
}

// cleared removes from the metadata that a call is made with what must not be sent.
func (c *carrier) cleared(ctx context.Context) context.Context {
	md, _ := grpcmd.FromOutgoingContext(ctx) // a copy
	all := len(md)
	for key := range md {
		if c.sends(key) || c.withholds(key) {
			delete(md, key)
		}
	}
	if len(md) == all {
		return ctx
	}
	return grpcmd.NewOutgoingContext(ctx, md)
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c *carrier) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	md, _ := grpcmd.FromOutgoingContext(ctx)
	for key := range md {
		if c.sends(key) {
			return nil, &failed{c.contested, fmt.Errorf("clientauth: an interceptor that ran later has put %q into the metadata", key)}
		}
	}
	return c.header(ctx)
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Whether there is
// anything to protect is known for each call only: see checkSecurity.
func (*carrier) RequireTransportSecurity() bool { return false }

// Format implements [fmt.Formatter]: a fixed text, since tokens and secrets may be in here.
func (*carrier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Credentials")) }

// checkSecurity is what grpc does for credentials that require an encrypted connection.
// It fails for a transport that tells nothing of its own.
func checkSecurity(ctx context.Context) error {
	about, _ := credentials.RequestInfoFromContext(ctx)
	if credentials.CheckSecurityLevel(about.AuthInfo, credentials.PrivacyAndIntegrity) != nil {
		return status.Error(codes.Unauthenticated, "transport: cannot send secure credentials on an insecure connection")
	}
	return nil
}

// without returns opts so that the credentials among them set none of these keys.
func without(opts []grpc.CallOption, removed func(key string) bool) []grpc.CallOption {
	var last credentials.PerRPCCredentials
	for _, opt := range opts {
		if set, ok := opt.(grpc.PerRPCCredsCallOption); ok {
			last = set.Creds // grpc uses the last
		}
	}
	if last == nil {
		return opts
	}
	// Clipped, since callers share what they append to.
	return append(slices.Clip(opts), grpc.PerRPCCredentials(&callCredentials{last, removed}))
}

// callCredentials are credentials of a call without some of the keys that they set.
type callCredentials struct {
	credentials.PerRPCCredentials

	removed func(key string) bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c *callCredentials) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	set, err := c.PerRPCCredentials.GetRequestMetadata(ctx, uri...)
	if err != nil {
		return nil, err
	}
	kept := make(map[string]string, len(set))
	for key, value := range set {
		if !c.removed(key) {
			kept[key] = value
		}
	}
	return kept, nil
}

// Format implements [fmt.Formatter]: call options are logged.
func (*callCredentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Credentials")) }

// failed is the error of a call that was not sent. Its cause is for the client's own
// code to find, and in no text.
type failed struct {
	*refusal.Refusal

	cause error
}

func (f *failed) Unwrap() error { return f.cause }

// Format implements [fmt.Formatter]: the text of the status, without the cause.
func (f *failed) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(f.Error())) }
