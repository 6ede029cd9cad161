// Package endpoint asks one HTTP endpoint about sessions. It is what the verifiers
// of session frameworks share: what is sent, for how long, how much of the answer is
// read, and what counts as "could not find out".
package endpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

const (
	// DefaultTimeout bounds one request, the body of the answer included.
	DefaultTimeout = 5 * time.Second
	// maxBody and maxHeader bound what is read of an answer, in bytes.
	maxBody   = 1 << 20
	maxHeader = 64 << 10
	// idleTimeout is less than the 5 s after which Node closes an idle connection: a
	// request on one that is just being closed would fail.
	idleTimeout = 4 * time.Second
	// idleConns is how many connections wait for the next request.
	idleConns = 64
)

// Client sends requests to one URL. It is safe for concurrent use.
type Client struct {
	name    string // of the package that asks, for errors
	url     string
	host    string // for Host; empty: that of the URL
	http    *http.Client
	timeout time.Duration
}

// New returns a Client. name prefixes every error; u is from [ParseURL], its query
// may have been set since. given may be nil: a client with connections of its own is
// made. A given one is copied, and follows no redirect and keeps no cookie either.
func New(name string, u *url.URL, given *http.Client, timeout time.Duration) *Client {
	client := http.Client{}
	if given != nil {
		client = *given
	} else {
		client.Transport = newTransport()
	}
	client.Jar = nil
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{name: name, url: u.String(), http: &client, timeout: timeout}
}

// At returns a Client that asks at another place, by the same connections. u is as for
// [New].
func (c *Client) At(u *url.URL) *Client {
	clone := *c
	clone.url = u.String()
	return &clone
}

// ForHost returns a Client that asks at the same place, for this host.
func (c *Client) ForHost(host string) *Client {
	clone := *c
	clone.host = host
	return &clone
}

func newTransport() *http.Transport {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: DefaultTimeout}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
	}
	transport.MaxIdleConns = idleConns
	transport.MaxIdleConnsPerHost = idleConns
	transport.IdleConnTimeout = idleTimeout
	transport.MaxResponseHeaderBytes = maxHeader
	return transport
}

// ParseURL returns the URL that raw is: absolute, http or https, without user, query
// or fragment. The error does not show raw, which may hold a password.
func ParseURL(name, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, fmt.Errorf(`%s: the URL must be absolute, "https://host" or "http://host" with or without a path`, name)
	case u.User != nil:
		return nil, fmt.Errorf("%s: the URL must not hold a user or a password", name)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%s: the URL must not have a query or a fragment", name)
	}
	if u.Path == "" {
		u.Path = "/" // as it is asked for, and as JoinPath wants it
	}
	return u, nil
}

// Answer is what the endpoint said. Its body was read to the end.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Get sends one GET request with the fields of header, the trace context of ctx, and
// nothing else of the caller's. header is not modified or retained.
//
// There is an Answer for every status but 429 and 5xx: these, and whatever keeps an
// answer from coming whole and in time, are errors that wrap
// [interceptor.ErrUnavailable], with the delay that the endpoint names. When ctx has
// ended the error wraps its error, too. No error shows what was sent or received.
func (c *Client) Get(ctx context.Context, header http.Header) (*Answer, error) {
	return c.ask(ctx, http.MethodGet, header)
}

// Post is Get with a POST request, which has no body.
func (c *Client) Post(ctx context.Context, header http.Header) (*Answer, error) {
	return c.ask(ctx, http.MethodPost, header)
}

func (c *Client) ask(ctx context.Context, method string, header http.Header) (*Answer, error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	answer, err := c.exchange(bounded, method, header)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, fmt.Errorf("%s: %w: %w", c.name, interceptor.ErrUnavailable, ctx.Err())
	case err != nil:
		return nil, c.Unavailable(describe(err))
	case answer.Status == http.StatusTooManyRequests || answer.Status >= http.StatusInternalServerError:
		cause := fmt.Errorf("%s: the endpoint answered %d", c.name, answer.Status)
		delay := retryAfter(answer.Header, time.Now())
		switch {
		case delay > 0 && answer.Status == http.StatusTooManyRequests && header.Get("X-Forwarded-For") != "":
			return nil, refusal.RetryCallerAfter(delay, cause) // the limit is that of the address
		case delay > 0:
			return nil, interceptor.RetryAfter(delay, cause)
		}
		return nil, fmt.Errorf("%w: %w", interceptor.ErrUnavailable, cause)
	}
	return answer, nil
}

var errTooLarge = errors.New("the answer is larger than 1 MiB")

func (c *Client) exchange(ctx context.Context, method string, header http.Header) (*Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.url, nil)
	if err != nil {
		return nil, err
	}
	request.Host = cmp.Or(c.host, request.Host)
	otel.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(request.Header))
	maps.Copy(request.Header, header) // what is here already must not take a credential's place
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxBody:
		return nil, errTooLarge
	}
	return &Answer{Status: response.StatusCode, Header: response.Header, Body: body}, nil
}

// Unavailable returns an error that wraps [interceptor.ErrUnavailable].
func (c *Client) Unavailable(why string) error {
	return fmt.Errorf("%s: %w: %s", c.name, interceptor.ErrUnavailable, why)
}

// Unexpected returns the error for an answer whose status is not in the vocabulary
// of the endpoint. It wraps [interceptor.ErrUnavailable].
func (c *Client) Unexpected(a *Answer) error {
	return c.Unavailable(fmt.Sprintf("the endpoint answered %d, which does not say whether there is a session", a.Status))
}

// Invalid returns an error that wraps [interceptor.ErrInvalidSession].
func (c *Client) Invalid(why string) error {
	return fmt.Errorf("%s: %w: %s", c.name, interceptor.ErrInvalidSession, why)
}

// Denied returns the error for a session that is good, and yet not enough: a status,
// PermissionDenied, which the client gets as it is.
func Denied(message string, why reason.Reason) error {
	st := status.New(codes.PermissionDenied, message)
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: string(why), Domain: reason.Domain}); err == nil {
		st = detailed
	}
	return st.Err()
}
