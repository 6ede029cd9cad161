package sessionauth_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	notesv1 "github.com/grpc-sessionauth/sessionauth/internal/notes/v1"
)

// notes is a service whose .proto file says who may call it.
type notes struct {
	notesv1.UnimplementedNotesServer
}

func (notes) About(context.Context, *notesv1.Note) (*notesv1.Note, error) {
	return &notesv1.Note{Text: "a service for notes"}, nil
}

func (notes) Read(context.Context, *notesv1.Note) (*notesv1.Note, error) {
	return &notesv1.Note{Text: "a note"}, nil
}

func (notes) Purge(context.Context, *notesv1.Note) (*notesv1.Note, error) {
	return &notesv1.Note{Text: "no notes"}, nil
}

// callNotes starts server in memory and calls it with a token.
func callNotes(server *grpc.Server, token string, calls ...string) {
	notesv1.RegisterNotesServer(server, notes{})
	conn, stop := dialForExample(server)
	defer stop()
	ctx := context.Background()
	if token != "" {
		ctx = grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	for _, method := range calls {
		note := &notesv1.Note{}
		err := conn.Invoke(ctx, "/notes.v1.Notes/"+method, note, note)
		fmt.Printf("%s: %s\n", method, describe(note.GetText(), err))
	}
}

// Rules are tried in order; a call that none of them allows is denied.
func ExampleNewAuthz() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	authz, err := interceptor.NewAuthz(interceptor.WithRules(
		interceptor.Rule{
			Name: "admins", Methods: []string{"notes.v1.Notes/*"}, Roles: []string{"admin"},
			Effect: interceptor.EffectAllow,
		},
		interceptor.Rule{
			Name: "readers", Methods: []string{"notes.v1.Notes/Read*"}, Scopes: []string{"notes:read"},
			Effect: interceptor.EffectAllow,
		},
	))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(auth.ServerOptions(), authz.ServerOptions()...)...)
	callNotes(server, "token-of-bob", "Read")
	server = grpc.NewServer(append(auth.ServerOptions(), authz.ServerOptions()...)...)
	callNotes(server, "token-of-ada", "Read", "Purge")
	// Output:
	// Read: PermissionDenied: access denied
	// Read: a note
	// Purge: no notes
}

// Options in the .proto file decide, and the methods that it has public need no session.
func ExampleWithProtoOptions() {
	authz, err := interceptor.NewAuthz(interceptor.WithProtoOptions(nil))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(verify, mapSession,
		interceptor.WithSkipMethods(authz.PublicMethods()...))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(auth.ServerOptions(), authz.ServerOptions()...)...)
	callNotes(server, "token-of-eve", "Read", "Purge")
	server = grpc.NewServer(append(auth.ServerOptions(), authz.ServerOptions()...)...)
	callNotes(server, "", "About", "Read")
	// Output:
	// Read: a note
	// Purge: PermissionDenied: access denied
	// About: a service for notes
	// Read: Unauthenticated: missing credentials
}

// The callback is asked when no rule has decided.
func ExampleWithAuthorize() {
	authz, err := interceptor.NewAuthz(interceptor.WithAuthorize(
		func(_ context.Context, caller *authcontext.AuthContext, fullMethod string) (bool, error) {
			return slices.Contains(caller.Roles, "superadmin") || fullMethod == "/notes.v1.Notes/Read", nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := authcontext.NewContext(context.Background(), &authcontext.AuthContext{Subject: "ada"})
	fmt.Println(authz.Authorize(ctx, "/notes.v1.Notes/Read"))
	fmt.Println(authz.Authorize(ctx, "/notes.v1.Notes/Purge"))
	// Output:
	// <nil>
	// rpc error: code = PermissionDenied desc = access denied
}

// What a server lets through is looked over at start-up.
func ExampleAudit() {
	authz, err := interceptor.NewAuthz(interceptor.WithRules(interceptor.Rule{
		Name: "readers", Methods: []string{"notes.v1.Drafts/List", "notes.v1.Drafts/Get"},
		Roles: []string{"reader"}, Effect: interceptor.EffectAllow,
	}))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(auth.ServerOptions(), authz.ServerOptions()...)...)
	notesv1.RegisterDraftsServer(server, notesv1.UnimplementedDraftsServer{})
	if err := interceptor.Audit(server, auth, authz).Err(); err != nil {
		fmt.Println(err) // log.Fatal in a program
	}
	// Output:
	// interceptor: notes.v1.Drafts/Get: this pattern of rule "readers" matches no method of the server
	// interceptor: /notes.v1.Drafts/Discard: no rule names it: the default policy, deny, decides about every call
}

// An interceptor in front of the Authorizer's learns which rule it was.
func ExampleDeniedError() {
	authz, err := interceptor.NewAuthz(interceptor.WithRules(interceptor.Rule{
		Name: "admins", Methods: []string{"notes.v1.Notes/Purge"}, Roles: []string{"admin"}, Effect: interceptor.EffectAllow,
	}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := authcontext.NewContext(context.Background(), &authcontext.AuthContext{Subject: "bob"})
	err = authz.Authorize(ctx, "/notes.v1.Notes/Purge")
	if denied, ok := errors.AsType[*interceptor.DeniedError](err); ok {
		fmt.Println(denied.Method, "was denied by", denied.Rule)
		for _, unmet := range denied.Unmet {
			fmt.Printf("rule %s asks for any of the roles %q\n", unmet.Rule, unmet.AnyRole)
		}
	}
	// Output:
	// /notes.v1.Notes/Purge was denied by (default policy)
	// rule admins asks for any of the roles ["admin"]
}
