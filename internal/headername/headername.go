// Package headername compares the names of headers and metadata as the parties on the
// way may read them.
package headername

import "strings"

const (
	// GatewayPrefix is what grpc-gateway puts before the names of HTTP headers.
	GatewayPrefix = "grpcgateway-"
	// metadataPrefix is what it takes away from them, to pass the rest on as metadata.
	metadataPrefix = "grpc-metadata-"
	// IdentityPrefix begins the names by which services tell each other identities.
	IdentityPrefix = "x-auth-"
)

// IsIdentity reports whether a key, in any case, could be read as one of the
// x-auth-* headers by which services tell each other identities: servers and
// frameworks take "_" and "." for "-", and grpc-gateway puts a prefix in front, or takes
// another away.
func IsIdentity(key string) bool {
	for {
		switch {
		case HasPrefix(key, GatewayPrefix):
			key = key[len(GatewayPrefix):]
		case HasPrefix(key, metadataPrefix):
			key = key[len(metadataPrefix):]
		default:
			return HasPrefix(key, IdentityPrefix)
		}
	}
}

// Is reports whether a key, in any case, could be read as the header of this name, which
// is as [Plain] returns it: see [IsIdentity]. Metadata in binary, whose keys end with
// "-bin", counts too.
func Is(key, name string) bool {
	for HasPrefix(key, GatewayPrefix) && !HasPrefix(name, GatewayPrefix) {
		key = key[len(GatewayPrefix):]
	}
	if name == "" || !HasPrefix(key, name) {
		return false
	}
	rest := key[len(name):]
	return rest == "" || len(rest) == len("-bin") && HasPrefix(rest, "-bin")
}

// Plain returns a name in lower case, with "-" for "_" and ".".
func Plain(name string) string {
	return strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
}

// HasPrefix is strings.HasPrefix for a key in any case and spelling. prefix is in lower
// case, with "-" alone.
func HasPrefix(key, prefix string) bool {
	if len(key) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		c := key[i]
		switch {
		case c == '_' || c == '.':
			c = '-'
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		if c != prefix[i] {
			return false
		}
	}
	return true
}
