package betterauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

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
	cookie  authmd.Extractor
	secrets [][]byte // none: signatures are not checked
	refresh bool
	address func(ctx context.Context, header http.Header) string // nil: not told
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
	ask.RawQuery = "disableCookieCache=true"
	if !c.refresh {
		ask.RawQuery += "&disableRefresh=true"
	}
	return &Verifier{
		client:  endpoint.New(name, ask, c.client, c.timeout),
		cookie:  authmd.Cookie(c.cookie),
		secrets: c.secrets,
		refresh: c.refresh,
		address: c.address,
	}, nil
}

// Extractors returns where better-auth's credentials are, for
// interceptor.WithExtractors: a bearer token, for which better-auth needs its bearer
// plugin, then the session cookie, also under __Host- and __Secure-.
func (v *Verifier) Extractors() []authmd.Extractor {
	return []authmd.Extractor{authmd.Bearer(), v.cookie}
}

// Verify is an interceptor.VerifyFunc. token is a bearer token, the value of the
// session cookie, or a whole Cookie header; header says which. A token that is not in
// header is sent as a bearer token. See the package for its errors.
func (v *Verifier) Verify(ctx context.Context, token string, header http.Header) (*Session, error) {
	credential, ok := endpoint.Choose(token, header, v.cookie, authmd.Bearer())
	switch {
	case !ok:
		return nil, v.client.Invalid("the request has no session cookie that better-auth could have set")
	case !v.signed(credential):
		return nil, v.client.Invalid("better-auth did not sign the token")
	}
	send := http.Header{"Accept": {"application/json"}}
	if credential.Cookie {
		send.Set("Cookie", credential.Value)
	} else {
		send.Set("Authorization", "Bearer "+credential.Token)
	}
	if address, ok := v.clientAddress(ctx, header); ok {
		send.Set("X-Forwarded-For", address)
	}
	answer, err := v.client.Get(ctx, send)
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, v.client.Unexpected(answer)
	}
	if v.refresh && credential.Cookie {
		sent, _, _ := strings.Cut(credential.Value, "=")
		if err := v.client.HandBack(ctx, answer, func(cookie string) bool { return cookie == sent }); err != nil {
			return nil, err
		}
	}
	return v.read(answer)
}

// read makes a Session of the answer to a question that better-auth understood.
func (v *Verifier) read(answer *endpoint.Answer) (*Session, error) {
	var body *body
	if err := v.client.JSON(answer, &body); err != nil {
		return nil, err
	}
	if body == nil {
		return nil, v.client.Invalid("better-auth knows no such session")
	}
	s, err := body.session()
	now := time.Now()
	switch {
	case err != nil || s.ID == "" || s.User.ID == "" || s.UserID != s.User.ID || s.ExpiresAt.IsZero():
		return nil, v.client.Unavailable("the JSON of the endpoint is not that of a session")
	case !s.ExpiresAt.After(now):
		return nil, v.client.Invalid("the session has expired")
	case s.User.isBanned(now):
		return nil, v.client.Invalid("the user is banned")
	}
	return s, nil
}

// clientAddress returns the address that better-auth counts the request under.
func (v *Verifier) clientAddress(ctx context.Context, header http.Header) (string, bool) {
	if v.address == nil {
		return "", false
	}
	text := v.address(ctx, header)
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone("").String(), true
	}
	address, err := netip.ParseAddr(text)
	return address.Unmap().WithZone("").String(), err == nil
}

// Map is an interceptor.MapFunc. The Subject is the id of the user, the Name theirs,
// and the Roles are what the admin plugin keeps in the user's role, separated by
// commas. Claims are "email" and "emailVerified" and, where better-auth sends them,
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
		Roles:     s.User.Roles(),
		Claims:    claims,
		ExpiresAt: s.ExpiresAt,
	}, nil
}

// Format implements [fmt.Formatter]: a fixed text, since a Verifier holds secrets.
func (Verifier) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("betterauth.Verifier")) }
