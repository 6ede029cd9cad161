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
	// Renamed reports whether grpc-gateway may have put its prefix on a credential.
	Renamed() bool
	// Bounded reports whether a header can be looked for at little cost.
	Bounded() bool
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

// Renamed implements Headers.
func (in *Call) Renamed() bool { return in.renamed }

// Bounded implements Headers: the names of metadata are counted when it is received, and
// HTTP/2 knows no Connection.
func (*Call) Bounded() bool { return true }

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
