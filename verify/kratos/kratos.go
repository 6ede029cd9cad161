package kratos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

const (
	name        = "kratos"
	tokenHeader = "X-Session-Token"
)

// ReasonSecondFactorRequired is the reason in the google.rpc.ErrorInfo of a call whose
// session is good but lacks the second factor that Kratos is configured to want. Its
// domain is reason.Domain.
const ReasonSecondFactorRequired = "SECOND_FACTOR_REQUIRED"

// Verifier verifies sessions. It is made by [New], is safe for concurrent use, and
// needs no closing: connections that are idle for 4 s close by themselves.
type Verifier struct {
	client *endpoint.Client
	ready  *endpoint.Client // nil: not asked
	cookie authmd.Extractor
	roles  []string // a path; none: no roles
}

// New returns a Verifier that asks the Kratos whose public API is at publicURL, such as
// "http://kratos:4433". Nothing is asked yet. The error names every option that is not
// valid.
func New(publicURL string, opts ...Option) (*Verifier, error) {
	c := newConfig(opts)
	base, err := endpoint.ParseURL(name, publicURL)
	if err := errors.Join(append(c.errs, err)...); err != nil {
		return nil, err
	}
	v := &Verifier{
		client: endpoint.New(name, base.JoinPath("sessions", "whoami"), c.client, c.timeout),
		cookie: authmd.Cookie(c.cookie),
		roles:  c.roles,
	}
	if c.readyURL != nil {
		v.ready = endpoint.New(name, c.readyURL, c.client, c.timeout)
	}
	return v, nil
}

// Extractors returns where Kratos's credentials are, for interceptor.WithExtractors:
// X-Session-Token, a bearer token, then the session cookie, also under __Host- and
// __Secure-.
func (v *Verifier) Extractors() []authmd.Extractor {
	return []authmd.Extractor{authmd.HeaderToken(tokenHeader), authmd.Bearer(), v.cookie}
}

// Verify is an interceptor.VerifyFunc. token is a session token, the value of the
// session cookie, or a whole Cookie header; header says which. A token that is not in
// header is sent as a session token. A session cookie that Kratos issues anew, because
// the session was extended, is handed to the client of the call: see
// interceptor.SetResponseHeader. See the package for the errors.
func (v *Verifier) Verify(ctx context.Context, token string, header http.Header) (*Session, error) {
	credential, ok := endpoint.Choose(token, header, v.cookie, authmd.HeaderToken(tokenHeader), authmd.Bearer())
	if !ok {
		return nil, v.client.Invalid("the request has no session cookie that Kratos could have set")
	}
	send := http.Header{"Accept": {"application/json"}}
	if credential.Cookie {
		send.Set("Cookie", credential.Value)
	} else {
		send.Set(tokenHeader, credential.Token)
	}
	answer, err := v.client.Get(ctx, send)
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, v.refusal(ctx, answer)
	}
	if credential.Cookie {
		sent, _, _ := strings.Cut(credential.Value, "=")
		if err := v.client.HandBack(ctx, answer, func(cookie string) bool { return cookie == sent }); err != nil {
			return nil, err
		}
	}
	return v.read(answer)
}

// refusal is the error of an answer that is not 200.
func (v *Verifier) refusal(ctx context.Context, answer *endpoint.Answer) error {
	var body struct {
		Error struct {
			ID   string `json:"id"`
			Code int    `json:"code"`
		} `json:"error"`
	}
	if v.client.JSON(answer, &body) != nil || body.Error.Code != answer.Status {
		return v.client.Unexpected(answer) // somebody else's
	}
	switch {
	case answer.Status == http.StatusForbidden && body.Error.ID == "session_aal2_required":
		return endpoint.Denied("second factor required", ReasonSecondFactorRequired)
	case answer.Status != http.StatusUnauthorized:
		return v.client.Unexpected(answer)
	}
	if v.ready != nil {
		state, err := v.ready.Get(ctx, http.Header{"Accept": {"application/json"}})
		if err != nil {
			return err
		}
		if state.Status != http.StatusOK {
			return v.client.Unavailable("Kratos says 401 and that it is not ready")
		}
	}
	return v.client.Invalid("Kratos knows no such session")
}

// read makes a Session of a whoami answer.
func (v *Verifier) read(answer *endpoint.Answer) (*Session, error) {
	var body struct {
		Session

		Active *bool `json:"active"`
	}
	if err := v.client.JSON(answer, &body); err != nil {
		return nil, err
	}
	s := body.Session
	switch {
	case s.ID == "" || body.Active == nil || s.ExpiresAt.IsZero() || s.Identity.ID == "":
		return nil, v.client.Unavailable("the JSON of the endpoint is not that of a session")
	case !*body.Active:
		return nil, v.client.Invalid("the session is not active")
	case s.Identity.State == "inactive":
		return nil, v.client.Invalid("the identity is not active")
	case s.Identity.State != "active":
		return nil, v.client.Unavailable("the identity is in a state that is not known")
	case !s.ExpiresAt.After(time.Now()):
		return nil, v.client.Invalid("the session has expired")
	}
	return &s, nil
}

// Map is an interceptor.MapFunc. The Subject is the id of the identity, and the
// SessionID the id of the session, by which Kratos's administrators and a "revoke" of the user's
// end it. Claims are
// "authenticator_assurance_level" and, where the identity has any, "metadata_public".
// There is no Name, and there are no Roles but by [WithRoles]: what a trait means, your
// schema says. Call it from a callback of your own to add to what it returns.
func (v *Verifier) Map(_ context.Context, s *Session) (*authcontext.AuthContext, error) {
	if s == nil {
		return nil, fmt.Errorf("%s: %w: there is none", name, interceptor.ErrInvalidSession)
	}
	claims := map[string]any{"authenticator_assurance_level": s.AuthenticatorAssuranceLevel}
	if len(s.Identity.MetadataPublic) > 0 {
		claims["metadata_public"] = s.Identity.MetadataPublic
	}
	ac := &authcontext.AuthContext{Subject: s.Identity.ID, Claims: claims, ExpiresAt: s.ExpiresAt, SessionID: s.ID}
	if len(v.roles) > 0 {
		ac.Roles = texts(lookUp(s.Identity.MetadataPublic, v.roles))
	}
	return ac, nil
}

// lookUp returns the value at a path, or nil.
func lookUp(object map[string]any, path []string) any {
	var value any = object
	for _, step := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[step]
	}
	return value
}

// texts returns a text, or a list of texts, as a list. Of anything else there are none.
func texts(value any) []string {
	switch value := value.(type) {
	case string:
		if value != "" {
			return []string{value}
		}
	case []any:
		list := make([]string, 0, len(value))
		for _, item := range value {
			list = append(list, texts(item)...)
		}
		return slices.Clip(list)
	}
	return nil
}
