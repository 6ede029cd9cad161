package interceptor

import "slices"

var (
	originHeaders    = [...]headerName{newHeaderName("origin"), newHeaderName("grpcgateway-origin")}
	fetchSiteHeaders = [...]headerName{newHeaderName("sec-fetch-site"), newHeaderName("grpcgateway-sec-fetch-site")}
)

// fromForeignPage reports whether a page of an origin that is not allowed made a browser
// send this call.
func (a *Authenticator) fromForeignPage(h headers) bool {
	named := false
	for _, name := range originHeaders {
		if values := h.values(name); len(values) > 0 {
			if named = true; a.origins.Foreign(values, nil) {
				return true
			}
		}
	}
	return !named && slices.ContainsFunc(fetchSiteHeaders[:], func(name headerName) bool {
		return a.origins.Foreign(nil, h.values(name))
	})
}
