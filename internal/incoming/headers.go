package incoming

import (
	"net/http"
	"strings"

	grpcmd "google.golang.org/grpc/metadata"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Headers is where the headers of a call come from. Nothing it returns may be modified,
// but for what Full returns, which is a copy.
type Headers interface {
	// Raw is what came under a name, as it came.
	Raw(name Name) []string
	// Values is the same as a verifier gets it: cookies joined, what smuggles left out.
	Values(name Name) []string
	// All is everything that came, by names in any case.
	All() map[string][]string
	// Full is everything that may be handed on.
	Full() http.Header
}

// Call is the metadata of a gRPC call, its keys in lower case.
type Call struct {
	md      grpcmd.MD
	renamed bool // grpc-gateway put its prefix on some of it
	hop     bool // there is a Connection, which says that some of it is for one hop
	// What nearly every call is asked for, found while its keys were looked at.
	own, cookies []string
}

func newCall(md grpcmd.MD) Call {
	return Call{md, true, true, md[authorizationKey], md[cookieKey]}
}

// Renamed reports whether grpc-gateway may have put its prefix on a credential.
func (in *Call) Renamed() bool { return in.renamed }

// Raw implements Headers.
func (in *Call) Raw(name Name) []string {
	switch name.Is {
	case IsAuthorization:
		return in.own
	case IsCookie:
		return in.cookies
	case IsHost:
		return in.md[":authority"]
	case other:
	}
	return in.md[name.Key]
}

// Values implements Headers.
func (in *Call) Values(name Name) []string {
	values := []string(nil)
	switch name.Is {
	case IsAuthorization:
		values = in.own
	case IsCookie:
		values = in.cookies
	case IsHost:
		return in.md[":authority"]
	case other:
	}
	if len(values) == 1 && !in.hop && isLine(values[0]) {
		return values // authmd.Values would find nothing to do, at a higher price
	}
	return authmd.Values(in.md, name.Key)
}

// isLine reports whether value cannot end a header line early.
func isLine(value string) bool {
	return strings.IndexByte(value, '\r') < 0 && strings.IndexByte(value, '\n') < 0 && strings.IndexByte(value, 0) < 0
}

// All implements Headers.
func (in *Call) All() map[string][]string { return in.md }

// Full implements Headers.
func (in *Call) Full() http.Header { return authmd.Header(in.md) }

// Supplied is a header that the caller of Authenticate passed in.
type Supplied struct{ header http.Header }

// NewSupplied returns header as Headers.
func NewSupplied(header http.Header) *Supplied { return &Supplied{header} }

// Bounded reports whether a header can be looked for in s at little cost: all names are
// compared, and with those in Connection. The names of metadata are counted when it is
// received, and HTTP/2 knows no Connection.
func (s *Supplied) Bounded() bool {
	names, nominated := 0, 0
	for name := range s.header {
		names += len(name)
	}
	for _, value := range s.Raw(Connection) {
		nominated += len(value)
	}
	return len(s.header) <= maxKeys && names <= MaxKeyed && nominated <= maxConnection
}

// Raw implements Headers.
func (s *Supplied) Raw(name Name) []string {
	if values, ok := s.header[name.Canonical]; ok {
		return values
	}
	return s.header[name.Key] // gRPC metadata passes for a header, too
}

// Values implements Headers.
func (s *Supplied) Values(name Name) []string {
	if name.Is == IsHost { // which CleanValues leaves out
		return s.header[Host.Canonical]
	}
	return authmd.CleanValues(s.header, name.Canonical)
}

// All implements Headers.
func (s *Supplied) All() map[string][]string { return s.header }

// Full implements Headers.
func (s *Supplied) Full() http.Header { return authmd.Clean(s.header) }
