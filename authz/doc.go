// Package authz decides who may call what, behind an interceptor that says who calls.
//
// [New] returns an [Authorizer]. Register its [Authorizer.ServerOptions] after those of
// interceptor.NewSessionAuth or NewGatewayAuth. It decides by the options of .proto files
// ([WithProtoOptions]), by rules ([WithRules]), by a callback ([WithAuthorize]), and
// otherwise not at all. [Audit] reports at start-up what was forgotten.
//
// # Security
//
// Everything fails closed: what no rule allows is denied, a rule that forgot its effect
// or a list that came out empty makes New fail, and a callback that panics or is late
// denies. Decisions are made on each call and never remembered.
//
// # Errors
//
// A call without an identity is Unauthenticated, "missing credentials"; one that is denied
// is a [*DeniedError], which clients see as PermissionDenied "access denied".
package authz
