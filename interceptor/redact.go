package interceptor

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

// maxCause bounds the text of a cause on a span, in bytes.
const maxCause = 2 << 10

// exception describes the cause of a failure with the secrets cut out: the errors
// of HTTP clients like to quote the URL.
func exception(cause error, secrets []string) telemetry.Exception {
	if cause == nil {
		return telemetry.Exception{}
	}
	if panicked, ok := errors.AsType[*cache.PanicError](cause); ok {
		return telemetry.Exception{
			Type:    fmt.Sprintf("panic(%T)", panicked.Value),
			Message: redact(fmt.Sprint(panicked.Value), secrets),
			Stack:   redact(string(panicked.Stack), secrets),
		}
	}
	return telemetry.Exception{Type: fmt.Sprintf("%T", cause), Message: redact(cause.Error(), secrets)}
}

// redact replaces every secret in text, as it is and as URLs and Go quote it.
func redact(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		quoted := strconv.Quote(secret)
		forms = append(forms, secret, url.QueryEscape(secret), url.PathEscape(secret), quoted[1:len(quoted)-1])
		if plain, err := url.PathUnescape(secret); err == nil {
			forms = append(forms, plain)
		}
		if plain, err := url.QueryUnescape(secret); err == nil {
			forms = append(forms, plain)
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		if form != "" {
			pairs = append(pairs, form, "[redacted]")
		}
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "…"
	}
	return text
}
