package interceptor

import "github.com/grpc-sessionauth/sessionauth/internal/headername"

// ReadMetadataByCopy makes the interceptors read metadata as they would if
// grpc-go kept it in another way, until the returned func is called.
func ReadMetadataByCopy() (restore func()) {
	key := incomingKey
	incomingKey = nil
	return func() { incomingKey = key }
}

// ReadsMetadataInPlace reports whether they read it without copying.
func ReadsMetadataInPlace() bool { return incomingKey != nil }

// IsIdentityHeader and MatchMethod are for the fuzz targets.
var IsIdentityHeader = headername.IsIdentity
