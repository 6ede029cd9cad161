// Package doors holds what all doors must answer alike: requests of every kind, and what
// becomes of them. It is for the tests of the doors.
package doors

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// Case is a request and what becomes of it.
type Case struct {
	Name   string
	Header http.Header
	By     Authn
	// Want is the refusal; nil: the request passes, and Subject is who is served, empty for nobody.
	Want    error
	Subject string
	// Public is whether the method is one that anybody may call.
	Public bool
}

// Authn is which of the three ways to find out who calls a case is about.
type Authn int

// The ways.
const (
	BySession Authn = iota
	ByOptionalSession
	ByGateway
)

// Secret is what the gateway sends.
const Secret = "0123456789abcdef0123456789abcdef"

// The methods that anybody may call.
const (
	PublicUnary  = "/grpc.testing.TestService/EmptyCall"
	PublicStream = "/grpc.testing.TestService/HalfDuplexCall"
)

var (
	errOwn    = errors.New("a cause that no client may see")
	ownStatus = status.New(codes.FailedPrecondition, "pay first")
	delay     = 90 * time.Second
)

// The subjects whose roles matter, and the header of a credential.
const (
	ada           = "ada"
	guest         = "guest"
	authorization = "Authorization"
)

func bearer(token string) http.Header { return http.Header{authorization: {"Bearer " + token}} }

// Cases are all of them. Those that are refused by a row of refusal.Table name it.
func Cases() []Case {
	foreign := bearer(ada)
	foreign["Cookie"], foreign["Origin"] = []string{"a=b"}, []string{"https://evil.test"}
	told := func(expires string, subjects ...string) http.Header {
		header := http.Header{"X-Gateway-Secret": {Secret}}
		if len(subjects) > 0 {
			header["X-Auth-Subject"] = subjects
		}
		if expires != "" {
			header["X-Auth-Expires-At"] = []string{expires}
		}
		return header
	}
	return []Case{
		{Name: "somebody", Header: bearer(ada), Subject: ada},
		{Name: "nobody", Header: http.Header{}, Want: refusal.MissingCredentials},
		{Name: "another scheme", Header: http.Header{authorization: {"Basic eDp5"}}, Want: refusal.MissingCredentials},
		{Name: "two tokens", Header: http.Header{authorization: {"Bearer ada", "Bearer bob"}}, Want: refusal.AmbiguousCredentials},
		{Name: "two tokens joined", Header: bearer("ada, Bearer bob"), Want: refusal.AmbiguousCredentials},
		{Name: "no such session", Header: bearer("junk"), Want: refusal.InvalidSession},
		{Name: "too long a token", Header: bearer(strings.Repeat("x", 17<<10)), Want: refusal.InvalidSession},
		{Name: "a session without a subject", Header: bearer("subjectless"), Want: refusal.InvalidSession},
		{Name: "a session whose time is over", Header: bearer("expired"), Want: refusal.SessionExpired},
		{Name: "a verifier that fails", Header: bearer("failing"), Want: refusal.VerificationFailed},
		{Name: "a verifier that panics", Header: bearer("panicking"), Want: refusal.VerificationFailed},
		{Name: "a mapper that fails", Header: bearer("unmapped"), Want: refusal.MappingFailed},
		{Name: "an owner that is away", Header: bearer("away"), Want: refusal.VerificationUnavailable},
		{Name: "one that says for how long", Header: bearer("delayed"), Want: refusal.VerificationUnavailable.Delayed(delay)},
		{Name: "a status of the verifier's own", Header: bearer("unpaid"), Want: ownStatus.Err()},
		{Name: "a page of others", Header: foreign, Want: refusal.OriginNotAllowed},
		{Name: "spoofed", Header: http.Header{"X-Auth-Subject": {ada}}, Want: refusal.MissingCredentials},

		{Name: "nobody, where that is fine", By: ByOptionalSession, Header: http.Header{}, Public: true},
		{Name: "nobody, where rules ask who", By: ByOptionalSession, Header: http.Header{}, Want: refusal.MissingCredentials},
		{Name: "a bad token, where none is fine", By: ByOptionalSession, Header: bearer("junk"), Want: refusal.InvalidSession},

		{Name: "a gateway", By: ByGateway, Header: told("", ada), Subject: ada},
		{Name: "a gateway that tells of nobody", By: ByGateway, Header: told(""), Want: refusal.MissingCredentials},
		{Name: "a gateway without its secret", By: ByGateway, Header: http.Header{"X-Auth-Subject": {ada}}, Want: refusal.UntrustedCaller},
		{Name: "a gateway that tells of two", By: ByGateway, Header: told("", ada, "bob"), Want: refusal.MalformedIdentity},
		{Name: "a gateway too late", By: ByGateway, Header: told("2001-01-01T00:00:00Z", ada), Want: refusal.SessionExpired},

		{Name: "a public method by nobody", Header: http.Header{}, Public: true},
		{Name: "a public method by anybody", Header: bearer("junk"), Public: true},
		{Name: "a rule that denies", Header: bearer(guest), Want: refusal.AccessDenied},
		{Name: "a callback that denies", Header: bearer("denied"), Want: refusal.AccessDenied},
		{Name: "a callback that fails", Header: bearer("undecided"), Want: refusal.AuthorizationFailed},
		{Name: "a callback that cannot ask", Header: bearer("unasked"), Want: refusal.AuthorizationUnavailable},
		{Name: "a status of the callback's own", Header: bearer("forbidden"), Want: ownStatus.Err()},
	}
}

