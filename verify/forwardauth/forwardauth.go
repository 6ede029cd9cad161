package forwardauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

const name = "forwardauth"

// ReasonAccessDenied is the reason in the google.rpc.ErrorInfo of a call that the
// endpoint answered with 403. Its domain is reason.Domain.
const ReasonAccessDenied = "ACCESS_DENIED"

// Verifier verifies sessions. It is made by [New], [OAuth2Proxy] or [Authelia], is safe
// for concurrent use, and needs no closing: connections that are idle for 4 s close by
// themselves.
type Verifier struct {
	client    *endpoint.Client
	asked     *url.URL
	good      []int
	headers   Headers
	cookies   cookies
	target    http.Header
	toLogin   bool // a redirect says that there is no session
	anonymous bool // so does a good answer without a subject
}

// New returns a Verifier that asks the endpoint at rawURL, such as
// "http://auth.internal/verify". Without options 200 is good, the identity is in
// Remote-User and its like, and the credential is a bearer token. Nothing is asked
// yet. The error names every option that is not valid.
func New(rawURL string, opts ...Option) (*Verifier, error) {
	return build(rawURL, newConfig(), opts)
}

// OAuth2Proxy returns a Verifier that asks the oauth2-proxy at baseURL, such as
// "http://oauth2-proxy:4180", at /oauth2/auth. It must run with --set-xauthrequest, or
// no answer names anybody. The Subject is X-Auth-Request-User, and roles are the groups
// in X-Auth-Request-Groups. The credential is a bearer token, which oauth2-proxy takes
// with --skip-jwt-bearer-tokens, or the cookie _oauth2_proxy, in pieces (_oauth2_proxy_0
// and on) where it is long.
//
// A sign-out removes the cookie from the browser. Unless oauth2-proxy keeps its sessions in
// Redis, the cookie is all that there is of a session, and a copy of it is good until it
// expires.
//
// Written against oauth2-proxy 7. It says 401 when its session store fails, too, and nothing
// in that answer tells: such a failure refuses people as if they had signed out.
func OAuth2Proxy(baseURL string, opts ...Option) (*Verifier, error) {
	c := newConfig()
	c.path = "/oauth2/auth"
	c.good = []int{http.StatusAccepted}
	c.headers = Headers{
		Subject: "X-Auth-Request-User", Name: "X-Auth-Request-Preferred-Username",
		Email: "X-Auth-Request-Email", Roles: "X-Auth-Request-Groups",
	}
	c.cookies = cookies{names: []string{"_oauth2_proxy"}, split: true}
	return build(baseURL, c, opts)
}

// Authelia returns a Verifier that asks the Authelia at baseURL, such as
// "http://authelia:9091", at /api/authz/forward-auth. target is the https URL of your
// service, for which Authelia's access control decides: the rule for it should want one
// or two factors. The Subject is Remote-User, and roles are Remote-Groups. The
// credential is the cookie authelia_session, or a bearer token.
//
// Authelia sends people without a session to its portal, with 302 or 303, or says 401. A
// good answer without Remote-User comes of a bypass rule, and is no session. 403 is
// a session that the rule does not let through, or that lacks a factor.
func Authelia(baseURL, target string, opts ...Option) (*Verifier, error) {
	c := newConfig()
	c.path = "/api/authz/forward-auth"
	c.cookies = cookies{names: []string{"authelia_session"}}
	c.toLogin, c.anonymous = true, true
	parsed, err := endpoint.ParseURL(name+": target", target)
	switch {
	case err != nil:
		c.errs = append(c.errs, err)
	case parsed.Scheme != "https":
		c.errs = append(c.errs, fmt.Errorf("%s: target: Authelia answers for https URLs only", name))
	default:
		c.target = http.Header{
			"X-Forwarded-Method": {http.MethodGet},
			"X-Forwarded-Proto":  {parsed.Scheme},
			"X-Forwarded-Host":   {parsed.Host},
			"X-Forwarded-Uri":    {parsed.RequestURI()},
		}
	}
	return build(baseURL, c, opts)
}

func build(rawURL string, c config, opts []Option) (*Verifier, error) {
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	base, err := endpoint.ParseURL(name, rawURL)
	if err := errors.Join(append(c.errs, err)...); err != nil {
		return nil, err
	}
	asked := base
	if c.path != "" {
		asked = base.JoinPath(c.path)
	}
	return &Verifier{
		client:    endpoint.New(name, asked, c.client, c.timeout),
		asked:     asked,
		good:      c.good,
		headers:   c.headers,
		cookies:   c.cookies,
		target:    c.target,
		toLogin:   c.toLogin,
		anonymous: c.anonymous,
	}, nil
}

