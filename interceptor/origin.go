package interceptor

import (
	"slices"

	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
)

var (
	originHeaders    = [...]incoming.Name{incoming.NewName("origin"), incoming.NewName("grpcgateway-origin")}
	fetchSiteHeaders = [...]incoming.Name{incoming.NewName("sec-fetch-site"), incoming.NewName("grpcgateway-sec-fetch-site")}
)

// fromForeignPage reports whether a page of an origin that is not allowed made a browser
// send this call.
func (a *Authenticator) fromForeignPage(h incoming.Headers) bool {
	named := false
	for _, name := range originHeaders {
		if values := h.Values(name); len(values) > 0 {
			if named = true; a.origins.Foreign(values, nil) {
				return true
			}
		}
	}
	return !named && slices.ContainsFunc(fetchSiteHeaders[:], func(name incoming.Name) bool {
		return a.origins.Foreign(nil, h.Values(name))
	})
}
