// Package metadata turns the metadata of an incoming gRPC call into an
// [http.Header] that an HTTP session framework can read, and finds the
// credentials in it.
//
// Import it under another name beside grpc's own package; this project uses
// authmd. [Header] and [IncomingHeader] convert, an [Extractor] finds a token:
// [Bearer], [Cookie], [CookieHeader] and [HeaderToken] are ready to pass to
// interceptor.WithExtractors.
//
// # Security
//
// The header that comes out holds no pseudo-header, no hop-by-hop name and no
// value with CR, LF or NUL, and nothing that would mislead a session endpoint about
// its own client or request, such as X-Forwarded-For or Range, so it can be sent on to
// one as it is. Those are had by name, from [Values]. What a client sent is measured
// with [Raw] and [Size] before it is joined or copied. A cookie or an authorization that grpc-gateway renamed takes its native
// place only when that place is empty. Two parties that disagree about which of
// two credentials counts are how identities get mixed up, so what is ambiguous
// is kept visible rather than resolved: see [Header].
package metadata
