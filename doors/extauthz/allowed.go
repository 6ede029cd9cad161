package extauthz

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"golang.org/x/net/http/httpguts"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

const (
	overwrite = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
	add       = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
)

func headerOption(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: action}
}

// allow lets a request pass as that of caller, nil for nobody. header is what callbacks hand
// back.
//
// Envoy removes headers after it has set others, so none is in both lists.
func (s *Server) allow(q *request, caller *authcontext.AuthContext, header http.Header) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{ResponseHeadersToAdd: handedBack(header)}
	written := map[string]string{}
	if caller != nil {
		var err error
		if written, err = authcontext.EncodeHeader(caller, s.claims...); err != nil {
			return s.deny(q, refusal.IdentityNotForwarded, header)
		}
	}
	if s.tell != nil {
		written[s.secret.Header] = s.tell()
	}
	if kept := s.keptCookies(q.header[cookieKey]); kept != "" {
		written[cookieKey] = kept
	}
	ok.Headers = make([]*corev3.HeaderValueOption, 0, len(written))
	for name, value := range written {
		ok.Headers = append(ok.Headers, headerOption(name, value, overwrite))
	}
	ok.HeadersToRemove = make([]string, 0, len(s.removed)+len(s.withheld))
	for _, name := range s.removed {
		if _, is := written[name]; !is {
			ok.HeadersToRemove = append(ok.HeadersToRemove, name)
		}
	}
	for key := range q.header {
		if _, is := written[key]; is || !s.hides(key) || slices.Contains(s.removed, key) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(key) { // Envoy could not remove it
			return s.deny(q, refusal.MalformedIdentity, header)
		}
		ok.HeadersToRemove = append(ok.HeadersToRemove, key)
	}
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: s.allowedMetadata(caller),
	}
}

// keptCookies returns those cookies that the upstream gets, as one line.
func (s *Server) keptCookies(lines []string) string {
	if len(s.cookies) == 0 {
		return ""
	}
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			pair = strings.TrimSpace(pair)
			if name, _, _ := strings.Cut(pair, "="); slices.Contains(s.cookies, name) && httpguts.ValidHeaderFieldValue(pair) {
				kept = append(kept, pair)
			}
		}
	}
	return strings.ToValidUTF8(strings.Join(kept, "; "), "\uFFFD")
}

// handedBack returns the response header of callbacks as Envoy takes it.
func handedBack(header http.Header) []*corev3.HeaderValueOption {
	if len(header) == 0 {
		return nil
	}
	var options []*corev3.HeaderValueOption
	for name, values := range header {
		for _, value := range values {
			options = append(options, headerOption(strings.ToLower(name), value, add))
		}
	}
	return options
}

// What dynamic metadata says, in the namespace envoy.filters.http.ext_authz.
const (
	metadataResult  = "result"  // "allowed" or "denied"
	metadataReason  = "reason"  // of a refusal; absent for a status of a callback's own
	metadataRule    = "rule"    // of an Authorizer that denied
	metadataSubject = "subject" // of an identity, with WithSubjectMetadata
)

func (s *Server) allowedMetadata(caller *authcontext.AuthContext) *structpb.Struct {
	fields := map[string]*structpb.Value{metadataResult: structpb.NewStringValue("allowed")}
	if s.subject && caller != nil {
		fields[metadataSubject] = structpb.NewStringValue(strings.ToValidUTF8(caller.Subject, "\uFFFD"))
	}
	return &structpb.Struct{Fields: fields}
}

func deniedMetadata(a *refusal.Answer, err error) *structpb.Struct {
	fields := map[string]*structpb.Value{metadataResult: structpb.NewStringValue("denied")}
	if a.Reason != "" {
		fields[metadataReason] = structpb.NewStringValue(strings.ToValidUTF8(string(a.Reason), "\uFFFD"))
	}
	if denied, ok := errors.AsType[*authz.DeniedError](err); ok {
		fields[metadataRule] = structpb.NewStringValue(strings.ToValidUTF8(denied.Rule, "\uFFFD"))
	}
	return &structpb.Struct{Fields: fields}
}
