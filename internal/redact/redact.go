// Package redact cuts credentials out of texts that are recorded.
package redact

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

const (
	// maxText bounds a text that is recorded, in bytes.
	maxText = 2 << 10
	// maxWait bounds how long the methods of an error may take.
	maxWait = time.Second
	// replacement is what stands in place of a secret.
	replacement = "[redacted]"
	// unavailable is the text of an error whose method Error does not return.
	unavailable = "(its text could not be had)"
)

// Exception describes the cause of a failure with the secrets cut out: the errors
// of HTTP clients like to quote the URL. It is for a span that is recording, or a log: it
// costs more than the failure itself. What the methods of cause do harms nobody.
func Exception(cause error, secrets []string) telemetry.Exception {
	if cause == nil {
		return telemetry.Exception{}
	}
	described := make(chan telemetry.Exception, 1)
	go func() {
		defer close(described) // however it ends
		_ = catch.Protect(func() { described <- describe(cause, secrets) })
	}()
	select {
	case x, ok := <-described:
		if ok {
			return x
		}
	case <-time.After(maxWait):
	}
	return telemetry.Exception{Type: fmt.Sprintf("%T", cause), Message: unavailable}
}

func describe(cause error, secrets []string) telemetry.Exception {
	if panicked, ok := errors.AsType[*catch.PanicError](cause); ok {
		return telemetry.Exception{
			Type:    fmt.Sprintf("panic(%T)", panicked.Value),
			Message: Text(fmt.Sprint(panicked.Value), secrets),
			Stack:   Text(string(panicked.Stack), secrets),
		}
	}
	return telemetry.Exception{Type: fmt.Sprintf("%T", cause), Message: Text(cause.Error(), secrets)}
}

// Text replaces every secret in the first 2 KiB of text and leaves the rest out. What it
// returns has at most 2 KiB and an ellipsis, and is valid UTF-8, which exporters insist on.
//
// A secret is found in each of its [Forms], as it is, percent-encoded, and quoted as Go
// or JSON do. The text is read once for each of those, however many secrets there are.
func Text(text string, secrets []string) string {
	known := newForms(secrets)
	shown, cut := text[:min(len(text), maxText)], len(text) > maxText
	secret := make([]bool, len(shown)) // of each byte
	if known.longest > 0 {
		for _, v := range viewsOf(text, maxText+known.longest) { // what begins in the part that is shown is seen whole
			v.mark(secret, known)
		}
	}
	var kept strings.Builder
	for from := 0; from < len(shown) && kept.Len() <= maxText; {
		to := from
		for to < len(shown) && secret[to] == secret[from] {
			to++
		}
		if secret[from] {
			kept.WriteString(replacement)
		} else {
			kept.WriteString(strings.ToValidUTF8(shown[from:to], "\uFFFD"))
		}
		from = to
	}
	if text = kept.String(); len(text) > maxText {
		end := maxText
		for end > 0 && !utf8.RuneStart(text[end]) {
			end--
		}
		text, cut = text[:end], true
	}
	if cut {
		text += "…"
	}
	return text
}
