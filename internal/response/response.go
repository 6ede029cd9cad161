// Package response carries what the callbacks of a verification hand back to the client
// whose call caused it.
package response

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	grpcmd "google.golang.org/grpc/metadata"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// maxSize bounds what one verification hands back, in bytes.
const maxSize = 16 << 10

type contextKey struct{}

// Response is what one run of the callbacks hands back. Each has its own, so that one that
// was abandoned speaks to nobody. It is safe for concurrent use.
type Response struct {
	mu sync.Mutex
	md grpcmd.MD
}

// New returns a Response, and a context by which [Add] finds it.
func New(ctx context.Context) (context.Context, *Response) {
	r := new(Response)
	return context.WithValue(ctx, contextKey{}, r), r
}

// Add adds header to the Response that ctx carries, if there is one. The error says which
// name or value cannot be sent as gRPC metadata, or that it becomes too much; nothing of
// header is then added. header is not modified or retained.
func Add(ctx context.Context, header http.Header) error {
	md, size := make(grpcmd.MD, len(header)), 0
	for name, values := range header {
		key := strings.ToLower(name)
		if !isKey(key) {
			return fmt.Errorf("%q cannot be sent as the name of gRPC metadata", name)
		}
		for _, value := range values {
			if !isPrintable(value) {
				return fmt.Errorf("a value of %q is not printable ASCII", name)
			}
			size += len(name) + len(value)
		}
		md.Append(key, values...)
	}
	r, ok := ctx.Value(contextKey{}).(*Response)
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, values := range r.md {
		for _, value := range values {
			size += len(key) + len(value)
		}
	}
	if size > maxSize {
		return errors.New("more than 16 KiB in one verification")
	}
	r.md = grpcmd.Join(r.md, md)
	return nil
}

// Metadata returns a copy of what was added, as gRPC metadata; nil for nothing.
func (r *Response) Metadata() grpcmd.MD {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.md) == 0 {
		return nil
	}
	return r.md.Copy()
}

// Header is Metadata as the header of an HTTP response.
func (r *Response) Header() http.Header {
	md := r.Metadata()
	if md == nil {
		return nil
	}
	header := make(http.Header, len(md))
	for key, values := range md {
		header[textproto.CanonicalMIMEHeaderKey(key)] = slices.Clone(values)
	}
	return header
}

// isKey reports whether key can be sent, and means nothing to gRPC.
func isKey(key string) bool {
	for i := range len(key) {
		if c := key[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return authmd.Forwardable(key) && !strings.HasSuffix(key, "-bin")
}

func isPrintable(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
