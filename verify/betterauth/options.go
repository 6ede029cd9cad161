package betterauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Option configures a [Verifier]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	basePath string
	cookie   string
	secrets  [][]byte
	refresh  bool
	address  func(ctx context.Context, header http.Header) string
	client   *http.Client
	timeout  time.Duration
	errs     []error
}

func newConfig(opts []Option) config {
	c := config{basePath: "/api/auth", cookie: "better-auth.session_token", timeout: endpoint.DefaultTimeout}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	return c
}

// WithBasePath is for a better-auth whose basePath is not "/api/auth", the default.
// It begins with "/"; anything else makes [New] fail.
func WithBasePath(path string) Option {
	return optionFunc(func(c *config) {
		c.basePath = path
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "?#%") || strings.Contains(path, "..") {
			c.errs = append(c.errs, fmt.Errorf(`%s: WithBasePath: %q: want a plain path that begins with "/"`, name, path))
		}
	})
}

// WithCookiePrefix is for a better-auth with a cookiePrefix of its own: the session
// cookie is prefix + ".session_token". By default "better-auth". One that makes no
// cookie name makes [New] fail.
func WithCookiePrefix(prefix string) Option {
	return optionFunc(func(c *config) {
		c.cookie = prefix + ".session_token"
		if prefix == "" || !endpoint.IsCookieName(c.cookie) {
			c.errs = append(c.errs, fmt.Errorf("%s: WithCookiePrefix: %q makes no cookie name", name, prefix))
		}
	})
}

// WithSecret checks the signature of a credential before better-auth is asked about
// it: a cookie that was forged, or that is not signed, costs no call. secrets are
// what better-auth's secret is, and has been for as long as a session lasts. A bearer
// token is checked if it is signed; better-auth's bearer plugin takes both kinds. By
// default, better-auth checks. No secret, or an empty one, makes [New] fail.
func WithSecret(secrets ...string) Option {
	return optionFunc(func(c *config) {
		c.secrets = nil
		for _, secret := range secrets {
			if secret == "" {
				c.errs = append(c.errs, fmt.Errorf("%s: WithSecret: a secret is empty", name))
			}
			c.secrets = append(c.secrets, []byte(secret))
		}
		if len(secrets) == 0 {
			c.errs = append(c.errs, errors.New(name+": WithSecret needs a secret"))
		}
	})
}

// WithRefresh lets a verification extend the session, as a visit to a page does, and
// hands the session cookie that better-auth then sets, or removes, to the client of
// the call that caused the verification: see interceptor.SetResponseHeader for who
// gets it. With a bearer token there is no cookie. By default a verification changes
// nothing.
//
// A session that its user asked not to be remembered is extended, too: the cookie
// that says so is no credential and is not sent on.
func WithRefresh() Option {
	return optionFunc(func(c *config) { c.refresh = true })
}

// WithClientAddress tells better-auth the address of the client, as X-Forwarded-For.
// Without it better-auth in production, which allows 100 questions in 10 s from one
// address, counts all calls of all users as one client's. address returns an IP
// address, with or without a port; anything else is not sent. It must be safe to call
// concurrently. By default, and for nil, none is sent.
//
// header is the header of the call that caused the verification. Take a field that a
// proxy of yours always sets, never one that a client could have set. With
// interceptor.WithKeyHeaders that field must be among those, so that one session seen
// from two addresses is verified twice; without, header holds it anyway. The peer of
// the call is in ctx only without a cache, or when interceptor.WithKeyContext carries
// it over.
func WithClientAddress(address func(ctx context.Context, header http.Header) string) Option {
	return optionFunc(func(c *config) { c.address = address })
}

// WithHTTPClient sends the requests with a copy of client, which follows no redirect
// and keeps no cookies whatever client does. Its transport should close idle
// connections in less than 5 s, since Node does after that time. By default, and
// for nil, a client with connections of its own and the proxy of the environment.
func WithHTTPClient(client *http.Client) Option {
	return optionFunc(func(c *config) { c.client = client })
}

// WithTimeout bounds one request, the body of its answer included. By default 5 s.
// One that is not positive makes [New] fail.
func WithTimeout(timeout time.Duration) Option {
	return optionFunc(func(c *config) {
		c.timeout = timeout
		if timeout <= 0 {
			c.errs = append(c.errs, fmt.Errorf("%s: WithTimeout: the timeout must be positive, got %v", name, timeout))
		}
	})
}
