// Package authtest is for the tests of services behind this library: an identity in a
// context, a fake owner of sessions, and a server in memory.
//
// A test of a handler alone needs nothing but [NewContext]. A test of a server with its
// interceptors signs somebody in with [Owner], starts the server with [Start], and
// calls it with [WithBearer] or [WithCookie], or, behind a GatewayAuth, with
// [WithIdentity]. [Audit] fails a test when a server lets through what nobody meant to.
//
// It does not import the testing package: [TB] is the part of testing.TB that it needs.
package authtest

// TB is what this package asks of a [testing.TB].
//
// [testing.TB]: https://pkg.go.dev/testing#TB
type TB interface {
	Helper()
	Cleanup(f func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}
