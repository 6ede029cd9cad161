package incoming

import (
	"net/http"
	"slices"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Supplied is a header that the caller of Authenticate passed in, as it was then: the map
// may belong to a handler by the time a session is verified again. The values are
// not copied. The zero value is an empty header.
type Supplied struct {
	fields  []field
	names   int  // bytes of all names
	renamed bool // grpc-gateway put its prefix on some of it
	hop     bool // there is a Connection, which says that some of it is for one hop
	endless bool // there are too many names to be looked at
	hidden  bool // see Hidden
	// What nearly every request is asked for, found while its names were looked at.
	own, cookies []string
	odd          bool // one of these has a name in another spelling, too
}

type field struct {
	name   string
	values []string
}

// Take makes s, which is empty, hold header. hides says what handlers must not see; it is asked about
// names only whose first byte, in lower case, is a suspect.
func (s *Supplied) Take(header http.Header, suspects *[256]bool, hides func(name string) bool) {
	if len(header) > maxKeys {
		s.endless, s.hidden = true, true
		return
	}
	if cap(s.fields) < len(header) {
		s.fields = make([]field, 0, max(len(header), usual))
	}
	for name, values := range header {
		s.names += len(name)
		s.fields = append(s.fields, field{name, values})
		if name == "" {
			continue
		}
		c := name[0]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		switch c {
		case 'a':
			s.note(&s.own, Authorization, name, values)
		case 'g':
			s.renamed = s.renamed || headername.HasPrefix(name, headername.GatewayPrefix)
		case 'c':
			s.note(&s.cookies, Cookie, name, values)
			s.hop = s.hop || len(name) == len(connectionKey) && strings.EqualFold(name, connectionKey)
		}
		s.hidden = s.hidden || suspects != nil && suspects[c] && hides(name)
	}
}

// note keeps values in found if name is that of known.
func (s *Supplied) note(found *[]string, known Name, name string, values []string) {
	switch {
	case len(name) != len(known.Key):
	case name == known.Canonical:
		*found = values
	default:
		s.odd = s.odd || strings.EqualFold(name, known.Key)
	}
}

// usual is how many names most requests have at most.
const usual = 16

// Hidden reports whether there may be a name that handlers must not see.
func (s *Supplied) Hidden() bool { return s.hidden }

// Empty makes s empty. It keeps its memory.
func (s *Supplied) Empty() {
	clear(s.fields)
	*s = Supplied{fields: s.fields[:0]}
}

// Renamed implements Headers.
func (s *Supplied) Renamed() bool { return s.renamed }

// Bounded implements Headers: all names are compared, and with those in Connection.
func (s *Supplied) Bounded() bool {
	nominated := 0
	if s.hop {
		for _, value := range s.Raw(Connection) {
			nominated += len(value)
		}
	}
	return !s.endless && s.names <= MaxKeyed && nominated <= maxConnection
}

// Raw implements Headers. gRPC metadata passes for a header, too: a name is found in any
// case.
func (s *Supplied) Raw(name Name) []string {
	if !s.odd {
		switch name.Is {
		case IsAuthorization:
			return s.own
		case IsCookie:
			return s.cookies
		case IsHost, other:
		}
	}
	var found []string
	for i := range s.fields {
		f := &s.fields[i]
		if len(f.name) != len(name.Key) || f.name != name.Canonical && !strings.EqualFold(f.name, name.Key) {
			continue
		}
		if found == nil {
			found = f.values
		} else {
			found = slices.Concat(found, f.values)
		}
	}
	return found
}

// Values implements Headers.
func (s *Supplied) Values(name Name) []string {
	values := s.Raw(name)
	if name.Is == IsHost || !s.hop && !s.renamed && (len(values) == 0 || len(values) == 1 && isLine(values[0])) {
		return values // authmd.CleanValues would find nothing to do, and leaves Host out
	}
	return authmd.CleanValues(s.All(), name.Canonical)
}

// All implements Headers. It is a copy, but for the values.
func (s *Supplied) All() map[string][]string {
	all := make(map[string][]string, len(s.fields))
	for _, f := range s.fields {
		all[f.name] = f.values
	}
	return all
}

// Full implements Headers.
func (s *Supplied) Full() http.Header { return authmd.Clean(s.All()) }
