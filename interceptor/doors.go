package interceptor

import (
	"net/http"
	"slices"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
)

// HandlerHeader returns the header of a request as handlers may see it, for doors other
// than gRPC's: without the x-auth-* headers, in any spelling, by which a client could pass
// for somebody else, and without the secret of a [GatewayAuth]. It is header itself if that
// holds none of these, and a copy otherwise, which shares the values. header is not modified.
func (g *guard) HandlerHeader(header http.Header) http.Header {
	for name := range header {
		if g.hides(name) {
			return g.withoutHidden(header)
		}
	}
	return header
}

func (g *guard) withoutHidden(header http.Header) http.Header {
	kept := make(http.Header, len(header))
	for name, values := range header {
		if !g.hides(name) {
			kept[name] = values
		}
	}
	return kept
}

// ReadsHost reports whether the Host of a request is part of its key: [WithKeyHeaders]
// names it. net/http keeps it outside the header, so a door has to put it there.
func (a *Authenticator) ReadsHost() bool { return slices.Contains(a.keyHeaders, incoming.Host) }

// ChecksOrigins reports whether [WithAllowedOrigins] was given: a door that lets links on foreign pages
// be followed has to look for them only then.
func (g *guard) ChecksOrigins() bool { return g.origins != nil }

// hides reports whether handlers must not see a key.
func (g *guard) hides(key string) bool {
	return headername.IsIdentity(key) || g.secret.Header != "" && g.secret.IsHeader(key)
}
