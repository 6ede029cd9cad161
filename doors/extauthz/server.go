package extauthz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// Server is an envoy.service.auth.v3.Authorization. It is made by [New], is safe for concurrent
// use, and needs no closing.
type Server struct {
	authv3.UnimplementedAuthorizationServer

	auth       *interceptor.Authenticator
	authorizer *authz.Authorizer // nil: everybody with a session may call everything
	skip       *http.ServeMux    // nil: nothing is skipped by its path
	ruleless   *http.ServeMux    // nil: the rules decide about all
	secret     secret.Set
	tell       secret.Concealed // the secret that the upstream gets; nil: none
	claims     []string
	withheld   []string // as headername.Is takes them
	cookies    []string
	subject    bool
	removed    []string // what is taken from every request that is let through
}

// New returns a Server that lets through what auth authenticates, its skipped methods and, with
// [WithAuthorizer], its rules included. The error names every option that is not valid.
func New(auth *interceptor.Authenticator, opts ...Option) (*Server, error) {
	c := newConfig(opts)
	s := &Server{auth: auth, authorizer: c.authorizer, claims: c.claims, cookies: c.cookies, subject: c.subject}
	if auth == nil {
		c.failf("New needs an Authenticator")
	}
	s.withheld = c.withholding()
	s.skip = c.matcher("WithSkipPatterns", c.skip)
	s.ruleless = c.matcher("WithSessionPatterns", c.ruleless)
	if s.ruleless != nil && c.authorizer == nil {
		c.failf("WithSessionPatterns: there are no rules without WithAuthorizer")
	}
	var err error
	if s.secret, err = secret.New("WithSharedSecret", c.header, c.secrets); err != nil {
		c.failf("%w", err)
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	if len(c.secrets) > 0 {
		s.tell = secret.Conceal(c.secrets[0])
	}
	s.removed = s.alwaysRemoved()
	return s, nil
}

// Format implements [fmt.Formatter]: a fixed text.
func (*Server) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("extauthz.Server")) }

// Check says whether a request may pass. It never returns an error: what refuses a request is
// in the answer. The answer allows a request if its credentials are good and the rules let its
// caller call the method, if the request is skipped, or, with interceptor.WithOptionalAuth, if
// it carries no credentials; and nothing else. It takes as long as a call takes that goes
// through the interceptors, so Envoy must not give up before.
func (s *Server) Check(ctx context.Context, in *authv3.CheckRequest) (out *authv3.CheckResponse, _ error) {
	q := &request{}
	defer func() {
		if out == nil { // something panicked
			_ = recover()
			out = s.deny(q, refusal.VerificationFailed, nil)
		}
	}()
	q, refused := read(in)
	if refused != nil {
		return s.deny(q, refused, nil), nil
	}
	return s.decide(withoutTransport(ctx), q), nil
}

// withoutTransport returns a context in which callbacks that set a response header set none on
// the answer to Envoy.
func withoutTransport(ctx context.Context) context.Context {
	return grpc.NewContextWithServerTransportStream(ctx, nil)
}

func (s *Server) decide(ctx context.Context, q *request) *authv3.CheckResponse {
	if q.matches(s.skip) {
		return s.allow(q, nil, nil)
	}
	fullMethod, ok := q.grpcMethod()
	var found interceptor.Authentication
	if !ok || !s.auth.Skips(fullMethod) {
		var err error
		if found, err = s.auth.Authenticate(ctx, q.header); err != nil {
			return s.deny(q, err, found.ResponseHeader)
		}
		if found.Identity != nil {
			ctx = found.Identity.NewContext(ctx)
		}
	}
	switch {
	case s.authorizer == nil:
	case q.matches(s.ruleless):
		if found.Identity == nil { // as the Authorizer refuses nobody
			return s.deny(q, refusal.MissingCredentials, found.ResponseHeader)
		}
	default:
		if !ok {
			fullMethod = "" // no rule names it
		}
		if err := s.authorizer.Authorize(ctx, fullMethod); err != nil {
			return s.deny(q, err, found.ResponseHeader)
		}
	}
	return s.allow(q, found.AuthContext(), found.ResponseHeader)
}

// hides reports whether the upstream must not get a header of the client.
func (s *Server) hides(key string) bool {
	if headername.IsIdentity(key) || s.secret.IsHeader(key) {
		return true
	}
	for _, name := range s.withheld {
		if headername.Is(key, name) {
			return true
		}
	}
	return false
}

// alwaysRemoved lists what is taken from every request that is let through, whether it is seen
// here or not: Envoy may be told to show this server some headers only.
func (s *Server) alwaysRemoved() []string {
	return slices.Concat(identityHeaders, s.withheld, []string{s.secret.Header})
}

// identityHeaders are those that authcontext.EncodeHeader writes.
var identityHeaders = []string{
	"x-auth-subject", "x-auth-type", "x-auth-name", "x-auth-roles", "x-auth-scopes", "x-auth-claims", "x-auth-expires-at",
}
