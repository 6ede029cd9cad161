package interceptor

import (
	"net/http"
	"net/textproto"
	"strings"

	grpcmd "google.golang.org/grpc/metadata"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// headerName is a header in the two forms it is looked up by.
type headerName struct {
	canonical, key string
	is             wellKnown // to be compared instead of the texts, on every call
}

// wellKnown are the headers that are treated like no others.
type wellKnown uint8

const (
	other wellKnown = iota
	isAuthorization
	isCookie
	isHost
)

const (
	authorizationKey = "authorization"
	cookieKey        = "cookie"
	connectionKey    = "connection"
)

var wellKnowns = map[string]wellKnown{authorizationKey: isAuthorization, cookieKey: isCookie, "host": isHost}

func newHeaderName(name string) headerName {
	key := strings.ToLower(name)
	return headerName{textproto.CanonicalMIMEHeaderKey(name), key, wellKnowns[key]}
}

var (
	authorization        = newHeaderName(authorizationKey)
	cookie               = newHeaderName(cookieKey)
	host                 = newHeaderName("host")
	connection           = newHeaderName(connectionKey)
	gatewayAuthorization = newHeaderName("grpcgateway-authorization")
	gatewayCookie        = newHeaderName("grpcgateway-cookie")
)

// headers is where the headers of a call come from. Nothing it returns may be modified,
// but for what full returns, which is a copy.
type headers interface {
	// raw is what came under a name, as it came.
	raw(name headerName) []string
	// values is the same as a verifier gets it: cookies joined, what smuggles left out.
	values(name headerName) []string
	// all is everything that came, by names in any case.
	all() map[string][]string
	full() http.Header
}

// incoming is the metadata of a gRPC call, its keys in lower case.
type incoming struct {
	md      grpcmd.MD
	renamed bool // grpc-gateway put its prefix on some of it
	hop     bool // there is a Connection, which says that some of it is for one hop
	// What nearly every call is asked for, found while its keys were looked at.
	own, cookies []string
}

func newIncoming(md grpcmd.MD) incoming {
	return incoming{md, true, true, md[authorizationKey], md[cookieKey]}
}

func (in *incoming) raw(name headerName) []string {
	switch name.is {
	case isAuthorization:
		return in.own
	case isCookie:
		return in.cookies
	case isHost:
		return in.md[":authority"]
	case other:
	}
	return in.md[name.key]
}

func (in *incoming) values(name headerName) []string {
	values := []string(nil)
	switch name.is {
	case isAuthorization:
		values = in.own
	case isCookie:
		values = in.cookies
	case isHost:
		return in.md[":authority"]
	case other:
	}
	if len(values) == 1 && !in.hop && isLine(values[0]) {
		return values // authmd.Values would find nothing to do, at a higher price
	}
	return authmd.Values(in.md, name.key)
}

// isLine reports whether value cannot end a header line early.
func isLine(value string) bool {
	return strings.IndexByte(value, '\r') < 0 && strings.IndexByte(value, '\n') < 0 && strings.IndexByte(value, 0) < 0
}

func (in *incoming) all() map[string][]string { return in.md }

func (in *incoming) full() http.Header { return authmd.Header(in.md) }

// supplied is a header that the caller of Authenticate passed in.
type supplied struct{ header http.Header }

// bounded reports whether a header can be looked for in s at little cost: all names are
// compared, and with those in Connection. The names of metadata are counted when it is
// received, and HTTP/2 knows no Connection.
func (s *supplied) bounded() bool {
	names, nominated := 0, 0
	for name := range s.header {
		names += len(name)
	}
	for _, value := range s.raw(connection) {
		nominated += len(value)
	}
	return len(s.header) <= maxKeys && names <= maxKeyed && nominated <= maxConnection
}

func (s *supplied) raw(name headerName) []string {
	if values, ok := s.header[name.canonical]; ok {
		return values
	}
	return s.header[name.key] // gRPC metadata passes for a header, too
}

func (s *supplied) values(name headerName) []string {
	if name.is == isHost { // which CleanValues leaves out
		return s.header[host.canonical]
	}
	return authmd.CleanValues(s.header, name.canonical)
}

func (s *supplied) all() map[string][]string { return s.header }

func (s *supplied) full() http.Header { return authmd.Clean(s.header) }
