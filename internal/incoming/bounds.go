package incoming

import "strings"

// What a request may carry. HTTP/2's header compression turns a few kilobytes on the wire
// into megabytes here, so all of it is checked before anything is joined, copied,
// searched or hashed.
const (
	// MaxKeyed bounds all that goes into a key, in bytes.
	MaxKeyed = 64 << 10
	// MaxCredentials bounds how many there are; browsers keep fewer than 200 cookies for a site.
	MaxCredentials = 256
	// maxConnection bounds Connection, each name in which is compared with every header, in bytes.
	maxConnection = 4 << 10
	// maxHeader bounds a header that is handed on whole, in bytes, and maxValues its values.
	maxHeader = 256 << 10
	maxValues = 1024
)

// Bounds adds up how much there is to be read.
type Bounds struct{ size, count int }

// OK reports whether it is not too much.
func (b *Bounds) OK() bool { return b.count <= MaxCredentials && b.size <= MaxKeyed }

// Add adds the values of a header, each of which may hold several cookies.
func (b *Bounds) Add(values []string, cookies bool) {
	b.count += len(values)
	if b.count > MaxCredentials {
		return
	}
	if len(values) == 1 && len(values[0]) <= MaxCredentials {
		b.size += len(values[0])
		return // nearly always; what is so short holds few
	}
	for _, value := range values {
		b.size += len(value)
		if cookies && b.size <= MaxKeyed {
			b.count += strings.Count(value, ";")
		}
	}
}

// WholeBounded reports whether h can be handed on whole.
func WholeBounded(h Headers) bool {
	size, count := 0, 0
	for key, values := range h.All() {
		count += len(values)
		size += len(key)
		if count > maxValues {
			return false
		}
		for _, value := range values {
			size += len(value)
		}
	}
	return size <= maxHeader
}

// Conflicts reports whether a credential contradicts the one that grpc-gateway renamed:
// its names are still there only when they differ from the native ones.
func Conflicts(h Headers) bool {
	return len(h.Values(GatewayAuthorization)) > 0 || len(h.Values(GatewayCookie)) > 0
}
