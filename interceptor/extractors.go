package interceptor

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

// extractor is an Extractor and, where it is a Source, the header it reads.
type extractor struct {
	authmd.Extractor

	source  authmd.Source // nil if it is none
	header  incoming.Name
	foreign bool // credentials are found by code that is not of package metadata
	naming  bool // sessions are named by such code
}

// maxExtractors is what a request has room for; authmd.Cookie takes several names.
const maxExtractors = 8

func parseExtractors(extractors []authmd.Extractor) ([]extractor, error) {
	if len(extractors) == 0 {
		return nil, errors.New("interceptor: WithExtractors needs at least one extractor")
	}
	if len(extractors) > maxExtractors {
		return nil, fmt.Errorf("interceptor: WithExtractors: %d extractors, want %d or fewer", len(extractors), maxExtractors)
	}
	parsed := make([]extractor, 0, len(extractors))
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
			parsed = append(parsed, extractor{e, source, incoming.NewName(source.Header()), foreign, foreign || wraps})
		default:
			parsed = append(parsed, extractor{Extractor: e, foreign: true})
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

// credentials appends what the extractor finds to dst. values are those of its header, if
// it is a Source.
func (e *extractor) credentials(
	ctx context.Context, h incoming.Headers, values []string, dst []authmd.Credential,
) ([]authmd.Credential, error) {
	if !e.foreign {
		return e.source.AppendCredentials(dst, values), nil
	}
	bounded, cancel := context.WithTimeout(ctx, cache.DefaultVerifyTimeout)
	defer cancel()
	found, err := catch.Call(bounded, func(context.Context) ([]authmd.Credential, error) {
		if e.source != nil {
			return e.source.AppendCredentials(nil, values), nil
		}
		token, ok := e.Extract(h.Full())
		if !ok || token == "" {
			return nil, nil
		}
		return []authmd.Credential{{Value: token, Token: token}}, nil
	})
	return append(dst, found...), err
}

// contradicts reports whether a header that holds one credential holds several. The
// same cookie twice is legal, and Authorization is looked at in any case.
func (e *extractor) contradicts(values []string) bool {
	return e.source != nil && e.header.Is != incoming.IsCookie && e.header.Is != incoming.IsAuthorization && ambiguous(values)
}

// ambiguous reports whether two parties could take two different credentials from the
// values of a header that holds one: they differ, or were joined.
func ambiguous(values []string) bool {
	for _, value := range values {
		if value != values[0] || strings.IndexByte(value, ',') >= 0 {
			return true
		}
	}
	return false
}

// appendNames appends what the session behind a token could be called.
func (e *extractor) appendNames(dst []string, token string) []string {
	if namer, ok := e.Extractor.(authmd.Namer); ok {
		return namer.AppendNames(dst, token)
	}
	return append(dst, authmd.PlainToken(token))
}
