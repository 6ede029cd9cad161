// Package connectauth is the door of connectrpc.com: the same Authenticator, cache,
// Forget and rules as those of a gRPC server, in front of Connect handlers, whichever of
// Connect, gRPC and gRPC-Web a client speaks.
//
//	sessions, err := connectauth.NewInterceptor(auth)
//	if err != nil {
//		log.Fatal(err)
//	}
//	path, handler := notesv1connect.NewNotesServiceHandler(service, connect.WithInterceptors(sessions))
//
// # Where it stands
//
// Interceptors of Connect run when the first message has been read, as those of gRPC do for unary
// calls: bound it with connect.WithReadMaxBytes. A middleware of connectrpc.com/authn runs before
// that and beside this; each leaves the other's identity alone. Behind connectrpc.com/vanguard a
// handler needs this all the same.
package connectauth
