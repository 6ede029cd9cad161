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
	cookieHeader  = "Cookie"
	cookieKey     = "cookie"
	binarySuffix  = "-bin"
	gatewayPrefix = "grpcgateway-"
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
// The grpcgateway-cookie and grpcgateway-authorization of grpc-gateway become
// Cookie and Authorization when the native one is absent, and are left out when
// they say the same. When they differ both stay, each under its own name: a
// request like that is ambiguous, and the interceptor refuses it.
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

// Values returns what [Header] would hold for one key, without converting the
// rest. key is in lower case, as are the keys of md. The result may share memory
// with md: it must not be modified.
func Values(md grpcmd.MD, key string) []string {
	switch key {
	case "authorization", cookieKey:
		if values := cleanValues(key, md[key], false); len(values) > 0 {
			return values
		}
		return cleanValues(key, md[gatewayPrefix+key], false)
	case gatewayPrefix + "authorization", gatewayPrefix + cookieKey:
		alias := md[key]
		if len(alias) == 0 {
			return nil
		}
		native := strings.TrimPrefix(key, gatewayPrefix)
		renamed := cleanValues(native, alias, false)
		own := cleanValues(native, md[native], false)
		if len(own) == 0 || slices.Equal(own, renamed) {
			return nil
		}
		return renamed
	}
	if !Forwardable(key) {
		return nil
	}
	return cleanValues(key, md[key], false)
}

// Forwardable reports whether a header of this name, in any case, can come out
// of [Header].
func Forwardable(name string) bool {
	name = strings.ToLower(name)
	return isToken(name) && !strings.HasPrefix(name, "grpc-") && !unforwardable[name]
}

func convert(source map[string][]string, wire bool) http.Header {
	header := make(http.Header, len(source))
	for key, values := range source {
		lower := strings.ToLower(key)
		if !Forwardable(lower) {
			continue
		}
		if cleaned := cleanValues(lower, values, wire); len(cleaned) > 0 {
			name := textproto.CanonicalMIMEHeaderKey(lower)
			header[name] = append(header[name], cleaned...)
		}
	}
	dropNominated(header, source)
	for _, name := range []string{"Authorization", cookieHeader} {
		settle(header, name)
	}
	return header
}

// dropNominated removes what the Connection field declares to be for this hop
// alone.
func dropNominated(header http.Header, source map[string][]string) {
	for key, values := range source {
		if !strings.EqualFold(key, "connection") {
			continue
		}
		for _, value := range values {
			for name := range strings.SplitSeq(value, ",") {
				header.Del(strings.TrimSpace(name))
			}
		}
	}
}

// settle decides between a header and the name grpc-gateway gave it.
func settle(header http.Header, name string) {
	const prefix = "Grpcgateway-"
	if name == cookieHeader {
		joinCookies(header, name)
		joinCookies(header, prefix+name)
	}
	renamed, ok := header[prefix+name]
	if !ok {
		return
	}
	native, ok := header[name]
	if !ok {
		header[name] = renamed
	}
	if !ok || slices.Equal(native, renamed) {
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
