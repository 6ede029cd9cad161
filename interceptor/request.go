package interceptor

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/extractor"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/internal/response"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// maxCredential bounds a credential, in bytes; see also package incoming.
const maxCredential = 16 << 10

// request is what one call brings along.
type request struct {
	headers  incoming.Headers
	call     incoming.Call         // what headers is for a gRPC call: one allocation for both
	supplied *incoming.Supplied    // what it is for another; kept for the next
	found    []authmd.Credential   // all of them, by extractor in their order
	ends     [extractor.Max]uint16 // where in found those of each extractor end
	key      cache.Key
	carried  context.Context //nolint:containedctx // what WithKeyContext carries over

	space [2]authmd.Credential // what nearly all calls have: one allocation for all of this

	response atomic.Pointer[response.Response] // of the callbacks that ran last for this call

	done bool // nothing else refers to it any more once the call has been authenticated
}

// requests are those that were answered from memory: what nearly all calls are.
var requests = sync.Pool{New: func() any { return new(request) }}

// newSupplied returns the request with a header that a door has received.
func (g *guard) newSupplied(header http.Header) *request {
	r, _ := requests.Get().(*request)
	if r.supplied == nil {
		r.supplied = new(incoming.Supplied)
	}
	r.supplied.Take(header, &g.suspects, g.hides)
	r.headers = r.supplied
	return r
}

// release lets another call have the request, without what it held, if it is done.
func (r *request) release() {
	if r != nil && r.done {
		if r.supplied != nil {
			r.supplied.Empty()
		}
		*r = request{supplied: r.supplied}
		requests.Put(r)
	}
}

// foundBy returns the credentials that an extractor found.
func (r *request) foundBy(extractor int) []authmd.Credential {
	first := uint16(0)
	if extractor > 0 {
		first = r.ends[extractor-1]
	}
	return r.found[first:r.ends[extractor]]
}

// token returns the first token that was found; "" for none.
func (r *request) token() string {
	for i := range r.found {
		if token := r.found[i].Token; token != "" {
			return token
		}
	}
	return ""
}

// read finds the credentials of a call. There is no token when there are none.
func (a *Authenticator) read(ctx context.Context, r *request) *refusal.Refusal {
	h := r.headers
	renamed := h.Renamed() // grpc-gateway may have put its prefix on a credential
	if !a.bounded(h, renamed) {
		return refusal.InvalidSession
	}
	own := h.Values(incoming.Authorization)
	if extractor.Ambiguous(own) || renamed && incoming.Conflicts(h) {
		return refusal.AmbiguousCredentials
	}
	r.found = r.space[:0]
	for i := range a.extractors {
		e := &a.extractors[i]
		values := own
		if e.Source != nil && e.Header.Is != incoming.IsAuthorization {
			values = h.Values(e.Header)
		}
		if e.Contradicts(values) {
			return refusal.AmbiguousCredentials
		}
		first := len(r.found)
		var err error
		if r.found, err = e.Credentials(ctx, h, values, r.found); err != nil {
			return a.notFound(ctx)
		}
		if len(r.found) > incoming.MaxCredentials {
			return refusal.InvalidSession
		}
		for _, c := range r.found[first:] {
			if len(c.Value) > maxCredential {
				return refusal.InvalidSession
			}
		}
		r.ends[i] = uint16(len(r.found)) //nolint:gosec // bounded above
	}
	anonymous := r.token() == ""
	switch {
	case anonymous && a.malformed(h, own):
		return refusal.MissingCredentials // and not anonymous
	case anonymous:
		return nil
	case a.origins != nil && a.handsCookies(r) && a.origins.Foreign(h):
		return refusal.OriginNotAllowed
	case a.cache == nil:
		return nil
	}
	return a.makeKey(ctx, r, own)
}

// bounded reports whether what is going to be read is small enough to be read.
func (a *Authenticator) bounded(h incoming.Headers, renamed bool) bool {
	if !h.Bounded() {
		return false
	}
	b := incoming.Bounds{}
	b.Add(h.Raw(incoming.Authorization), false)
	b.Add(h.Raw(incoming.Cookie), true)
	for _, name := range a.reads {
		b.Add(h.Raw(name), false)
	}
	if renamed {
		b.Add(h.Raw(incoming.GatewayAuthorization), false)
		b.Add(h.Raw(incoming.GatewayCookie), true)
	}
	return b.OK() && (!a.readsAll || incoming.WholeBounded(h))
}

