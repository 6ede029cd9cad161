package httpauth

import (
	"net/http"
	"strconv"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// refuse answers a request that is refused with err.
func refuse(w http.ResponseWriter, realm string, err error) {
	a := refusal.AnswerTo(err)
	header := w.Header()
	if challenge := a.Challenge(realm); challenge != "" {
		header.Set("WWW-Authenticate", challenge)
	}
	if seconds := a.RetrySeconds(); seconds > 0 {
		header.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	body := a.Problem()
	header.Set("Content-Type", refusal.ProblemType)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.HTTP)
	_, _ = w.Write(body)
}
