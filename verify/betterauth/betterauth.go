package betterauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

const name = "betterauth"

// Verifier verifies sessions. It is made by [New], is safe for concurrent use, and
// needs no closing: connections that are idle for 4 s close by themselves.
type Verifier struct {
	client  *endpoint.Client
	cookies cookies
	secrets [][]byte // none: signatures are not checked
	refresh bool
	origin  string // of a POST
	address address
}

// New returns a Verifier that asks the better-auth server at baseURL, its origin:
// "https://auth.example.com". The URL has no query, and no path but one that a proxy
// puts before [WithBasePath]. Nothing is asked yet. The error names every option
// that is not valid.
func New(baseURL string, opts ...Option) (*Verifier, error) {
	c := newConfig(opts)
	base, err := endpoint.ParseURL(name, baseURL)
	if err := errors.Join(append(c.errs, err)...); err != nil {
		return nil, err
	}
	ask := base.JoinPath(c.basePath, "get-session")
	query := url.Values{}
	if !c.stateless {
		query.Set("disableCookieCache", "true")
	}
	if !c.refresh {
		query.Set("disableRefresh", "true")
	}
	ask.RawQuery = query.Encode()
	client := endpoint.New(name, ask, c.client, c.timeout)
	public := cmp.Or(c.public, base)
	if c.public != nil {
		client = client.ForHost(public.Host)
	}
	return &Verifier{
		client:  client,
		cookies: newCookies(c.cookies, c.stateless),
		secrets: c.secrets,
		refresh: c.refresh,
		origin:  public.Scheme + "://" + public.Host,
		address: c.address,
	}, nil
}

// Extractors returns where better-auth's credentials are, for
// interceptor.WithExtractors: a bearer token, for which better-auth needs its bearer
// plugin, then the session cookie, also under __Host- and __Secure-. To the interceptor's
// Forget, one session's token, cookie (percent-encoded, quoted or not) and bearer
// token, with its signature or without, are the same.
func (v *Verifier) Extractors() []authmd.Extractor {
	return []authmd.Extractor{authmd.Named(authmd.Bearer(), authmd.UnsignedToken), authmd.Named(v.cookies, authmd.UnsignedToken)}
}

// Verify is an interceptor.VerifyFunc. token is a bearer token, the value of the
// session cookie, or a whole Cookie header; header says which. A token that is not in
// header is sent as a bearer token. See the package for its errors.
func (v *Verifier) Verify(ctx context.Context, token string, header http.Header) (*Session, error) {
	credential, ok := endpoint.Choose(token, header, v.cookies.token, authmd.Bearer())
	line, sendable := v.cookies.line(credential.Value, header)
	switch {
	case !ok || credential.Cookie && !sendable:
		return nil, v.client.Invalid("the request has no session cookie that better-auth could have set")
	case !v.signed(credential):
		return nil, v.client.Invalid("better-auth did not sign the token")
	}
	send := http.Header{"Accept": {"application/json"}}
	if credential.Cookie {
		send.Set("Cookie", line)
	} else {
		send.Set("Authorization", "Bearer "+credential.Token)
	}
	if address, ok := v.address.find(ctx, header); ok {
		send.Set("X-Forwarded-For", address)
	}
	answer, err := v.client.Get(ctx, send)
	if err != nil {
		return nil, err
	}
	s, due, err := v.read(ctx, answer, credential)
	if err != nil || !due || !v.refresh {
		return s, err
	}
	return v.extend(ctx, s, send, credential)
}

// extend asks a better-auth that defers its refreshes for one. It returns s where that
// cannot be had.
func (v *Verifier) extend(ctx context.Context, s *Session, send http.Header, credential endpoint.Credential) (*Session, error) {
	send.Set("Origin", v.origin)
	answer, err := v.client.Post(ctx, send)
	if err == nil {
		var extended *Session
		if extended, _, err = v.read(ctx, answer, credential); err == nil || errors.Is(err, interceptor.ErrInvalidSession) {
			return extended, err
		}
	}
	trace.SpanFromContext(ctx).AddEvent("betterauth: the session could not be extended",
		trace.WithAttributes(attribute.String("exception.message", err.Error()))) // of endpoint, so without secrets
	return s, nil
}

// read makes a Session of an answer, and hands back its cookies where they are wanted. It
// also tells whether better-auth would like a POST, to extend the session.
func (v *Verifier) read(ctx context.Context, answer *endpoint.Answer, credential endpoint.Credential) (s *Session, due bool, err error) {
	gone := v.refresh && isGone(v.client, answer)
	if answer.Status != http.StatusOK && !gone {
		return nil, false, v.client.Unexpected(answer)
	}
	if v.refresh && credential.Cookie {
		ours := func(cookie string) bool { return v.cookies.ours(credential.Value, cookie) }
		if err := v.client.HandBack(ctx, answer, ours); err != nil {
			return nil, false, err
		}
	}
	if gone {
		return nil, false, v.client.Invalid("the session ended while it was being extended")
	}
	var body *body
	if err := v.client.JSON(answer, &body); err != nil {
		return nil, false, err
	}
	if body == nil {
		return nil, false, v.client.Invalid("better-auth knows no such session")
	}
	s, err = body.session()
	now := time.Now()
	switch {
	case err != nil || s.ID == "" || s.User.ID == "" || s.UserID != s.User.ID || s.ExpiresAt.IsZero():
		return nil, false, v.client.Unavailable("the JSON of the endpoint is not that of a session")
	case !s.ExpiresAt.After(now):
		return nil, false, v.client.Invalid("the session has expired")
	case s.User.isBanned(now):
		return nil, false, v.client.Invalid("the user is banned")
	}
	return s, body.NeedsRefresh, nil
}

// isGone reports whether an answer says that better-auth found the session and had lost it
// when it wanted to write: its own 401, not a proxy's.
func isGone(client *endpoint.Client, answer *endpoint.Answer) bool {
	var body struct {
		Code string `json:"code"`
	}
	return answer.Status == http.StatusUnauthorized && client.JSON(answer, &body) == nil && body.Code == "FAILED_TO_GET_SESSION"
}

// Map is an interceptor.MapFunc. The Subject is the id of the user, the Name theirs,
// the Roles are those of the admin plugin, and the SessionID is the id of the session, which
// is not its token: better-auth's hooks tell it when a session ends. Claims are "email" and "emailVerified" and, where better-auth sends them,
// "impersonatedBy" and "activeOrganizationId". Call it from a callback of your own to
// add to what it returns.
func (*Verifier) Map(_ context.Context, s *Session) (*authcontext.AuthContext, error) {
	if s == nil {
		return nil, fmt.Errorf("%s: %w: there is none", name, interceptor.ErrInvalidSession)
	}
	claims := map[string]any{"email": s.User.Email, "emailVerified": s.User.EmailVerified}
	if s.ImpersonatedBy != "" {
		claims["impersonatedBy"] = s.ImpersonatedBy
	}
	if s.ActiveOrganizationID != "" {
		claims["activeOrganizationId"] = s.ActiveOrganizationID
	}
	return &authcontext.AuthContext{
		Subject:   s.User.ID,
		Name:      s.User.Name,
		Roles:     slices.Clone(s.User.Roles),
		Claims:    claims,
		ExpiresAt: s.ExpiresAt,
		SessionID: s.ID,
	}, nil
}

// Format implements [fmt.Formatter]: a fixed text, since a Verifier holds secrets.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("betterauth.Verifier")) }
