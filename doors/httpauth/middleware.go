package httpauth

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/peers"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// Authn says who calls: an [interceptor.Authenticator], or an [interceptor.GatewayAuth]
// behind a proxy that asks a [ForwardAuth].
type Authn interface {
	Authenticate(ctx context.Context, header http.Header) (interceptor.Authentication, error)
	HandlerHeader(header http.Header) http.Header
	Skips(fullMethod string) bool
}

var (
	_ Authn = (*interceptor.Authenticator)(nil)
	_ Authn = (*interceptor.GatewayAuth)(nil)
)

// Middleware returns what puts authn in front of a handler, which is then served for requests
// that authn lets pass, with these differences to what the client sent:
//
//   - The context carries the identity, with the session, for authcontext.FromContext and its
//     like, and a peer.Peer as gRPC's has it, with the TLS state. Nobody's, which
//     interceptor.WithOptionalAuth allows, carries none.
//   - x-auth-* headers, by which services tell each other identities, are gone, in any
//     spelling and in the trailer, too, and so is the secret of a GatewayAuth.
//   - What a verification handed back with interceptor.SetResponseHeader, such as a refreshed
//     cookie, is in the header of the response already, that of a refusal included. With a
//     Set-Cookie there is a "Cache-Control: private", beside the handler's own.
//
// Any other request is refused; see the package's documentation. A panic of the handler passes
// through.
//
// # Responses that last
//
// A response is given at once, as to a unary call of gRPC, unless part of it is sent before
// the handler has returned, or the handler may read from the client for as long as that likes: it
// flushes, hijacks the connection, has written more than 2 KiB, or the request has a body
// whose length is not announced. From then on it ends with its session, unless
// interceptor.WithUnboundedStreams was given, as a stream of gRPC does: when ExpiresAt passes, and with what a new
// verification finds out after a Forget or at the intervals of interceptor.WithStreamRecheck.
//
// The request's context is then cancelled, with the status as its [context.Cause]; reads of
// the body and writes fail, those that wait for the client included, as far as the server has
// deadlines; and a hijacked connection is closed. When the handler has returned, the connection, or the
// stream of HTTP/2, is aborted, so that the client does not take what it has got for all; a client that has
// got nothing yet gets the refusal.
//
// A hijacked connection is watched until it is closed, which is the handler's to do.
//
// # The writer
//
// [http.ResponseController] works on it; it is an [http.Flusher] if the one that it wraps is, and
// an [http.Hijacker]. Of a [http.Pusher] and an [io.ReaderFrom] it makes none.
//
// The error names every option that is not valid, or is for [ForwardAuth] alone.
func Middleware(authn Authn, opts ...Option) (func(next http.Handler) http.Handler, error) {
	c := newConfig(opts)
	for _, name := range c.ofForward {
		c.errs = append(c.errs, fmt.Errorf("httpauth: Middleware: %s is for ForwardAuth", name))
	}
	d, err := newDoor(authn, c)
	if err != nil {
		return nil, err
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, next) })
	}, nil
}

// door is what both kinds of it need.
type door struct {
	config

	authn     Authn
	skipped   *routes
	named     *routes
	readsHost bool
	navigable bool      // authn looks at origins, which a link may be followed from
	into      intoAuthn // authn, if it is one and not what embeds it; nil otherwise
}

// intoAuthn needs no memory of its own for a Session.
type intoAuthn interface {
	AuthenticateInto(ctx context.Context, header http.Header, session *interceptor.Session) (interceptor.Authentication, error)
}

// authenticate says who sent the request of x, whose session it sets.
func (d *door) authenticate(x *exchange, header http.Header) (found interceptor.Authentication, err error) {
	if d.into != nil {
		found, err = d.into.AuthenticateInto(&x.call, header, &x.own)
	} else {
		found, err = d.authn.Authenticate(&x.call, header)
	}
	x.session = found.Session
	return found, err
}

func newDoor(authn Authn, c config) (*door, error) {
	d := &door{config: c, authn: authn}
	errs := c.errs
	if isNil(authn) {
		errs = append(errs, errors.New("httpauth: no Authenticator"))
	}
	var err error
	if d.skipped, err = skipRoutes(c.skip); err != nil {
		errs = append(errs, err)
	}
	if d.named, err = methodRoutes(c.methods); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if reader, ok := authn.(interface{ ReadsHost() bool }); ok {
		d.readsHost = reader.ReadsHost()
	}
	checker, ok := authn.(interface{ ChecksOrigins() bool })
	d.navigable = !ok || checker.ChecksOrigins()
	switch a := authn.(type) { // what embeds one may do something else in its Authenticate
	case *interceptor.Authenticator:
		d.into = a
	case *interceptor.GatewayAuth:
		d.into = a
	}
	return d, nil
}

