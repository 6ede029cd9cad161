package interceptor

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

const (
	// maxCredential bounds a credential, and maxKeyed everything that goes into
	// a key, in bytes: hashing is work that anybody can ask for.
	maxCredential = 16 << 10
	maxKeyed      = 64 << 10
)

var (
	authorization        = newHeaderName("authorization")
	cookie               = newHeaderName("cookie")
	host                 = newHeaderName("host")
	gatewayAuthorization = newHeaderName("grpcgateway-authorization")
	gatewayCookie        = newHeaderName("grpcgateway-cookie")
)

// request is what one call brings along.
type request struct {
	headers headers
	call    incoming // what headers is for a gRPC call: one allocation for both
	token   string
	found   []string // tokens of extractors that are no Source
	key     cache.Key
	carried context.Context //nolint:containedctx // what WithKeyContext carries over
	space   [2]authmd.Credential

	response atomic.Pointer[response] // of the callbacks that ran last for this call
}

// read finds the credentials of a call. There is no token when there are none.
func (a *Authenticator) read(ctx context.Context, r *request) *refusal.Refusal {
	h := r.headers
	own := h.values(authorization)
	if ambiguous(own) || h.conflicts() {
		return refusal.AmbiguousCredentials
	}
	// The parts of the key: for each extractor, then each named header, how many
	// values there are and the values. Any request's parts can be read back in one
	// way only.
	var space [12]string
	parts, size := space[:0], 0
	var winner *extractor // found the token
	for i := range a.extractors {
		values := own
		if e := &a.extractors[i]; e.header != authorization && e.source != nil {
			values = h.values(e.header)
		}
		credentials := a.extractors[i].credentials(h, values, r.space[:0])
		parts = append(parts, strconv.Itoa(len(credentials)))
		for j := range credentials {
			c := &credentials[j]
			if len(c.Value) > maxCredential {
				return refusal.InvalidSession
			}
			if r.token == "" {
				r.token, winner = c.Token, &a.extractors[i]
			}
			size += len(c.Value)
			parts = append(parts, c.Value)
		}
		if a.extractors[i].source == nil {
			for _, c := range credentials {
				r.found = append(r.found, c.Token)
			}
		} else if a.extractors[i].contradicts(credentials) {
			return refusal.AmbiguousCredentials
		}
	}
	switch {
	case r.token == "" && a.malformed(h, own):
		return refusal.MissingCredentials // and not anonymous
	case r.token == "":
		return nil
	case winner.readsCookie(h) && a.foreign(h):
		return refusal.OriginNotAllowed
	}
	for _, name := range a.keyHeaders {
		values := h.values(name)
		parts = append(parts, strconv.Itoa(len(values)))
		for _, value := range values {
			size += len(value)
			parts = append(parts, value)
		}
	}
	if size > maxKeyed {
		return refusal.InvalidSession
	}
	if a.cache == nil {
		return nil
	}
	if a.carry != nil {
		var part string
		r.carried, part = a.carry(ctx, context.Background())
		parts = append(parts, part)
	}
	r.key = cache.NewKey(parts...)
	return nil
}

// readsCookie reports whether what the extractor finds is sent by a browser unasked.
// One that is no Source may have read a cookie, if there is one.
func (e *extractor) readsCookie(h headers) bool {
	return e.header == cookie || e.source == nil && len(h.values(cookie)) > 0
}

// ambiguous reports whether two parties could take two different credentials from
// these values of Authorization.
func ambiguous(own []string) bool {
	for _, value := range own {
		if value != own[0] || strings.IndexByte(value, ',') >= 0 {
			return true
		}
	}
	return false
}

// malformed reports whether a call without a token carries something that was meant
// to be one. A cookie of another name is not, nor is another scheme.
func (a *Authenticator) malformed(h headers, own []string) bool {
	const scheme = "bearer"
	for i := range a.extractors {
		e := &a.extractors[i]
		switch {
		case e.source == nil || e.header == cookie:
		case e.header == authorization:
			if slices.ContainsFunc(own, func(value string) bool { return headername.HasPrefix(strings.TrimSpace(value), scheme) }) {
				return true
			}
		case len(h.values(e.header)) > 0:
			return true
		}
	}
	return false
}

// credentials appends what the extractor finds. values are those of the header
// that it reads, if it is a Source.
func (e *extractor) credentials(h headers, values []string, dst []authmd.Credential) []authmd.Credential {
	if e.source != nil {
		return e.source.AppendCredentials(dst, values)
	}
	if token, ok := e.Extract(h.full()); ok && token != "" {
		dst = append(dst, authmd.Credential{Value: token, Token: token})
	}
	return dst
}

// contradicts reports whether a header that holds one credential holds several.
// The same cookie twice is legal.
func (e *extractor) contradicts(credentials []authmd.Credential) bool {
	return e.header != cookie && slices.ContainsFunc(credentials, func(c authmd.Credential) bool {
		return c.Value != credentials[0].Value
	})
}

// header returns what the verifier may look at.
func (a *Authenticator) header(r *request) http.Header {
	if !a.restricted {
		header := r.headers.full()
		for name := range header {
			if headername.IsIdentity(name) && !a.reads(name) {
				delete(header, name)
			}
		}
		return header
	}
	header := make(http.Header)
	for i := range a.extractors {
		e := &a.extractors[i]
		if e.source == nil {
			continue
		}
		for _, c := range e.source.AppendCredentials(nil, r.headers.values(e.header)) {
			addCredential(header, e.header.canonical, c.Value)
		}
	}
	for _, name := range a.keyHeaders {
		if values := r.headers.values(name); len(values) > 0 {
			header[name.canonical] = slices.Clone(values)
		}
	}
	return header
}

// reads reports whether the user named this header.
func (a *Authenticator) reads(canonical string) bool {
	return slices.ContainsFunc(a.extractors, func(e extractor) bool { return e.header.canonical == canonical })
}

// addCredential adds a header value that several extractors may have found; the
// pairs of the Cookie header go into one line.
func addCredential(header http.Header, name, value string) {
	if name != cookie.canonical {
		if !slices.Contains(header[name], value) {
			header.Add(name, value)
		}
		return
	}
	var pairs []string
	if line := header.Get(name); line != "" {
		pairs = strings.Split(line, "; ")
	}
	for pair := range strings.SplitSeq(value, ";") {
		if pair = strings.TrimSpace(pair); pair != "" && !slices.Contains(pairs, pair) {
			pairs = append(pairs, pair)
		}
	}
	header.Set(name, strings.Join(pairs, "; "))
}

// secrets lists every form of the credentials that could turn up in a text,
// longest first.
func (a *Authenticator) secrets(r *request) []string {
	secrets := append([]string{r.token}, r.found...)
	for i := range a.extractors {
		e := &a.extractors[i]
		if e.source == nil {
			continue
		}
		for _, c := range e.source.AppendCredentials(nil, r.headers.values(e.header)) {
			secrets = append(secrets, c.Value, c.Token)
			if e.header != cookie {
				continue
			}
			for pair := range strings.SplitSeq(c.Value, ";") {
				_, value, _ := strings.Cut(pair, "=")
				secrets = append(secrets, strings.TrimSpace(value))
			}
		}
	}
	return secrets
}
