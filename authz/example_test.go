package authz_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/demo"
	notesv1 "github.com/grpc-sessionauth/sessionauth/internal/notes/v1"
)

// Those of the examples: see internal/demo.
var (
	verify     = demo.Verify
	mapSession = demo.MapSession
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
	conn, stop := demo.Dial(server)
	defer stop()
	ctx := context.Background()
	if token != "" {
		ctx = grpcmd.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	for _, method := range calls {
		note := &notesv1.Note{}
		err := conn.Invoke(ctx, "/notes.v1.Notes/"+method, note, note)
		fmt.Printf("%s: %s\n", method, demo.Describe(note.GetText(), err))
	}
}

// Rules are tried in order; a call that none of them allows is denied.
func ExampleNew() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	rules, err := authz.New(authz.WithRules(
		authz.Rule{
			Name: "admins", Methods: []string{"notes.v1.Notes/*"}, Roles: []string{"admin"},
			Effect: authz.Allow,
		},
		authz.Rule{
			Name: "readers", Methods: []string{"notes.v1.Notes/Read*"}, Scopes: []string{"notes:read"},
			Effect: authz.Allow,
		},
	))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(auth.ServerOptions(), rules.ServerOptions()...)...)
	callNotes(server, "token-of-bob", "Read")
	server = grpc.NewServer(append(auth.ServerOptions(), rules.ServerOptions()...)...)
	callNotes(server, "token-of-ada", "Read", "Purge")
	// Output:
	// Read: PermissionDenied: access denied
	// Read: a note
	// Purge: no notes
}

// Options in the .proto file decide, and the methods that it has public need no session.
func ExampleWithProtoOptions() {
	rules, err := authz.New(authz.WithProtoOptions(nil))
	if err != nil {
		log.Fatal(err)
	}
	auth, err := interceptor.NewSessionAuth(verify, mapSession,
		interceptor.WithSkipMethods(rules.PublicMethods()...))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(auth.ServerOptions(), rules.ServerOptions()...)...)
	callNotes(server, "token-of-eve", "Read", "Purge")
	server = grpc.NewServer(append(auth.ServerOptions(), rules.ServerOptions()...)...)
	callNotes(server, "", "About", "Read")
	// Output:
	// Read: a note
	// Purge: PermissionDenied: access denied
	// About: a service for notes
	// Read: Unauthenticated: missing credentials
}

// The callback is asked when no rule has decided.
func ExampleWithAuthorize() {
	rules, err := authz.New(authz.WithAuthorize(
		func(_ context.Context, caller *authcontext.AuthContext, fullMethod string) (bool, error) {
			return slices.Contains(caller.Roles, "superadmin") || fullMethod == "/notes.v1.Notes/Read", nil
		}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := authcontext.NewContext(context.Background(), &authcontext.AuthContext{Subject: "ada"})
	fmt.Println(rules.Authorize(ctx, "/notes.v1.Notes/Read"))
	fmt.Println(rules.Authorize(ctx, "/notes.v1.Notes/Purge"))
	// Output:
	// <nil>
	// rpc error: code = PermissionDenied desc = access denied
}

// What a server lets through is looked over at start-up.
func ExampleAudit() {
	auth, err := interceptor.NewSessionAuth(verify, mapSession)
	if err != nil {
		log.Fatal(err)
	}
	rules, err := authz.New(authz.WithRules(authz.Rule{
		Name: "readers", Methods: []string{"notes.v1.Drafts/List", "notes.v1.Drafts/Get"},
		Roles: []string{"reader"}, Effect: authz.Allow,
	}))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(append(auth.ServerOptions(), grpc.ChainUnaryInterceptor(rules.UnaryServerInterceptor()))...)
	notesv1.RegisterDraftsServer(server, notesv1.UnimplementedDraftsServer{})
	notesv1.RegisterNotesServer(server, notes{})
	if err := authz.Audit(server, auth, rules).Without(authz.NoRule).Err(); err != nil {
		fmt.Println(err) // log.Fatal in a program
	}
	// Output:
	// authz: notes.v1.Drafts/Get: this pattern of rule "readers" matches no method of the server
	// authz: Authorizer: none of its interceptors is in front of /notes.v1.Notes/Watch, one of 1 streams
}

// An interceptor in front of the Authorizer's learns which rule it was.
func ExampleDeniedError() {
	rules, err := authz.New(authz.WithRules(authz.Rule{
		Name: "admins", Methods: []string{"notes.v1.Notes/Purge"}, Roles: []string{"admin"}, Effect: authz.Allow,
	}))
	if err != nil {
		log.Fatal(err)
	}
	ctx := authcontext.NewContext(context.Background(), &authcontext.AuthContext{Subject: "bob"})
	err = rules.Authorize(ctx, "/notes.v1.Notes/Purge")
	if denied, ok := errors.AsType[*authz.DeniedError](err); ok {
		fmt.Println(denied.Method, "was denied by", denied.Rule)
		for _, unmet := range denied.Unmet {
			fmt.Printf("rule %s asks for any of the roles %q\n", unmet.Rule, unmet.AnyRole)
		}
	}
	// Output:
	// /notes.v1.Notes/Purge was denied by (default policy)
	// rule admins asks for any of the roles ["admin"]
}