func isNil(authn Authn) bool {
	switch a := authn.(type) {
	case nil:
		return true
	case *interceptor.Authenticator:
		return a == nil
	case *interceptor.GatewayAuth:
		return a == nil
	}
	return false
}

// skips reports whether a request needs no authentication, and returns the method that it
// stands for; "" for none.
func (d *door) skips(r *http.Request) (fullMethod string, yes bool) {
	if d.skipped == nil && d.named == nil {
		return "", false
	}
	if _, ok := d.skipped.find(r); ok {
		return "", true
	}
	fullMethod, ok := d.named.find(r)
	return fullMethod, ok && d.authn.Skips(fullMethod)
}

// header returns that of r as authn is to see it.
func (d *door) header(r *http.Request) http.Header {
	leave := d.navigable && isNavigation(r)
	if !leave && !d.readsHost {
		return r.Header
	}
	header := maps.Clone(r.Header)
	if leave {
		delete(header, fetchSite)
	}
	if d.readsHost {
		header["Host"] = []string{r.Host}
	}
	return header
}

const fetchSite = "Sec-Fetch-Site"

// isNavigation reports whether a browser follows a link on a foreign page: it shows what it gets, and that
// page learns nothing of it. Scripts cannot write these headers (Fetch Metadata §2).
func isNavigation(r *http.Request) bool {
	return r.Header[fetchSite] != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// serve serves a request with next, or refuses it.
func (d *door) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	fullMethod, skipped := d.skips(r)
	if skipped && (fullMethod == "" || d.rules == nil) {
		d.pass(w, r, next)
		return
	}
	x := &exchange{call: peers.RequestContext{Context: r.Context(), Request: r}, writer: w}
	header := r.Header
	if skipped {
		header = d.authn.HandlerHeader(header)
	} else {
		found, err := d.authenticate(x, d.header(r)) //nolint:contextcheck // x.call is made of the request's
		relay(w.Header(), found.ResponseHeader)
		if err != nil {
			refuse(w, d.realm, err)
			return
		}
		x.cookie = found.ResponseHeader["Set-Cookie"] != nil
		if d.into != nil {
			header = found.HandlerHeader(header)
		} else { // which may have looked at another, and hide more
			header = d.authn.HandlerHeader(header)
		}
	}
	defer x.finish()                                  //nolint:errcheck // when the handler panics
	if err := x.admit(d, r, fullMethod); err != nil { //nolint:contextcheck // x is the context
		_ = x.finish()
		refuse(w, d.realm, err)
		return
	}
	x.request = *r.WithContext(x) //nolint:contextcheck // it is made of the request's
	x.request.Header = header
	d.hideTrailer(&x.request)
	next.ServeHTTP(x.responseWriter(), &x.request)
	x.keepPrivate()
	if ended := x.finish(); ended != nil {
		x.abort(d.realm, ended)
	}
}

// admit has the rules decide about a request, and its session watched if it lasts from the
// beginning.
func (x *exchange) admit(d *door, r *http.Request, fullMethod string) error {
	if d.rules != nil {
		if fullMethod == "" {
			return refusal.AccessDenied
		}
		if _, err := d.rules.AuthorizeStream(x, fullMethod); err != nil { // until the session is closed
			return err
		}
	}
	if x.session != nil && r.ContentLength < 0 && r.Body != nil && r.Body != http.NoBody {
		return x.outlast()
	}
	return nil
}

// pass serves a request that was not authenticated.
func (d *door) pass(w http.ResponseWriter, r *http.Request, next http.Handler) {
	seen := d.unseen(r)
	defer leaveForm(r, seen)
	next.ServeHTTP(w, seen)
}

// unseen returns a request that was not authenticated as its handler may see it.
func (d *door) unseen(r *http.Request) *http.Request {
	header := d.authn.HandlerHeader(r.Header)
	if len(header) == len(r.Header) && r.Trailer == nil && r.ContentLength >= 0 { // nor a trailer that was not announced
		return r
	}
	r2 := new(http.Request)
	*r2 = *r
	r2.Header = header
	d.hideTrailer(r2)
	return r2
}

// leaveForm has the server remove what a form that a handler has parsed left on disk: it looks for that in the
// request that it has made.
func leaveForm(made, seen *http.Request) {
	if made.MultipartForm == nil {
		made.MultipartForm = seen.MultipartForm
	}
}

// relay adds what the callbacks handed back.
func relay(to, from http.Header) {
	for name, values := range from {
		to[name] = append(to[name], values...)
	}
}
