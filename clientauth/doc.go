// Package clientauth is what a gRPC client sends so that a server knows who calls.
//
// A [Forwarder] carries the identity of a call's own caller on to the services that it
// calls in turn, for interceptor.NewGatewayAuth on the other side. [Credentials] send the
// token of a session that the client has itself, as a bearer token or as a cookie.
//
// Give the DialOptions of either, or of both, to grpc.NewClient, in any order.
//
// # Security
//
// Identities, secrets and tokens go over encrypted connections only, unless
// [WithInsecureTransport] is given. Nothing that the caller of a call put into its
// metadata under the same names goes along; a Forwarder keeps back the caller's own
// credentials, too. What is sent is sent by the connection, so that no interceptor of
// another package can drop or replace it.
//
// # Errors
//
// A call that cannot be made as it should be fails before anything is sent, with a
// status of fixed text and a reason of package reason. errors.Unwrap finds the cause.
package clientauth
