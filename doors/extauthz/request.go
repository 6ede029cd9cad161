package extauthz

import (
	"net/http"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

const (
	cookieKey      = "cookie"
	contentTypeKey = "content-type"
	// transcodedKey is set by Envoy's transcoder. A client that sets it gets its refusals in
	// another form, and that is all.
	transcodedKey = "x-envoy-original-method"
	// maxHeader bounds what a request's headers come to, in bytes, and maxNames their number.
	// Envoy's own bounds are 60 KiB and 100 by default.
	maxHeader = 1 << 20
	maxNames  = 1024
)

// request is what Envoy says about a request.
type request struct {
	header map[string][]string // by names in lower case; without pseudo-headers
	method string
	path   string // without the query
	speaks protocol
}

// read makes a request of what Envoy asks. It is good for answering in the right protocol even
// when it is refused.
func read(in *authv3.CheckRequest) (*request, *refusal.Refusal) {
	attributes := in.GetAttributes().GetRequest().GetHttp()
	q := &request{method: attributes.GetMethod()}
	q.path, _, _ = strings.Cut(attributes.GetPath(), "?")
	refused := q.readHeader(attributes)
	if refused != nil { // before it came to what tells the protocol, perhaps
		q.header = map[string][]string{contentTypeKey: find(attributes, contentTypeKey), transcodedKey: find(attributes, transcodedKey)}
	}
	q.speaks = protocolOf(q.header[contentTypeKey])
	if len(q.header[transcodedKey]) > 0 {
		q.speaks = speaksHTTP // to Envoy, which has made gRPC of it, and makes no JSON of a refusal
	}
	switch {
	case q.method == "", !strings.HasPrefix(q.path, "/"):
		// The network filter asks about connections, or somebody else asks.
		return q, refusal.VerificationFailed
	case refused != nil:
		return q, refused
	}
	if host := attributes.GetHost(); host != "" {
		q.header["Host"] = []string{host}
	}
	return q, nil
}

// readHeader reads the headers in whichever form Envoy is configured to send them. In the map
// Envoy has joined repeated ones by commas, and cookies by semicolons; the list holds them as
// they came.
func (q *request) readHeader(attributes *authv3.AttributeContext_HttpRequest) *refusal.Refusal {
	joined, raw := attributes.GetHeaders(), attributes.GetHeaderMap().GetHeaders()
	if len(joined) > 0 && len(raw) > 0 {
		return refusal.AmbiguousCredentials // Envoy sends one of the two
	}
	if len(joined)+len(raw) > maxNames {
		return refusal.InvalidSession
	}
	q.header = make(map[string][]string, len(joined)+len(raw)+1)
	space := make([]string, len(joined)+len(raw)) // one allocation for nearly all values
	size := 0
	add := func(key, value string) *refusal.Refusal {
		if size += len(key) + len(value); size > maxHeader {
			return refusal.InvalidSession
		}
		key = strings.ToLower(key)
		switch {
		case strings.HasPrefix(key, ":"):
			if !agrees(attributes, key, value) {
				return refusal.AmbiguousCredentials
			}
		case key == "host": // Envoy has made it the :authority
		case q.header[key] == nil:
			space[0] = value
			q.header[key], space = space[:1:1], space[1:]
		default:
			q.header[key] = append(q.header[key], value)
		}
		return nil
	}
	for key, value := range joined {
		if refused := add(key, value); refused != nil {
			return refused
		}
	}
	for _, h := range raw {
		value, ok := valueOf(h)
		if !ok {
			return refusal.AmbiguousCredentials
		}
		if refused := add(h.GetKey(), value); refused != nil {
			return refused
		}
	}
	return nil
}

// find returns a value of a header, of which there may be others; nil for none.
func find(attributes *authv3.AttributeContext_HttpRequest, name string) []string {
	for key, value := range attributes.GetHeaders() {
		if strings.EqualFold(key, name) {
			return []string{value}
		}
	}
	for _, h := range attributes.GetHeaderMap().GetHeaders() {
		if strings.EqualFold(h.GetKey(), name) {
			value, _ := valueOf(h)
			return []string{value}
		}
	}
	return nil
}

// valueOf returns the value of a header, which has one of two forms.
func valueOf(h *corev3.HeaderValue) (string, bool) {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw), h.GetValue() == ""
	}
	return h.GetValue(), true
}

// agrees reports whether a pseudo-header says what the attribute says that is decided by.
func agrees(attributes *authv3.AttributeContext_HttpRequest, key, value string) bool {
	switch key {
	case ":path":
		return value == attributes.GetPath()
	case ":method":
		return value == attributes.GetMethod()
	case ":authority":
		return value == attributes.GetHost()
	}
	return true
}

// grpcMethod returns the path as the name of a gRPC method. It is false for a path that is
// none, or that two parties could read as two of them: one that decodes percent-encoding, say,
// and one that does not.
func (q *request) grpcMethod() (string, bool) {
	service, name, ok := strings.Cut(strings.TrimPrefix(q.path, "/"), "/")
	return q.path, ok && isPlainName(service) && isPlainName(name)
}

func isPlainName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' {
			return false
		}
	}
	return s != "" && s != "." && s != ".."
}

// matches reports whether a request is of those that mux has patterns for. mux answers a path
// that is not in its canonical form by a redirection, which is not taken for a match.
func (q *request) matches(mux *http.ServeMux) bool {
	if mux == nil || q.method == http.MethodConnect {
		return false
	}
	for i := range len(q.path) {
		if c := q.path[i]; c <= ' ' || c > '~' || strings.IndexByte(`%\;#`, c) >= 0 {
			return false
		}
	}
	handler, _ := mux.Handler(&http.Request{Method: q.method, URL: &url.URL{Path: q.path}})
	return handler == matched{}
}
