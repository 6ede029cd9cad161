package httpauth

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/peers"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/secret"
)

// The headers by which a proxy tells of the request in question.
const (
	forwardedMethod = "X-Forwarded-Method"
	forwardedURI    = "X-Forwarded-Uri"
	forwardedHost   = "X-Forwarded-Host"
)

// ForwardAuth returns the handler that a proxy asks about each request before it passes that
// on: nginx with auth_request, Traefik with ForwardAuth, Caddy with forward_auth. The proxy
// sends the client's header; the method, path and body of the question do not matter.
//
// The answer to one that may pass is 200, with the identity in the headers of
// authcontext.EncodeHeader, which the proxy sets on the request, in place of what the client sent, and the service
// behind it believes with interceptor.NewGatewayAuth and a secret of the proxy's; nobody's, which
// interceptor.WithOptionalAuth or [WithSkipPatterns] allow, has none. Any other is answered as
// the package's documentation says, with 401, 403 or 503, for the proxy to pass on. An identity that the headers
// cannot hold is answered with 500. Either may have a Set-Cookie for the client, of interceptor.SetResponseHeader.
//
// interceptor.WithAllowedOrigins sees links on foreign pages as such only with
// [WithForwardedRequest], and refuses them without.
//
// The peer that callbacks find in their context is the proxy, without its certificate: a GatewayAuth believes nobody here
// by interceptor.WithTrustedPeers, since what the proxy sends is what its clients say. For the same reason authn does not
// see the secret of [WithGatewaySecrets].
//
// A client that reaches the handler learns who it is itself; [WithGatewaySecrets] keeps all but the
// proxy out. The error names every option that is not valid.
func ForwardAuth(authn Authn, opts ...Option) (http.Handler, error) {
	c := newConfig(opts)
	if !c.forwarded && (len(c.skip) > 0 || len(c.methods) > 0) {
		c.errs = append(c.errs, errors.New("httpauth: ForwardAuth: WithSkipPatterns and WithMethods need WithForwardedRequest"))
	}
	f := &forwardAuth{}
	var err error
	if f.secrets, err = secret.New("WithGatewaySecrets", secret.DefaultHeader, c.secrets); err != nil {
		c.errs = append(c.errs, fmt.Errorf("httpauth: %w", err))
	}
	if f.door, err = newDoor(authn, c); err != nil {
		return nil, err
	}
	return f, nil
}

type forwardAuth struct {
	*door

	secrets secret.Set
}

// ServeHTTP answers a question.
func (f *forwardAuth) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	identity, err := f.decide(w, r)
	if err != nil {
		refuse(w, f.realm, err)
		return
	}
	header := w.Header()
	for name, value := range identity {
		header.Set(name, value)
	}
	if len(f.config.secrets) > 0 {
		header.Set(secret.DefaultHeader, r.Header.Get(secret.DefaultHeader)) // which was one of them
	}
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// decide returns what is told of the caller, or why the request is refused.
func (f *forwardAuth) decide(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	if len(f.config.secrets) > 0 && !f.secrets.Told(r.Header) {
		return nil, refusal.UntrustedCaller
	}
	asked, ok := f.inQuestion(r)
	if !ok {
		return nil, refusal.AccessDenied
	}
	fullMethod, skipped := f.skips(asked)
	ctx := r.Context()
	var ac *authcontext.AuthContext
	if !skipped {
		found, err := f.authn.Authenticate(&peers.RequestContext{Context: ctx, Request: asked}, f.header(asked)) //nolint:contextcheck // it is made of ctx
		relay(w.Header(), found.ResponseHeader)
		if err != nil {
			return nil, err
		}
		ac = found.AuthContext()
		ctx = found.Session.NewContext(ctx)
	}
	if f.rules != nil && (!skipped || fullMethod != "") {
		if fullMethod == "" {
			return nil, refusal.AccessDenied
		}
		if err := f.rules.Authorize(ctx, fullMethod); err != nil {
			return nil, err
		}
	}
	if ac == nil {
		return nil, nil //nolint:nilnil // nobody
	}
	told, err := authcontext.EncodeHeader(ac, f.claims...)
	if err != nil {
		return nil, refusal.IdentityNotForwarded
	}
	return told, nil
}

// inQuestion returns the request that a proxy asks about, as far as it tells of it. It has no TLS state: the
// certificate is the proxy's, which speaks for nothing that its clients say. Nor does the secret that it asks with.
func (f *forwardAuth) inQuestion(r *http.Request) (*http.Request, bool) {
	asked := &http.Request{URL: &url.URL{Path: "/"}, Header: r.Header, Host: r.Host, RemoteAddr: r.RemoteAddr}
	if len(f.config.secrets) > 0 {
		asked.Header = maps.Clone(r.Header)
		maps.DeleteFunc(asked.Header, func(name string, _ []string) bool { return f.secrets.IsHeader(name) })
	}
	if !f.forwarded {
		return asked, true // the method is unknown
	}
	method, hasMethod := single(r.Header, forwardedMethod)
	uri, hasURI := single(r.Header, forwardedURI)
	host, hasHost := single(r.Header, forwardedHost)
	if !hasMethod || !hasURI || f.readsHost && !hasHost || strings.ContainsAny(method+host, ", ") {
		return nil, false
	}
	place, _, _ := strings.Cut(uri, "?") // what follows does not matter, nor that it may not be valid
	parsed, err := url.ParseRequestURI(place)
	if err != nil || place[0] != '/' {
		return nil, false
	}
	asked.Method, asked.URL, asked.Host = method, parsed, host
	return asked, true
}

// single returns the value of a header that is there once and not empty.
func single(header http.Header, name string) (string, bool) {
	values := header[name]
	if len(values) != 1 || values[0] == "" {
		return "", false
	}
	return values[0], true
}