// malformed reports whether a call without a token carries something that was meant
// to be one. A cookie of another name is not, nor is another scheme.
func (a *Authenticator) malformed(h incoming.Headers, own []string) bool {
	const scheme = "bearer"
	for i := range a.extractors {
		e := &a.extractors[i]
		switch {
		case e.Source == nil || e.Header.Is == incoming.IsCookie:
		case e.Header.Is == incoming.IsAuthorization:
			if slices.ContainsFunc(own, func(value string) bool { return headername.HasPrefix(strings.TrimSpace(value), scheme) }) {
				return true
			}
		case len(h.Values(e.Header)) > 0:
			return true
		}
	}
	return false
}

// handsCookies reports whether the verifier gets to see a cookie, which a browser sends
// unasked.
func (a *Authenticator) handsCookies(r *request) bool {
	if len(r.headers.Values(incoming.Cookie)) == 0 {
		return false
	}
	if !a.restricted || slices.Contains(a.keyHeaders, incoming.Cookie) {
		return true
	}
	for i := range a.extractors {
		// One that is no Source may have read it.
		if e := &a.extractors[i]; (e.Source == nil || e.Header.Is == incoming.IsCookie) && len(r.foundBy(i)) > 0 {
			return true
		}
	}
	return false
}

// header returns what the verifier may look at, or false when that is too much.
func (a *Authenticator) header(r *request) (http.Header, bool) {
	if a.restricted {
		return a.keyed(r), true
	}
	if !incoming.WholeBounded(r.headers) {
		return nil, false
	}
	header := r.headers.Full()
	for name := range header {
		if headername.IsIdentity(name) && !slices.ContainsFunc(a.extractors, func(e extractor.Extractor) bool { return e.Header.Canonical == name }) {
			delete(header, name)
		}
	}
	return header, true
}

// keyed returns the header that holds what is in the key and nothing else.
func (a *Authenticator) keyed(r *request) http.Header {
	header := make(http.Header)
	var cookies []string // of all that were found, each pair once
	seen := map[string]bool{"": true}
	for i := range a.extractors {
		e := &a.extractors[i]
		if e.Source == nil {
			continue
		}
		for _, c := range r.foundBy(i) {
			if e.Header.Is != incoming.IsCookie {
				if !slices.Contains(header[e.Header.Canonical], c.Value) {
					header.Add(e.Header.Canonical, c.Value)
				}
				continue
			}
			for pair := range strings.SplitSeq(c.Value, ";") {
				if pair = strings.TrimSpace(pair); !seen[pair] {
					seen[pair] = true
					cookies = append(cookies, pair)
				}
			}
		}
	}
	if len(cookies) > 0 {
		header.Set(incoming.Cookie.Canonical, strings.Join(cookies, "; "))
	}
	for _, name := range a.keyHeaders {
		if values := r.headers.Values(name); len(values) > 0 {
			header[name.Canonical] = slices.Clone(values)
		}
	}
	return header
}

// secrets lists the credentials that a verifier could quote.
func (a *Authenticator) secrets(r *request) []string {
	secrets := []string{r.token()}
	for i := range a.extractors {
		e := &a.extractors[i]
		for _, c := range r.foundBy(i) {
			secrets = append(secrets, c.Value, c.Token)
			if e.Header.Is == incoming.IsCookie {
				secrets = redact.Cookies(secrets, c.Value)
			}
			if e.Naming { // the owner of the sessions knows them by these
				_ = catch.Protect(func() { secrets = e.AppendNames(secrets, c.Token) })
			}
		}
	}
	for _, value := range r.headers.Values(incoming.Authorization) {
		_, token, _ := strings.Cut(value, " ")
		secrets = append(secrets, value, token)
	}
	for _, line := range r.headers.Values(incoming.Cookie) {
		secrets = redact.Cookies(append(secrets, line), line)
	}
	return secrets
}

// extractorFailed is the refusal of a call in which an extractor did not return. What it
// said may hold the credential.
func (g *guard) extractorFailed(ctx context.Context) *refusal.Refusal {
	g.report(ctx, refusal.VerificationFailed, errNotShown, nil)
	return refusal.VerificationFailed
}

var errNotShown = errors.New("an extractor or the func of WithKeyContext did not return; why may hold a credential, and is not shown")
