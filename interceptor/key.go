package interceptor

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// makeKey computes the cache key of a call. Its parts are, for each extractor, each
// credential that the verifier sees though no extractor took it, and each named header,
// how many values there are and the values, and at last what WithKeyContext adds: any
// request's parts can be read back in one way only.
func (a *Authenticator) makeKey(ctx context.Context, r *request, own []string) *refusal.Refusal {
	var space [512]byte // an ordinary request's parts fit, and nothing is allocated
	parts, taken := space[:0], false
	for i := range a.extractors {
		credentials := r.foundBy(i)
		parts = binary.AppendUvarint(parts, uint64(len(credentials)))
		for j := range credentials {
			parts = appendPart(parts, credentials[j].Value)
		}
		switch e := &a.extractors[i]; {
		case e.Header.Is == incoming.IsAuthorization:
			taken = taken || len(credentials) > 0
		case len(credentials) == 0 && !a.restricted && e.Source != nil && e.Header.Is != incoming.IsCookie:
			parts = appendParts(parts, r.headers.Values(e.Header)) // which a verifier may read, if not the extractor
		}
	}
	if !a.restricted {
		if !taken {
			parts = appendParts(parts, own)
		}
		if !a.readsCookies {
			parts = appendParts(parts, r.headers.Values(incoming.Cookie))
		}
	}
	for _, name := range a.keyHeaders {
		parts = appendParts(parts, r.headers.Values(name))
	}
	if len(parts) > incoming.MaxKeyed {
		return refusal.InvalidSession
	}
	if a.carry != nil {
		var part string
		r.carried, part = a.carry(ctx, context.Background())
		parts = appendPart(parts, part)
	}
	r.key = sha256.Sum256(parts)
	return nil
}

// appendParts appends how many values there are, and the values.
func appendParts(parts []byte, values []string) []byte {
	parts = binary.AppendUvarint(parts, uint64(len(values)))
	for _, value := range values {
		parts = appendPart(parts, value)
	}
	return parts
}

// appendPart appends a value with its length in front. What is too much already is not
// added to: it is refused. Inlined wherever it is called, its temporaries would take a
// kilobyte of the stack, which every new goroutine would have to grow for.
//
//go:noinline
func appendPart(parts []byte, value string) []byte {
	if len(parts) > incoming.MaxKeyed {
		return parts
	}
	return append(binary.AppendUvarint(parts, uint64(len(value))), value...)
}

func parseKeyHeaders(names []string) ([]incoming.Name, error) {
	parsed := make([]incoming.Name, 0, len(names))
	var errs []error
	for _, name := range names {
		h := incoming.NewName(name)
		switch {
		case h != incoming.Host && !authmd.Forwardable(name):
			errs = append(errs, fmt.Errorf("interceptor: WithKeyHeaders: %q is never in the header of a request", name))
		case !slices.Contains(parsed, h):
			parsed = append(parsed, h)
		}
	}
	return parsed, errors.Join(errs...)
}

// tokenTags returns the tags of a token, by whichever extractor it came: those of the name
// that each extractor gives it, of several the most particular; and of the token itself, which
// may be that name already.
func (a *Authenticator) tokenTags(token string) []cache.Tag {
	names := []string{token, authmd.PlainToken(token)}
	for i := range a.extractors {
		if given := a.extractors[i].AppendNames(nil, token); len(given) > 0 {
			names = append(names, given[len(given)-1])
		}
	}
	tags := make([]cache.Tag, 0, len(names)*len(a.taggers))
	for i := range a.taggers {
		tags = append(tags, a.taggers[i].Tags(names)...)
	}
	return tags
}

// tags returns the tags of the credentials of a request.
func (a *Authenticator) tags(r *request) []cache.Tag {
	var names []string
	for i := range a.extractors {
		for _, c := range r.foundBy(i) {
			if c.Token != "" {
				names = a.extractors[i].AppendNames(names, c.Token)
			}
		}
	}
	return a.taggers[0].Tags(names)
}
