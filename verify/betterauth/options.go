package betterauth

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// Option configures a [Verifier]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	basePath  string
	prefix    string
	cookies   CookieNames
	stateless bool
	secrets   [][]byte
	refresh   bool
	public    *url.URL // nil: as it is asked
	address   address
	client    *http.Client
	timeout   time.Duration
	errs      []error
}

func newConfig(opts []Option) config {
	c := config{basePath: "/api/auth", prefix: "better-auth", timeout: endpoint.DefaultTimeout}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	c.cookies.SessionToken = cmp.Or(c.cookies.SessionToken, c.prefix+".session_token")
	c.cookies.SessionData = cmp.Or(c.cookies.SessionData, c.prefix+".session_data")
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

// WithCookiePrefix is for a better-auth whose advanced.cookiePrefix is not "better-auth",
// the default: the session cookie is prefix + ".session_token". One that makes no cookie
// name makes [New] fail.
func WithCookiePrefix(prefix string) Option {
	return optionFunc(func(c *config) {
		c.prefix = prefix
		if prefix == "" || !endpoint.IsCookieName(prefix) {
			c.errs = append(c.errs, fmt.Errorf("%s: WithCookiePrefix: %q makes no cookie name", name, prefix))
		}
	})
}

// CookieNames are names of cookies, without __Secure-. An empty one means that of
// [WithCookiePrefix].
type CookieNames struct {
	// SessionToken is advanced.cookies.session_token.name of better-auth.
	SessionToken string
	// SessionData is advanced.cookies.session_data.name. It is of use with
	// [WithStateless] only.
	SessionData string
}

// WithCookieNames is for a better-auth whose advanced.cookies names its cookies; its
// cookiePrefix does not apply to these. One that is no cookie name makes [New] fail.
func WithCookieNames(names CookieNames) Option {
	return optionFunc(func(c *config) {
		c.cookies = names
		for _, cookie := range []string{names.SessionToken, names.SessionData} {
			if cookie != "" && !endpoint.IsCookieName(cookie) {
				c.errs = append(c.errs, fmt.Errorf("%s: WithCookieNames: %q is no cookie name", name, cookie))
			}
		}
	})
}

// WithStateless is for a better-auth without a database, which keeps a session in the
// cookie of its cookie cache and nowhere else. That cookie (session_data, with its chunks)
// is then a credential too, is sent on beside the token, and is believed: a session that
// was signed out is good until that cookie is too old. A bearer token is no session to
// such a better-auth, except in the process that signed the user in. With a database,
// leave it out: better-auth is then asked past its cookie cache.
func WithStateless() Option {
	return optionFunc(func(c *config) { c.stateless = true })
}

// WithPublicURL is the URL by which browsers know better-auth, "https://auth.example.com",
// where it is not the one that [New] is told: requests name its host in Host, by which a
// better-auth with baseURL.allowedHosts finds out who it is, and its origin in Origin where
// [WithRefresh] has to POST, since better-auth refuses a POST from an origin that it does
// not trust. A URL with a path, or that is not valid, makes [New] fail.
func WithPublicURL(publicURL string) Option {
	return optionFunc(func(c *config) {
		u, err := endpoint.ParseURL(name+": WithPublicURL", publicURL)
		if err == nil && u.Path != "/" {
			err = errors.New(name + ": WithPublicURL: the URL must not have a path")
		}
		if c.public = u; err != nil {
			c.errs = append(c.errs, err)
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
// A better-auth with session.deferSessionRefresh extends a session only by a POST: it gets
// one whenever it says that the session is due. That one must carry an origin which it
// trusts: see [WithPublicURL]. Where the POST fails, the session is good all the same, and
// an event on the span of the verification says why it was not extended.
//
// A session that its user asked not to be remembered is extended, too: the cookie
// that says so is no credential and is not sent on.
func WithRefresh() Option {
	return optionFunc(func(c *config) { c.refresh = true })
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