// Extractors returns where the credentials are, for interceptor.WithExtractors: a
// bearer token, then the session cookies if there are any.
func (v *Verifier) Extractors() []authmd.Extractor {
	if len(v.cookies.names) == 0 {
		return []authmd.Extractor{authmd.Bearer()}
	}
	return []authmd.Extractor{authmd.Bearer(), v.cookies}
}

// Verify is an interceptor.VerifyFunc. token is a bearer token, the value of a session
// cookie, or a whole Cookie header; header says which. A token that is not in header is
// sent as a bearer token. A session cookie that the endpoint sets with a good answer is
// handed to the client of the call: see interceptor.SetResponseHeader. See the package
// for the errors.
func (v *Verifier) Verify(ctx context.Context, token string, header http.Header) (*Session, error) {
	credential, ok := endpoint.Choose(token, header, v.cookies, authmd.Bearer())
	line, sendable := v.cookies.line(header)
	if !ok || credential.Cookie && !sendable {
		return nil, v.client.Invalid("the request has no session cookie that can be sent on")
	}
	send := http.Header{"Accept": {"application/json"}}
	maps.Copy(send, v.target)
	if credential.Cookie {
		send.Set("Cookie", line)
	} else {
		send.Set("Authorization", "Bearer "+credential.Token)
	}
	answer, err := v.client.Get(ctx, send)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(v.good, answer.Status) {
		return nil, v.refusal(answer)
	}
	if credential.Cookie {
		if err := v.client.HandBack(ctx, answer, v.cookies.has); err != nil {
			return nil, err
		}
	}
	return v.read(answer.Header)
}

// refusal is the error of an answer whose status is not good.
func (v *Verifier) refusal(answer *endpoint.Answer) error {
	switch answer.Status {
	case http.StatusUnauthorized:
		return v.client.Invalid("the endpoint knows no such session")
	case http.StatusForbidden:
		return endpoint.Denied("access denied", ReasonAccessDenied)
	case http.StatusFound, http.StatusSeeOther:
		// One to the same path elsewhere, as from http to https, is not to a login page.
		to, err := v.asked.Parse(answer.Header.Get("Location"))
		if v.toLogin && err == nil && to.Path != v.asked.Path {
			return v.client.Invalid("the endpoint asks for a login")
		}
	}
	return v.client.Unexpected(answer)
}

// read makes a Session of the header of a good answer.
func (v *Verifier) read(header http.Header) (*Session, error) {
	s := new(Session)
	for field, to := range map[string]*string{v.headers.Subject: &s.Subject, v.headers.Name: &s.Name, v.headers.Email: &s.Email} {
		values := header.Values(field)
		if len(values) > 1 {
			return nil, v.client.Unavailable("the endpoint names two identities")
		}
		if field != "" && len(values) == 1 {
			*to = strings.TrimSpace(values[0])
		}
	}
	switch {
	case s.Subject == "" && v.anonymous:
		return nil, v.client.Invalid("the endpoint lets everybody through")
	case s.Subject == "":
		return nil, v.client.Unavailable("the endpoint does not say whose session it is")
	}
	if v.headers.Roles != "" {
		for role := range strings.SplitSeq(strings.Join(header.Values(v.headers.Roles), ","), ",") {
			if role = strings.TrimSpace(role); role != "" {
				s.Roles = append(s.Roles, role)
			}
		}
	}
	return s, nil
}

// Map is an interceptor.MapFunc. The only claim is "email", where it is known. The
// identity has no ExpiresAt. Call it from a callback of your own to add to what it
// returns.
func (*Verifier) Map(_ context.Context, s *Session) (*authcontext.AuthContext, error) {
	if s == nil {
		return nil, fmt.Errorf("%s: %w: there is none", name, interceptor.ErrInvalidSession)
	}
	ac := &authcontext.AuthContext{Subject: s.Subject, Name: s.Name, Roles: s.Roles}
	if s.Email != "" {
		ac.Claims = map[string]any{"email": s.Email}
	}
	return ac, nil
}

// Session is what the endpoint says of a session. It is shared by the calls that one
// verification answers and must not be modified.
type Session struct {
	Subject, Name, Email string
	Roles                []string
}

// Format implements [fmt.Formatter]: the subject.
func (s Session) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "Session{Subject:%q}", s.Subject) }