// session is a session by its token.
type session struct{ token string }

func verify(_ context.Context, token string, _ http.Header) (*session, error) {
	switch token {
	case "junk":
		return nil, interceptor.ErrInvalidSession
	case "failing":
		return nil, errOwn
	case "panicking":
		panic(errOwn) //nolint:forbidigo // as a verifier of a user's might
	case "away":
		return nil, interceptor.ErrUnavailable
	case "delayed":
		return nil, interceptor.RetryAfter(delay, errOwn)
	case "unpaid":
		return nil, ownStatus.Err()
	}
	return &session{token}, nil
}

func mapSession(_ context.Context, s *session) (*authcontext.AuthContext, error) {
	ac := &authcontext.AuthContext{Subject: s.token}
	switch s.token {
	case "unmapped":
		return nil, errOwn
	case "subjectless":
		ac.Subject = ""
	case "expired":
		ac.ExpiresAt = time.Unix(1, 0)
	case guest:
		ac.Roles = []string{guest}
	}
	return ac, nil
}

func authorize(_ context.Context, caller *authcontext.AuthContext, _ string) (bool, error) {
	switch caller.Subject {
	case "denied":
		return false, nil
	case "undecided":
		return false, errOwn
	case "unasked":
		return false, interceptor.ErrUnavailable
	case "forbidden":
		return false, ownStatus.Err()
	}
	return true, nil
}

// Doors are what stands behind each door.
type Doors struct {
	Session, Optional *interceptor.Authenticator
	Gateway           *interceptor.GatewayAuth
	Rules             *authz.Authorizer
}

// New returns them.
func New() (*Doors, error) {
	rules, err := authz.New(authz.WithPublicMethods(PublicUnary, PublicStream), authz.WithAuthorize(authorize),
		authz.WithRules(authz.Rule{Name: "guests", Methods: []string{"*"}, Roles: []string{guest}, Effect: authz.Deny}))
	if err != nil {
		return nil, err
	}
	d := &Doors{Rules: rules}
	skip := interceptor.WithSkipMethods(rules.PublicMethods()...)
	shared := []interceptor.Option{
		interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: time.Minute}), interceptor.WithAllowedOrigins("https://app.test"), skip,
	}
	errs := make([]error, 3)
	d.Session, errs[0] = interceptor.NewSessionAuth(verify, mapSession, shared...)
	d.Optional, errs[1] = interceptor.NewSessionAuth(verify, mapSession, append(shared, interceptor.WithOptionalAuth())...)
	d.Gateway, errs[2] = interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(Secret), skip)
	return d, errors.Join(errs...)
}

// Answer is what a client got.
type Answer struct {
	Subject string // of who was served
	Refusal refusal.Answer
}

// Differs returns how what a client got differs from what c wants; "" if it does not. A status of
// HTTP that is 0 is not compared: there is none.
func (c Case) Differs(got Answer) string {
	if c.Want == nil {
		switch {
		case got.Refusal.Code != codes.OK:
			return "it is refused with " + got.Refusal.Code.String() + " " + got.Refusal.Message
		case got.Subject != c.Subject:
			return "it is served for " + got.Subject
		}
		return ""
	}
	want := refusal.AnswerTo(c.Want)
	switch {
	case got.Refusal.Code == codes.OK:
		return "it passes"
	case got.Refusal.Code != want.Code:
		return "the code is " + got.Refusal.Code.String()
	case got.Refusal.Message != want.Message:
		return "the message is " + got.Refusal.Message
	case got.Refusal.Reason != want.Reason:
		return "the reason is " + string(got.Refusal.Reason)
	case got.Refusal.HTTP != 0 && got.Refusal.HTTP != want.HTTP:
		return "the status is " + http.StatusText(got.Refusal.HTTP)
	case got.Refusal.RetryAfter < want.RetryAfter:
		return "the delay is " + got.Refusal.RetryAfter.String()
	}
	return ""
}
