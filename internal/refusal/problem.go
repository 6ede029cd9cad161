package refusal

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/reason"
)

// ProblemType is the Content-Type of what [Answer.Problem] returns.
const ProblemType = "application/problem+json"

// Problem is a as the body of an HTTP response (RFC 9457).
func (a *Answer) Problem() []byte {
	title := http.StatusText(a.HTTP)
	if title == "" {
		title = "Client Closed Request"
	}
	body, _ := json.Marshal(struct { //nolint:errchkjson // strings and a number
		Type   string        `json:"type"`
		Title  string        `json:"title"`
		Status int           `json:"status"`
		Detail string        `json:"detail"`
		Reason reason.Reason `json:"reason,omitempty"`
	}{"about:blank", title, a.HTTP, a.Message, a.Reason})
	return body
}

// Challenge is the WWW-Authenticate of a (RFC 6750 §3); "" for none. A request without
// credentials gets no error code, as told there. A message that would have to be quoted is
// left out: it is a callback's own.
func (a *Answer) Challenge(realm string) string {
	challenge := `Bearer realm="` + realm + `"`
	code := "invalid_token"
	switch {
	case a.Reason == reason.AccessDenied:
		code = "insufficient_scope"
	case a.Code != codes.Unauthenticated:
		return ""
	case a.Reason == reason.MissingCredentials:
		return challenge
	case a.Reason == reason.AmbiguousCredentials:
		code = "invalid_request"
	}
	challenge += `, error="` + code + `"`
	if a.Reason == "" || strings.ContainsFunc(a.Message, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return challenge
	}
	return challenge + `, error_description="` + a.Message + `"`
}

// RetrySeconds is the Retry-After of a in seconds, rounded up: the delay that was named, or
// one second where it is known only that it helps to try again; 0: none.
func (a *Answer) RetrySeconds() int64 {
	if a.Code != codes.Unavailable && a.RetryAfter <= 0 {
		return 0
	}
	return int64((max(a.RetryAfter, time.Second) + time.Second - 1) / time.Second)
}
