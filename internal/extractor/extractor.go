// Package extractor runs the extractors of an Authenticator over the headers of requests,
// whoever wrote them.
package extractor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Extractor is an Extractor of package metadata and, where it is a Source, the header it reads.
type Extractor struct {
	authmd.Extractor

	Source authmd.Source // nil if it is none
	Header incoming.Name
	Naming bool // sessions are named by code that is not of package metadata

	foreign bool // credentials are found by such code
}

// Max is what a request has room for; authmd.Cookie takes several names.
const Max = 8

// Parse returns the extractors in their order. The error names each that cannot be used.
func Parse(extractors []authmd.Extractor) ([]Extractor, error) {
	if len(extractors) == 0 {
		return nil, errors.New("interceptor: WithExtractors needs at least one extractor")
	}
	if len(extractors) > Max {
		return nil, fmt.Errorf("interceptor: WithExtractors: %d extractors, want %d or fewer", len(extractors), Max)
	}
	parsed := make([]Extractor, 0, len(extractors))
	var errs []error
	for i, e := range extractors {
		source, ok := e.(authmd.Source)
		switch {
		case nils.Is(e):
			errs = append(errs, fmt.Errorf("interceptor: WithExtractors: extractor %d is nil", i+1))
		case ok && !authmd.Forwardable(source.Header()):
			errs = append(errs, fmt.Errorf(
				"interceptor: WithExtractors: extractor %d has no valid header or cookie name", i+1))
		case ok:
			_, wraps := source.(wrapper)
			foreign := isForeign(source)
			parsed = append(parsed, Extractor{e, source, incoming.NewName(source.Header()), foreign || wraps, foreign})
		default:
			parsed = append(parsed, Extractor{Extractor: e, foreign: true})
		}
	}
	return parsed, errors.Join(errs...)
}

// wrapper is what authmd.Named returns.
type wrapper interface{ Unwrap() authmd.Source }

// isForeign reports whether code that is neither of package metadata nor of the ready
// verifiers does the finding.
func isForeign(source authmd.Source) bool {
	from := reflect.TypeOf(source).PkgPath()
	if w, ok := source.(wrapper); ok && from == ownExtractors {
		return isForeign(w.Unwrap())
	}
	return from != ownExtractors && !strings.HasPrefix(from, readyVerifiers)
}

// Where the ready extractors are from.
var (
	ownExtractors  = reflect.TypeOf(authmd.Bearer()).PkgPath()
	readyVerifiers = strings.TrimSuffix(ownExtractors, "metadata") + "verify/"
)

// Credentials appends what the extractor finds to dst. values are those of its header, if
// it is a Source.
func (e *Extractor) Credentials(
	ctx context.Context, h incoming.Headers, values []string, dst []authmd.Credential,
) ([]authmd.Credential, error) {
	if !e.foreign {
		return e.Source.AppendCredentials(dst, values), nil
	}
	bounded, cancel := context.WithTimeout(ctx, cache.DefaultVerifyTimeout)
	defer cancel()
	found, err := catch.Call(bounded, func(context.Context) ([]authmd.Credential, error) {
		if e.Source != nil {
			return e.Source.AppendCredentials(nil, values), nil
		}
		token, ok := e.Extract(h.Full())
		if !ok || token == "" {
			return nil, nil
		}
		return []authmd.Credential{{Value: token, Token: token}}, nil
	})
	return append(dst, found...), err
}

// Contradicts reports whether a header that holds one credential holds several. The
// same cookie twice is legal, and Authorization is looked at in any case.
func (e *Extractor) Contradicts(values []string) bool {
	return e.Source != nil && e.Header.Is != incoming.IsCookie && e.Header.Is != incoming.IsAuthorization && Ambiguous(values)
}

// Ambiguous reports whether two parties could take two different credentials from the
// values of a header that holds one: they differ, or were joined.
func Ambiguous(values []string) bool {
	for _, value := range values {
		if value != values[0] || strings.IndexByte(value, ',') >= 0 {
			return true
		}
	}
	return false
}

// AppendNames appends what the session behind a token could be called.
func (e *Extractor) AppendNames(dst []string, token string) []string {
	if namer, ok := e.Extractor.(authmd.Namer); ok {
		return namer.AppendNames(dst, token)
	}
	return append(dst, authmd.PlainToken(token))
}
