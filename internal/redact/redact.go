// Package redact cuts credentials out of texts that are recorded.
package redact

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

const (
	// maxText bounds a text that is recorded, in bytes, and maxLooked how much of one is
	// looked at: a secret that begins in the first has to be seen whole.
	maxText   = 2 << 10
	maxLooked = maxText + 16<<10
	// minSecret is the length from which the value of just any cookie is cut out: "1" and
	// "en" are no secrets, and a text without them says nothing any more.
	minSecret = 4
	// replacement is what stands in place of a secret.
	replacement = "[redacted]"
)

// Exception describes the cause of a failure with the secrets cut out: the errors
// of HTTP clients like to quote the URL. It is for a span that is recording, or a log: it
// costs more than the failure itself.
func Exception(cause error, secrets []string) telemetry.Exception {
	if cause == nil {
		return telemetry.Exception{}
	}
	if panicked, ok := errors.AsType[*catch.PanicError](cause); ok {
		return telemetry.Exception{
			Type:    fmt.Sprintf("panic(%T)", panicked.Value),
			Message: Text(text(func() string { return fmt.Sprint(panicked.Value) }), secrets),
			Stack:   Text(string(panicked.Stack), secrets),
		}
	}
	return telemetry.Exception{Type: fmt.Sprintf("%T", cause), Message: Text(text(cause.Error), secrets)}
}

// text calls a method of a user's error, which may panic.
func text(of func() string) string {
	said, err := catch.Protect(func() (string, error) { return of(), nil })
	if err != nil {
		return "(its text could not be had)"
	}
	return said
}

// Text replaces every secret in text, in whichever of its [Forms], and cuts what is left
// to 2 KiB of valid UTF-8. What stands in place of one secret is never taken for another,
// so the text grows no further than by that.
func Text(text string, secrets []string) string {
	cut := len(text) > maxLooked
	if cut {
		text = text[:maxLooked]
	}
	var forms []string
	for _, secret := range secrets {
		forms = Forms(forms, secret)
	}
	slices.Sort(forms)
	secret := make([]bool, len(text)) // of each byte of text
	for _, form := range slices.Compact(forms) {
		for at := 0; form != ""; {
			found := strings.Index(text[at:], form)
			if found < 0 {
				break
			}
			for i := range len(form) {
				secret[at+found+i] = true
			}
			at += found + len(form)
		}
	}
	var kept strings.Builder
	for i := 0; i < len(text) && kept.Len() <= maxText; i++ {
		switch {
		case !secret[i]:
			kept.WriteByte(text[i])
		case i == 0 || !secret[i-1]:
			kept.WriteString(replacement)
		}
	}
	text = kept.String()
	if cut || len(text) > maxText {
		text = strings.ToValidUTF8(text[:min(len(text), maxText)], "") + "…"
	}
	return text
}

// Forms appends every spelling of a secret that could turn up in a text to dst: as it
// is, as URLs and Go quote it, without its own quotes or escapes, and, where it seems to
// be signed, without the signature.
func Forms(dst []string, secret string) []string {
	for _, plain := range plainForms(secret) {
		quoted := strconv.Quote(plain)
		dst = append(dst, plain, url.QueryEscape(plain), url.PathEscape(plain), quoted[1:len(quoted)-1])
	}
	return dst
}

func plainForms(secret string) []string {
	secret = strings.TrimSpace(secret)
	forms := []string{secret}
	bare := strings.TrimSuffix(strings.TrimPrefix(secret, `"`), `"`)
	forms = append(forms, bare)
	if plain, err := url.PathUnescape(bare); err == nil {
		bare = plain
		forms = append(forms, plain)
	}
	if plain, err := url.QueryUnescape(bare); err == nil {
		forms = append(forms, plain)
	}
	if dot := strings.LastIndexByte(bare, '.'); dot >= minSecret {
		token := strings.TrimPrefix(bare[:dot], "s:")
		forms = append(forms, bare[:dot], token)
	}
	return forms
}

// Cookies appends what of a Cookie header's line may be secret to dst: the values of its cookies.
func Cookies(dst []string, line string) []string {
	for pair := range strings.SplitSeq(line, ";") {
		if _, value, ok := strings.Cut(pair, "="); ok && len(strings.TrimSpace(value)) >= minSecret {
			dst = append(dst, strings.TrimSpace(value))
		}
	}
	return dst
}
