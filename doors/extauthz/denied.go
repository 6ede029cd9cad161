package extauthz

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
)

// protocol is what a client speaks.
type protocol uint8

const (
	speaksHTTP protocol = iota
	speaksGRPC
	speaksGRPCWeb // where Envoy has no filter for it in front, which makes it gRPC
)

// contentTypes are those of refusals.
var contentTypes = map[protocol]string{
	speaksHTTP: refusal.ProblemType, speaksGRPC: "application/grpc", speaksGRPCWeb: "application/grpc-web+proto",
}

// protocolOf tells the protocol of a client as Envoy does: by the beginning of the content type.
func protocolOf(contentType []string) protocol {
	if len(contentType) == 0 {
		return speaksHTTP
	}
	rest, ok := strings.CutPrefix(contentType[0], "application/grpc")
	switch {
	case ok && (rest == "" || rest[0] == '+' || rest[0] == ';'):
		return speaksGRPC
	case strings.HasPrefix(rest, "-web") && ok:
		return speaksGRPCWeb
	}
	return speaksHTTP
}

// realm is that of WWW-Authenticate (RFC 9110 §11.5).
const realm = "session"

// maxDetails bounds the details of a status that a callback has given, in bytes: clients bound
// what they take as headers.
const maxDetails = 4 << 10

// deny refuses a request in the protocol of its client. header is what callbacks hand back.
//
// It is always a denial, for an outage too. An error_response would have Envoy let the request
// pass under failure_mode_allow.
func (s *Server) deny(q *request, err error, header http.Header) *authv3.CheckResponse {
	a := refusal.AnswerTo(err)
	denied := &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: envoyStatus(a.HTTP)}}
	headers := handedBack(header)
	set := func(name, value string) {
		headers = slices.DeleteFunc(headers, func(h *corev3.HeaderValueOption) bool { return h.GetHeader().GetKey() == name })
		headers = append(headers, headerOption(name, value, overwrite))
	}
	message := strings.ToValidUTF8(a.Message, "\uFFFD")
	switch q.speaks {
	case speaksGRPC, speaksGRPCWeb:
		// Trailers only. Envoy takes the status from these headers rather than from the code.
		denied.Status.Code = typev3.StatusCode_OK
		set(contentTypeKey, contentTypes[q.speaks])
		set("grpc-status", strconv.Itoa(int(a.Code)))
		set("grpc-message", percentEncoded(message))
		if details := encodedDetails(a.Status); details != "" {
			set("grpc-status-details-bin", details)
		}
	case speaksHTTP:
		a.HTTP, a.Message = int(denied.GetStatus().GetCode()), message
		denied.Body = string(a.Problem())
		set(contentTypeKey, contentTypes[q.speaks])
		set("cache-control", "no-store")
		set("x-content-type-options", "nosniff")
		if challenge := a.Challenge(realm); challenge != "" {
			set("www-authenticate", challenge)
		}
		if seconds := a.RetrySeconds(); seconds > 0 {
			set("retry-after", strconv.FormatInt(seconds, 10))
		}
	}
	denied.Headers = headers
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(a.Code)}, //nolint:gosec // a gRPC code, and never OK
		HttpResponse:    &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
		DynamicMetadata: deniedMetadata(&a, err),
	}
}

// encodedDetails returns the value of grpc-status-details-bin; empty for no details, or for more
// than a client may take.
func encodedDetails(st *status.Status) string {
	if len(st.Proto().GetDetails()) == 0 {
		return ""
	}
	details, err := proto.Marshal(st.Proto())
	if err != nil || len(details) > maxDetails {
		return ""
	}
	return base64.RawStdEncoding.EncodeToString(details)
}

// envoyStatus returns an HTTP status that Envoy takes: those that it knows.
func envoyStatus(code int) typev3.StatusCode {
	if known := typev3.StatusCode(code); typev3.StatusCode_name[int32(known)] != "" { //nolint:gosec // three digits
		return known
	}
	return typev3.StatusCode_ServiceUnavailable // 499: the client has gone, and nobody gets it
}

// percentEncoded is a grpc-message as gRPC has it: what is not printable ASCII as %XX.
func percentEncoded(message string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(message) {
		if c := message[i]; c < ' ' || c > '~' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&0xf])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
