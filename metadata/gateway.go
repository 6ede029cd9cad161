package metadata

import "strings"

// GatewayIncomingHeader is a header matcher for grpc-gateway, for its
// WithIncomingHeaderMatcher: Cookie and Origin reach the server under their own
// names, and nothing else does but Authorization, which the gateway always passes
// on. To let more through, ask another matcher when this one says no:
//
//	func(name string) (string, bool) {
//		if key, ok := authmd.GatewayIncomingHeader(name); ok {
//			return key, ok
//		}
//		return runtime.DefaultHeaderMatcher(name)
//	}
//
// name is in any case.
func GatewayIncomingHeader(name string) (key string, ok bool) {
	lower := strings.ToLower(name)
	if lower != cookieKey && lower != "origin" {
		return "", false
	}
	return lower, true
}

// GatewayOutgoingHeader is a header matcher for grpc-gateway, for its
// WithOutgoingHeaderMatcher: what a verifier hands back reaches the browser as a real
// Set-Cookie. Other metadata gets the prefix Grpc-Metadata-, as it does without a
// matcher. key is in any case.
func GatewayOutgoingHeader(key string) (name string, ok bool) {
	if strings.EqualFold(key, "set-cookie") {
		return "Set-Cookie", true
	}
	return "Grpc-Metadata-" + key, true
}
