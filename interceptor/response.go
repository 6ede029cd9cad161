package interceptor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// maxResponse bounds what one verification hands back, in bytes.
const maxResponse = 16 << 10

type responseKey struct{}

// response is what a verification hands back to the call that caused it. Each run of
// the callbacks has its own, so that one that was abandoned speaks to nobody.
type response struct {
	mu sync.Mutex
	md grpcmd.MD
}

// SetResponseHeader hands a header, such as a session cookie that was refreshed, to
// the client of the call that caused a verification. It is for verify and map
// callbacks: ctx is the one that they got. The client gets it as header metadata, on
// errors too, along with what earlier calls handed back.
//
// It reaches that one call only: it is never cached, and those who wait for the same
// answer do not get it. Nobody gets it when there is no such call any more: when
// the caller gave up, in a refresh in the background, and when an open stream
// is verified again. [Authenticator.Authenticate] returns it.
//
// The error says which name or value cannot be sent as gRPC metadata, or that one
// verification hands back more than 16 KiB; nothing of header is then handed back.
// header is not modified or retained. It is safe to call concurrently.
func SetResponseHeader(ctx context.Context, header http.Header) error {
	md, size := make(grpcmd.MD, len(header)), 0
	for name, values := range header {
		key := strings.ToLower(name)
		if !isResponseKey(key) {
			return fmt.Errorf("interceptor: SetResponseHeader: %q cannot be sent as the name of gRPC metadata", name)
		}
		for _, value := range values {
			if !isPrintable(value) {
				return fmt.Errorf("interceptor: SetResponseHeader: a value of %q is not printable ASCII", name)
			}
			size += len(name) + len(value)
		}
		md.Append(key, values...)
	}
	r, ok := ctx.Value(responseKey{}).(*response)
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
	if size > maxResponse {
		return errors.New("interceptor: SetResponseHeader: more than 16 KiB in one verification")
	}
	r.md = grpcmd.Join(r.md, md)
	return nil
}

// responding returns a context whose callbacks can hand back to this call.
func (r *request) responding(ctx context.Context) context.Context {
	mine := new(response)
	r.response.Store(mine)
	return context.WithValue(ctx, responseKey{}, mine)
}

// respond sends the client what was handed back. A call that is not of gRPC has
// nowhere to send it.
func (r *request) respond(ctx context.Context) {
	mine := r.response.Load()
	if mine == nil {
		return
	}
	mine.mu.Lock()
	defer mine.mu.Unlock()
	_ = grpc.SetHeader(ctx, mine.md)
}

// responseHeader is what was handed back, for a caller that is not of gRPC.
func (r *request) responseHeader() http.Header {
	mine := r.response.Load()
	if mine == nil {
		return nil
	}
	mine.mu.Lock()
	defer mine.mu.Unlock()
	if len(mine.md) == 0 {
		return nil
	}
	header := make(http.Header, len(mine.md))
	for key, values := range mine.md {
		header[textproto.CanonicalMIMEHeaderKey(key)] = slices.Clone(values)
	}
	return header
}

// isResponseKey reports whether key can be sent, and means nothing to gRPC.
func isResponseKey(key string) bool {
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
