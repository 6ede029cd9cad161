package metadata

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	grpcmd "google.golang.org/grpc/metadata"
)

const (
	cookieHeader     = "Cookie"
	cookieKey        = "cookie"
	authorizationKey = "authorization"
	connectionKey    = "connection"
	binarySuffix     = "-bin"
	gatewayPrefix    = "grpcgateway-"
)

// unforwardable names the headers that describe one hop or one message body:
// the connection fields of RFC 9110 §7.6.1, and what would misdescribe the
// request that a verifier makes of its own.
var unforwardable = map[string]bool{
	"accept-encoding":     true,
	"connection":          true,
	"content-encoding":    true,
	"content-length":      true,
	"content-type":        true,
	"expect":              true,
	"host":                true,
	"keep-alive":          true,
	"proxy-authenticate":  true,
	"proxy-authorization": true,
	"proxy-connection":    true,
	"te":                  true,
	"trailer":             true,
	"transfer-encoding":   true,
	"upgrade":             true,
}

// byNameOnly names the headers that describe the client's way here, or what the client
// asked of this server's resource. A session endpoint that took them for its own client's
// would believe an address that anybody can write, run another method, or answer with
// half a session or none. So does every name that begins as one of byNamePrefixes.
var byNameOnly = map[string]bool{
	// who sent it, and through whom (RFC 7239, RFC 9110 §7.6, RFC 9440)
	"cdn-loop": true, "cf-connecting-ip": true, "client-cert": true, "client-cert-chain": true, "client-ip": true,
	"fastly-client-ip": true, "forwarded": true, "true-client-ip": true, "via": true, "x-client-ip": true,
	"x-cluster-client-ip": true, "x-host": true, "x-original-host": true, "x-original-method": true, "x-original-uri": true,
	"x-original-url": true, "x-proxyuser-ip": true, "x-real-ip": true, "x-rewrite-url": true,
	// who a proxy in front says it is
	"remote-email": true, "remote-groups": true, "remote-name": true, "remote-user": true, "x-remote-group": true,
	"x-remote-user": true, "x-webauth-user": true,
	// another method than the one that is sent
	"x-http-method": true, "x-http-method-override": true, "x-method-override": true,
	// conditions, ranges and what else shapes one answer (RFC 9110 §13 and §14, RFC 9111, RFC 7240, RFC 9218)
	"cache-control": true, "early-data": true, "if-match": true, "if-modified-since": true, "if-none-match": true,
	"if-range": true, "if-unmodified-since": true, "pragma": true, "prefer": true, "priority": true, "range": true,
	// this connection (RFC 9110 §7.6.2, RFC 9113 §3.1, RFC 7838)
	"alt-used": true, "http2-settings": true, "max-forwards": true,
	// a message body that is not sent on
	"content-digest": true, "content-disposition": true, "content-language": true, "content-location": true, "content-md5": true,
	"content-range": true, "digest": true, "repr-digest": true, "want-content-digest": true, "want-repr-digest": true,
}

var byNamePrefixes = []string{"x-auth-request-", "x-envoy-", "x-forwarded-", "ssl-client-", "x-ssl-client-"}

