package kratos

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Option configures a [Verifier]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	cookie   string
	roles    []string
	readyURL *url.URL
	client   *http.Client
	timeout  time.Duration
	errs     []error
}

func newConfig(opts []Option) config {
	c := config{cookie: "ory_kratos_session", timeout: endpoint.DefaultTimeout}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	return c
}

// WithCookieName is for a Kratos whose session.cookie.name is not
// "ory_kratos_session", the default. One that is no cookie name makes [New] fail.
func WithCookieName(cookie string) Option {
	return optionFunc(func(c *config) {
		c.cookie = cookie
		if !endpoint.IsCookieName(cookie) {
			c.errs = append(c.errs, fmt.Errorf("%s: WithCookieName: %q is no cookie name", name, cookie))
		}
	})
}

// WithRoles takes the roles from metadata_public of the identity: path names the
// field, its steps separated by dots, as in "roles" or "acl.roles". The value is a
// text, for one role, or a list of texts; anything else gives no roles. By default
// there are none. An empty step makes [New] fail.
func WithRoles(path string) Option {
	return optionFunc(func(c *config) {
		c.roles = strings.Split(path, ".")
		if slices.Contains(c.roles, "") {
			c.errs = append(c.errs, fmt.Errorf("%s: WithRoles: %q: want names separated by dots", name, path))
		}
	})
}

// WithReadyURL names an endpoint that is asked whenever Kratos says 401, before that is
// believed: Kratos's "/health/ready", which fails when its database does. Unless it
// answers 200, the session's owner is unavailable. It is asked without credentials. A
// bad credential then costs two requests; a NegativeTTL in the cache's policy bounds
// that. By default 401 is believed. A URL that is not valid makes [New] fail.
func WithReadyURL(readyURL string) Option {
	return optionFunc(func(c *config) {
		var err error
		if c.readyURL, err = endpoint.ParseURL(name+": WithReadyURL", readyURL); err != nil {
			c.errs = append(c.errs, err)
		}
	})
}

// WithHTTPClient sends the requests with a copy of client, which follows no redirect
// and keeps no cookies whatever client does. By default, and for nil, a client with
// connections of its own and the proxy of the environment.
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
