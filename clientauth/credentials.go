package clientauth

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// maxCredential bounds a credential, in bytes: servers refuse a longer one.
const maxCredential = 16 << 10

// ErrUnavailable is wrapped by the error of a [TokenSource] that could not get a token
// for now. It is interceptor.ErrUnavailable.
var ErrUnavailable = refusal.ErrUnavailable

// TokenSource knows the token to send with a call. It is asked for every call, and for
// every attempt at one, while the call waits; so it should keep a token for as long as
// that is good, and return soon after ctx ends. ctx is that of the call.
// Implementations must be safe to call concurrently.
//
// An error fails the call before it is sent: with Unavailable if it wraps [ErrUnavailable]
// or is one that network connections, HTTP clients or database drivers return in an
// outage, as interceptor.VerifyFunc has it; with the status that it wraps, if any;
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
func StaticToken(token string) TokenSource { return staticToken(secret.Conceal(token)) }

type staticToken secret.Concealed

func (s staticToken) Token(context.Context) (string, error) { return s(), nil }

// Format implements [fmt.Formatter], without the token.
func (staticToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("StaticToken")) }

// Credentials put a session's token on outgoing calls. Use them in one of two ways:
//
//   - with the options of [Credentials.DialOptions] they replace an Authorization, or a
//     Cookie, that the call carries, so that none of its caller's goes along
//   - as credentials.PerRPCCredentials, for grpc.WithPerRPCCredentials and
//     grpc.PerRPCCredentials, they add the token to whatever the call carries already
//
// They are made by [NewBearer] and [NewCookie], are safe for concurrent use, start no
// goroutine and keep no token but a [StaticToken].
type Credentials struct {
	key, prefix string
	check       func(token string) error
	source      TokenSource
	insecure    bool
}

// NewBearer returns Credentials that send "Authorization: Bearer <token>".
// A token has at most 16 KiB of visible ASCII without commas, as the extractor
// metadata.Bearer reads it; a static one that has not makes this fail, another one the
// call.
func NewBearer(source TokenSource, opts ...Option) (*Credentials, error) {
	return newCredentials("NewBearer", &Credentials{
		key: "authorization", prefix: "Bearer ", check: checkBearer, source: source,
	}, opts)
}

// NewCookie returns Credentials that send "Cookie: <name>=<token>". The name
// and the token are those of RFC 6265 §4.1.1, without quotes and of at most 16 KiB: a
// name or a static token that is not makes this fail, another token the call. Nothing is escaped: the
// token is what stands in the Set-Cookie of the session's owner.
func NewCookie(name string, source TokenSource, opts ...Option) (*Credentials, error) {
	if !isToken(name) || len(name) > maxCredential {
		return nil, fmt.Errorf("clientauth: NewCookie: %q is no name of a cookie", name)
	}
	return newCredentials("NewCookie", &Credentials{
		key: "cookie", prefix: name + "=", check: checkCookie, source: source,
	}, opts)
}

func newCredentials(constructor string, c *Credentials, opts []Option) (*Credentials, error) {
	configured := newConfig(opts)
	c.insecure = configured.insecure
	if err := configured.onlyForwarding(constructor); err != nil {
		return nil, err
	}
	if isNil(c.source) {
		return nil, fmt.Errorf("clientauth: %s needs a TokenSource", constructor)
	}
	if static, ok := c.source.(staticToken); ok {
		if err := c.check(static()); err != nil {
			return nil, fmt.Errorf("clientauth: %s: %w", constructor, err)
		}
	}
	return c, nil
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (c *Credentials) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := c.source.Token(ctx)
	if err != nil {
		return nil, &failed{unobtained(ctx, err), err}
	}
	if err := c.check(token); err != nil {
		return nil, &failed{refusal.CredentialUnavailable, fmt.Errorf("clientauth: %w", err)}
	}
	return map[string]string{c.key: c.prefix + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: true unless
// [WithInsecureTransport] was given.
func (c *Credentials) RequireTransportSecurity() bool { return !c.insecure }

// DialOptions returns the options for grpc.NewClient by which every call of the
// connection carries the token, and no other credential of its kind: neither in the call's
// metadata nor in the credentials among its options. No other interceptor can take the
// token away. One that runs later and puts metadata under the same name fails the call.
func (c *Credentials) DialOptions() []grpc.DialOption {
	sent := &carrier{
		sends:     func(key string) bool { return headername.Is(key, c.key) },
		withholds: func(string) bool { return false },
		begin:     func(ctx context.Context) (context.Context, error) { return ctx, nil },
		header:    c.secured,
		contested: refusal.CredentialUnavailable,
	}
	return sent.dialOptions()
}

// secured is GetRequestMetadata where grpc has not checked the connection before.
func (c *Credentials) secured(ctx context.Context) (map[string]string, error) {
	if c.RequireTransportSecurity() {
		if err := checkSecurity(ctx); err != nil {
			return nil, err
		}
	}
	return c.GetRequestMetadata(ctx)
}

// Format implements [fmt.Formatter]: a fixed text, since the token may be in here.
func (*Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Credentials")) }

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

// unobtained is the refusal of a call whose token could not be had.
func unobtained(ctx context.Context, err error) *refusal.Refusal {
	if ctx.Err() != nil {
		return refusal.CallerGoneFirst(ctx.Err())
	}
	given, hasStatus := refusal.StatusOf(err)
	switch {
	case errors.Is(err, ErrUnavailable), refusal.IsOutage(err):
		return refusal.CredentialDelayed
	case hasStatus:
		return refusal.Given(given)
	}
	return refusal.CredentialUnavailable
}

// isVisible reports whether s is made of visible ASCII characters.
func isVisible(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' })
}

// isToken reports whether s is a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	return isVisible(s) && !strings.ContainsAny(s, `"(),/:;<=>?@[\]{}`)
}

// isNil reports whether there is no source: none, a nil pointer or a nil func.
func isNil(source TokenSource) bool {
	v := reflect.ValueOf(source)
	return !v.IsValid() || (v.Kind() == reflect.Pointer || v.Kind() == reflect.Func) && v.IsNil()
}
