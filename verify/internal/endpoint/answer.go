package endpoint

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// maxDelay bounds the delay that an endpoint names.
const maxDelay = time.Hour

// JSON decodes the body of an answer, which must be JSON and say so. The error wraps
// [interceptor.ErrUnavailable].
func (c *Client) JSON(a *Answer, v any) error {
	if !IsJSON(a.Header.Get("Content-Type")) {
		return c.Unavailable("the endpoint did not answer with JSON")
	}
	if json.Unmarshal(a.Body, v) != nil { // the error would quote the body
		return c.Unavailable("the JSON of the endpoint is not that of a session")
	}
	return nil
}

// IsJSON reports whether a Content-Type is that of JSON.
func IsJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// HandBack hands the cookies in an answer that are ours, by their names, to the client
// of the call that caused the verification of ctx. The error wraps
// [interceptor.ErrUnavailable].
func (c *Client) HandBack(ctx context.Context, a *Answer, ours func(cookie string) bool) error {
	var kept []string
	for _, line := range a.Header.Values("Set-Cookie") {
		if cookie, _, _ := strings.Cut(line, "="); ours(strings.TrimSpace(cookie)) {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	if interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": kept}) != nil {
		return c.Unavailable("the Set-Cookie of the endpoint cannot be handed on")
	}
	return nil
}

// retryAfter returns the delay of Retry-After (RFC 9110 §10.2.3), or of
// X-Retry-After, which better-auth sends in its place. 0: none.
func retryAfter(header http.Header, now time.Time) time.Duration {
	for _, name := range [...]string{"Retry-After", "X-Retry-After"} {
		value := strings.TrimSpace(header.Get(name))
		if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
			return min(time.Duration(seconds)*time.Second, maxDelay)
		}
		if at, err := http.ParseTime(value); err == nil && at.After(now) {
			return min(at.Sub(now), maxDelay)
		}
	}
	return 0
}

// describe says what went wrong without a word of what was sent or received: the
// errors of net/http quote the URL, and the answer where it is not HTTP.
func describe(err error) string {
	var netErr net.Error
	var operation *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errTooLarge), errors.Is(err, io.ErrUnexpectedEOF):
		return cause(err).Error()
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "the endpoint did not answer in time"
	case errors.As(err, &operation):
		return operation.Error()
	case errors.As(err, &certificate):
		return certificate.Error()
	case errors.Is(err, io.EOF):
		return "the endpoint closed the connection"
	case errors.Is(err, http.ErrSchemeMismatch):
		return http.ErrSchemeMismatch.Error()
	}
	return fmt.Sprintf("the request failed: %T", cause(err))
}

// cause returns the innermost error.
func cause(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}
