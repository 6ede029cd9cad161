package forwardauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Option configures a [Verifier]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	path      string
	good      []int
	headers   Headers
	cookies   cookies
	target    http.Header
	toLogin   bool
	anonymous bool
	client    *http.Client
	timeout   time.Duration
	errs      []error
}

func newConfig() config {
	return config{
		good:    []int{http.StatusOK},
		headers: Headers{Subject: "Remote-User", Name: "Remote-Name", Email: "Remote-Email", Roles: "Remote-Groups"},
		timeout: endpoint.DefaultTimeout,
	}
}

// Headers names the fields of an answer that say whose session it is. Names are in any
// case. Roles are separated by commas.
type Headers struct {
	Subject            string // needed
	Name, Email, Roles string // empty: not told
}

// WithHeaders says which fields of an answer hold the identity. By default
// Remote-User, -Name, -Email and -Groups, or those of the preset. A Subject that is
// empty, or a name that is none, makes the constructor fail.
func WithHeaders(headers Headers) Option {
	return optionFunc(func(c *config) {
		c.headers = headers
		for _, field := range []string{headers.Subject, headers.Name, headers.Email, headers.Roles} {
			if field != "" && !authmd.Forwardable(field) {
				c.errs = append(c.errs, fmt.Errorf("%s: WithHeaders: %q is no name of a header", name, field))
			}
		}
		if headers.Subject == "" {
			c.errs = append(c.errs, errors.New(name+": WithHeaders needs the header of the Subject"))
		}
	})
}

// WithCookies names the session cookies, exactly, __Secure- and __Host- included: all
// of them that a request carries are sent on together. By default none, or that of
// the preset. No names, or one that is no cookie name, makes the constructor fail.
func WithCookies(names ...string) Option {
	names = slices.Clone(names)
	return optionFunc(func(c *config) {
		c.cookies.names = names
		for _, cookie := range names {
			if !endpoint.IsCookieName(cookie) {
				c.errs = append(c.errs, fmt.Errorf("%s: WithCookies: %q is no cookie name", name, cookie))
			}
		}
		if len(names) == 0 {
			c.errs = append(c.errs, errors.New(name+": WithCookies needs a name"))
		}
	})
}

// WithGoodStatus says which statuses mean that there is a session. By default 200, or
// that of the preset. None, or one that is not 2xx, makes the constructor fail.
func WithGoodStatus(statuses ...int) Option {
	statuses = slices.Clone(statuses)
	return optionFunc(func(c *config) {
		c.good = statuses
		if len(statuses) == 0 || slices.ContainsFunc(statuses, func(code int) bool { return code < 200 || code > 299 }) {
			c.errs = append(c.errs, fmt.Errorf("%s: WithGoodStatus: %v: want statuses from 200 to 299", name, statuses))
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
// One that is not positive makes the constructor fail.
func WithTimeout(timeout time.Duration) Option {
	return optionFunc(func(c *config) {
		c.timeout = timeout
		if timeout <= 0 {
			c.errs = append(c.errs, fmt.Errorf("%s: WithTimeout: the timeout must be positive, got %v", name, timeout))
		}
	})
}
