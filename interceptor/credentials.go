package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// TokenSource knows the token to send with a call. It is asked for every call, and for
// every attempt at one, while the call waits; so it should keep a token for as long as
// that is good, and return soon after ctx ends. ctx is that of the call.
// Implementations must be safe to call concurrently.
//
// An error fails the call before it is sent: with the status that the error wraps; with
// Unavailable if it wraps [ErrUnavailable], a net.Error or context.DeadlineExceeded;
// otherwise with Unauthenticated. grpc turns some codes into Internal (gRFC A54).
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// TokenFunc is a func as a [TokenSource].
type TokenFunc func(ctx context.Context) (string, error)

// Token calls f.
func (f TokenFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

// StaticToken is a [TokenSource] of always the same token. It is checked when the
// credentials are made.
func StaticToken(token string) TokenSource { return staticToken(conceal(token)) }

type staticToken concealed

func (s staticToken) Token(context.Context) (string, error) { return s(), nil }

// Format implements [fmt.Formatter], without the token.
func (staticToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("StaticToken")) }

// CredentialsOption configures [Credentials]. A nil CredentialsOption is ignored.
type CredentialsOption interface{ applyCredentials(*Credentials) }

// Credentials put a session's token on outgoing calls. They are a
// credentials.PerRPCCredentials, for grpc.WithPerRPCCredentials and
// grpc.PerRPCCredentials, which add the token to whatever the call carries already. As
// interceptors they replace an Authorization, or a Cookie, that the call carries, so
// that none of its caller's goes along. Use one or the other.
//
// They are made by [NewBearerCredentials] and [NewCookieCredentials], are safe for
// concurrent use, start no goroutine and keep no token but a [StaticToken].
type Credentials struct {
	key, prefix string
	check       func(token string) error
	source      TokenSource
	insecure    bool
}

// NewBearerCredentials returns Credentials that send "Authorization: Bearer <token>".
// A token has at most 16 KiB of visible ASCII without commas, as the extractor
// metadata.Bearer reads it; a static one that has not makes this fail, another one the
// call.
func NewBearerCredentials(source TokenSource, opts ...CredentialsOption) (*Credentials, error) {
	return newCredentials("NewBearerCredentials", &Credentials{
		key: authorization.key, prefix: "Bearer ", check: checkBearer, source: source,
	}, opts)
}

// NewCookieCredentials returns Credentials that send "Cookie: <name>=<token>". The name
// and the token are those of RFC 6265 §4.1.1, without quotes and of at most 16 KiB: a
// name or a static token that is not makes this fail, another token the call. Nothing is escaped: the
// token is what stands in the Set-Cookie of the session's owner.
func NewCookieCredentials(name string, source TokenSource, opts ...CredentialsOption) (*Credentials, error) {
	if !consistsOf(name, lowerCase+upperCase+digits+"!#$%&'*+-.^_`|~") || len(name) > maxCredential {
		return nil, fmt.Errorf("interceptor: NewCookieCredentials: %q is no name of a cookie", name)
	}
	return newCredentials("NewCookieCredentials", &Credentials{
		key: cookie.key, prefix: name + "=", check: checkCookie, source: source,
	}, opts)
}

func newCredentials(constructor string, c *Credentials, opts []CredentialsOption) (*Credentials, error) {
	for _, opt := range opts {
		if opt != nil {
			opt.applyCredentials(c)
		}
	}
	if isNil(c.source) {
		return nil, fmt.Errorf("interceptor: %s needs a TokenSource", constructor)
	}
	if static, ok := c.source.(staticToken); ok {
		if err := c.check(static()); err != nil {
			return nil, fmt.Errorf("interceptor: %s: %w", constructor, err)
		}
	}
	return c, nil
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c *Credentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := c.source.Token(ctx)
	if err != nil {
		return nil, &clientFailure{unobtained(ctx, err), err}
	}
	if err := c.check(token); err != nil {
		return nil, &clientFailure{credentialUnavailable, fmt.Errorf("interceptor: %w", err)}
	}
	return map[string]string{c.key: c.prefix + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: true unless
// [WithInsecureTransport] was given.
func (c *Credentials) RequireTransportSecurity() bool { return !c.insecure }

// DialOptions returns both interceptors, so that neither is forgotten, as options for
// grpc.NewClient.
func (c *Credentials) DialOptions() []grpc.DialOption { return prepareFunc(c.prepare).dialOptions() }

// UnaryClientInterceptor returns the interceptor for unary calls.
func (c *Credentials) UnaryClientInterceptor() grpc.UnaryClientInterceptor {
	return prepareFunc(c.prepare).unary
}

// StreamClientInterceptor returns the interceptor for streams of all kinds.
func (c *Credentials) StreamClientInterceptor() grpc.StreamClientInterceptor {
	return prepareFunc(c.prepare).stream
}

// Format implements [fmt.Formatter]: a fixed text, since the token may be in here.
func (*Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Credentials")) }

func (c *Credentials) prepare(ctx context.Context, opts []grpc.CallOption) (context.Context, []grpc.CallOption, error) {
	ctx, opts = attach(ctx, opts, c, func(key string) bool {
		return strings.EqualFold(key, c.key) || strings.EqualFold(key, gatewayPrefix+c.key)
	})
	return ctx, opts, nil
}

func checkBearer(token string) error {
	if !isVisible(token) || strings.Contains(token, ",") || len(token) > maxCredential {
		return errors.New("the token is empty, too long, or holds a byte that is not visible ASCII, or a comma")
	}
	return nil
}

func checkCookie(value string) error {
	if !isVisible(value) || strings.ContainsAny(value, `",;\`) || len(value) > maxCredential {
		return errors.New("the token is empty, too long, or not the value of a cookie")
	}
	return nil
}

// unobtained is the failure of a call whose token could not be had.
func unobtained(ctx context.Context, err error) *failure {
	var netErr net.Error
	given, hasStatus := statusOf(err)
	switch {
	case ctx.Err() != nil:
		return &failure{
			status: describe(status.FromContextError(ctx.Err()), ReasonCredentialUnavailable), kind: telemetry.CallerGone,
		}
	case errors.Is(err, ErrUnavailable), errors.As(err, &netErr), errors.Is(err, context.DeadlineExceeded):
		return credentialDelayed
	case hasStatus:
		return &failure{status: given}
	}
	return credentialUnavailable
}
