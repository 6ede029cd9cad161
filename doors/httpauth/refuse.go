package httpauth

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// problem is the body of a refusal (RFC 9457).
type problem struct {
	Type   string        `json:"type"`
	Title  string        `json:"title"`
	Status int           `json:"status"`
	Detail string        `json:"detail"`
	Reason reason.Reason `json:"reason,omitempty"`
}

// defaultRetry is when a client may ask again if nobody has said when.
const defaultRetry = time.Second

// refuse answers a request that is refused with err.
func refuse(w http.ResponseWriter, realm string, err error) {
	a := refusal.AnswerTo(err)
	header := w.Header()
	if challenge := challengeOf(&a, realm); challenge != "" {
		header.Set("WWW-Authenticate", challenge)
	}
	if a.Code == codes.Unavailable || a.RetryAfter > 0 {
		delay := max(a.RetryAfter, defaultRetry)
		header.Set("Retry-After", strconv.FormatInt(int64((delay+time.Second-1)/time.Second), 10))
	}
	title := http.StatusText(a.HTTP)
	if title == "" {
		title = "Client Closed Request"
	}
	body, _ := json.Marshal(problem{"about:blank", title, a.HTTP, a.Message, a.Reason}) //nolint:errchkjson // strings and a number
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.HTTP)
	_, _ = w.Write(body)
}

// challengeOf returns the WWW-Authenticate of a refusal (RFC 6750 §3); "" for none. The
// messages in it are fixed texts; that of a callback's own status is not told here.
func challengeOf(a *refusal.Answer, realm string) string {
	challenge := `Bearer realm="` + realm + `"`
	switch {
	case a.Reason == reason.AccessDenied:
		return challenge + `, error="insufficient_scope", error_description="` + a.Message + `"`
	case a.Code != codes.Unauthenticated:
		return ""
	case a.Reason == reason.MissingCredentials:
		return challenge
	case a.Reason == reason.AmbiguousCredentials:
		return challenge + `, error="invalid_request", error_description="` + a.Message + `"`
	case a.Reason == "":
		return challenge + `, error="invalid_token"`
	}
	return challenge + `, error="invalid_token", error_description="` + a.Message + `"`
}
