package interceptor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// makeKey computes the cache key of a call. Its parts are, for each extractor, each
// credential that the verifier sees though no extractor took it, and each named header,
// how many values there are and the values, and at last what WithKeyContext adds: any
// request's parts can be read back in one way only.
func (a *Authenticator) makeKey(ctx context.Context, r *request, own []string) *refusal.Refusal {
	var space [12]string
	parts, size, taken := space[:0], 0, false
	add := func(values []string) {
		parts = append(parts, strconv.Itoa(len(values)))
		for _, value := range values {
			size += len(value)
			parts = append(parts, value)
		}
	}
	at := 0
	for i := range a.extractors {
		first := at
		for at < len(r.found) && r.found[at].by == i {
			at++
		}
		parts = append(parts, strconv.Itoa(at-first))
		for _, f := range r.found[first:at] {
			size += len(f.Value)
			parts = append(parts, f.Value)
		}
		switch e := &a.extractors[i]; {
		case e.header == authorization:
			taken = taken || at > first
		case at == first && !a.restricted && e.source != nil && e.header != cookie:
			add(r.headers.values(e.header)) // which the extractor could not read, but a verifier may
		}
	}
	if !a.restricted {
		if !taken {
			add(own)
		}
		if !a.readsCookies {
			add(r.headers.values(cookie))
		}
	}
	for _, name := range a.keyHeaders {
		add(r.headers.values(name))
	}
	if size > maxKeyed {
		return refusal.InvalidSession
	}
	if a.carry != nil {
		var part string
		r.carried, part = a.carry(ctx, context.Background())
		parts = append(parts, part)
	}
	r.key = cache.NewKey(parts...)
	return nil
}

func parseKeyHeaders(names []string) ([]headerName, error) {
	parsed := make([]headerName, 0, len(names))
	var errs []error
	for _, name := range names {
		h := newHeaderName(name)
		switch {
		case h != host && !authmd.Forwardable(name):
			errs = append(errs, fmt.Errorf("interceptor: WithKeyHeaders: %q is never in the header of a request", name))
		case !slices.Contains(parsed, h):
			parsed = append(parsed, h)
		}
	}
	return parsed, errors.Join(errs...)
}

// tagger makes the tags by which sessions are forgotten: digests under a key that others
// do not know, so that nobody can aim at a tag or guess what is behind one.
type tagger [sha256.Size]byte

// The kinds of name that a session can be forgotten by.
const (
	tokenName   = 't'
	sessionName = 'i'
	subjectName = 's'
)

func (k *tagger) tag(kind byte, name string) cache.Tag {
	buf := make([]byte, 0, len(k)+1+len(name))
	buf = append(append(append(buf, k[:]...), kind), name...)
	digest := sha256.Sum256(buf)
	return cache.Tag(digest[:len(cache.Tag{})])
}

// tokenTags returns the tags of a token, by whichever extractor it came.
func (a *Authenticator) tokenTags(token string) []cache.Tag {
	var names []string
	for i := range a.extractors {
		names = a.extractors[i].appendNames(names, token)
	}
	return a.tagsOf(names)
}

// tags returns the tags of the credentials of a request.
func (a *Authenticator) tags(r *request) []cache.Tag {
	var names []string
	for _, f := range r.found {
		if f.Token != "" {
			names = a.extractors[f.by].appendNames(names, f.Token)
		}
	}
	return a.tagsOf(names)
}

func (a *Authenticator) tagsOf(names []string) []cache.Tag {
	slices.Sort(names)
	names = slices.Compact(names)
	tags := make([]cache.Tag, 0, len(names)+2) // a session and a subject may follow
	for _, name := range names {
		if name != "" {
			tags = append(tags, a.tagger.tag(tokenName, name))
		}
	}
	return tags
}