// isByNameOnly reports whether a header, in lower case, passes only where it is named.
// Gateways to CGI and its heirs take "_" for "-", and some take "." for it.
func isByNameOnly(name string) bool {
	if strings.ContainsAny(name, "_.") {
		name = strings.NewReplacer("_", "-", ".", "-").Replace(name)
		if unforwardable[name] {
			return true
		}
	}
	return byNameOnly[name] || slices.ContainsFunc(byNamePrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Header converts gRPC metadata to an [http.Header].
//
// Keys are canonicalised. The values of cookie are joined with "; " into one
// line (RFC 9113 §8.2.3). Values of -bin keys, which grpc-go hands over decoded,
// are encoded again as unpadded base64, their form on the wire. Left out are
// keys that begin with ":" or "grpc-", names that are no HTTP field name,
// hop-by-hop names (RFC 9110 §7.6.1, those that Connection lists included), the
// names that describe the gRPC message rather than the caller (Content-Type and
// its like, Accept-Encoding, Expect, Host), and every value with CR, LF or NUL.
//
// Left out as well, but had from [Values] or [CleanValues] by their names, are those that
// would mislead a session endpoint about its own client and request: X-Forwarded-*,
// Forwarded, X-Real-Ip, Via and what else tells addresses, hosts and client certificates,
// Remote-User and its like, X-HTTP-Method-Override, conditions (If-*), Range,
// Cache-Control, Content-*, HTTP2-Settings, Max-Forwards, and all of these spelled with
// "_" or "." for "-". Name the one that you need with interceptor.WithKeyHeaders.
//
// The grpcgateway-cookie and grpcgateway-authorization of grpc-gateway become
// Cookie and Authorization when the native one is absent, and are left out when
// they say the same. When they differ both stay, each under its own name: a
// request like that is ambiguous, and the interceptor refuses it. A native one whose
// values are all left out is not absent.
//
// md is not modified, and the header shares no memory with it. The header is
// never nil.
func Header(md grpcmd.MD) http.Header {
	return convert(md, false)
}

// IncomingHeader is [Header] of the metadata of the incoming call that ctx
// belongs to. It is empty when there is none.
func IncomingHeader(ctx context.Context) http.Header {
	md, _ := grpcmd.FromIncomingContext(ctx)
	return Header(md)
}

// Clean does for the header of an HTTP request what [Header] does for gRPC
// metadata; -bin values are in their wire form already and stay as they are.
// header is not modified, and the result shares no memory with it.
func Clean(header http.Header) http.Header {
	return convert(header, true)
}

// Forwardable reports whether a header of this name, in any case, can come out of
// [Values]: out of [Header] too, but for those that pass only where they are named.
func Forwardable(name string) bool {
	name = strings.ToLower(name)
	return isToken(name) && !strings.HasPrefix(name, "grpc-") && !unforwardable[name]
}

func convert(source map[string][]string, wire bool) http.Header {
	var hop []string
	for key, values := range source {
		if strings.EqualFold(key, connectionKey) {
			hop = nominated(hop, values)
		}
	}
	header := make(http.Header, len(source))
	var present []string // of those that grpc-gateway renames
	for key, values := range source {
		lower := strings.ToLower(key)
		if len(values) == 0 || !Forwardable(lower) || isByNameOnly(lower) || slices.Contains(hop, lower) {
			continue
		}
		if lower == authorizationKey || lower == cookieKey {
			present = append(present, lower)
		}
		if cleaned := cleanValues(lower, values, wire); len(cleaned) > 0 {
			name := textproto.CanonicalMIMEHeaderKey(lower)
			header[name] = append(header[name], cleaned...)
		}
	}
	settle(header, "Authorization", slices.Contains(present, authorizationKey))
	settle(header, cookieHeader, slices.Contains(present, cookieKey))
	return header
}

// settle decides between a header and the name grpc-gateway gave it.
func settle(header http.Header, name string, present bool) {
	const prefix = "Grpcgateway-"
	if name == cookieHeader {
		joinCookies(header, name)
		joinCookies(header, prefix+name)
	}
	renamed, ok := header[prefix+name]
	if !ok {
		return
	}
	if !present {
		header[name] = renamed
	}
	if slices.Equal(header[name], renamed) {
		delete(header, prefix+name)
	}
}

func joinCookies(header http.Header, name string) {
	if values := header[name]; len(values) > 1 {
		header[name] = []string{strings.Join(values, "; ")}
	}
}

// cleanValues drops the values that must not come out, encodes binary ones and
// joins cookies. It copies only when it has to.
func cleanValues(key string, values []string, wire bool) []string {
	binary := !wire && strings.HasSuffix(key, binarySuffix)
	if binary || slices.ContainsFunc(values, smuggles) {
		kept := make([]string, 0, len(values))
		for _, value := range values {
			if binary {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			if !smuggles(value) {
				kept = append(kept, value)
			}
		}
		values = kept
	}
	if key == cookieKey && len(values) > 1 {
		return []string{strings.Join(values, "; ")}
	}
	return values
}

// smuggles reports whether value could end a header line early. Three searches
// for one byte are several times faster than one pass over the string.
func smuggles(value string) bool {
	return strings.IndexByte(value, '\r') >= 0 || strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, 0) >= 0
}

// isToken reports whether name is a field name (RFC 9110 §5.6.2).
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}
