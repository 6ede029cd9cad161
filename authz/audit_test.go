package authz_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	notesv1 "github.com/grpc-sessionauth/sessionauth/internal/notes/v1"
)

// methods is a server with these, "pkg.Service/Method"; those that end in "~" are streams.
type methods []string

func (m methods) GetServiceInfo() map[string]grpc.ServiceInfo {
	info := map[string]grpc.ServiceInfo{}
	for _, full := range m {
		service, method, _ := strings.Cut(full, "/")
		name, stream := strings.CutSuffix(method, "~")
		i := info[service]
		i.Methods = append(i.Methods, grpc.MethodInfo{Name: name, IsServerStream: stream})
		info[service] = i
	}
	return info
}

func TestAuditFindsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	everything := authz.WithRules(authz.Rule{Name: "all", Methods: []string{"*"}, Effect: allow})
	one := authz.WithRules(authz.Rule{Name: "one", Methods: []string{"pkg.A/Get"}, Effect: allow})
	skip := func(names ...string) *authn { return &authn{skip: names} }
	both := func(a *authn) *authn { a.ServerOptions(); return a }
	all := func(a *authz.Authorizer) *authz.Authorizer { a.ServerOptions(); return a }
	for _, test := range []struct {
		name   string
		server methods
		authn  authz.Authn
		rules  *authz.Authorizer
		want   []string
	}{
		{"nothing is wrong", methods{"pkg.A/Get", "pkg.A/Watch~"}, both(&authn{}), all(newAuthz(t, everything)), nil},
		{"a method that no rule names", methods{"pkg.A/Get", "pkg.A/Set"}, both(&authn{}), all(newAuthz(t, one)), []string{
			"no rule|/pkg.A/Set: no rule names it: the default policy, deny, decides about every call",
		}},
		{"patterns that match nothing", methods{"pkg.A/Set"}, both(skip("pkg.B/*")), all(newAuthz(t, one, everything, authz.WithPublicMethods("pkg.C/X"))), []string{
			"no match|pkg.B/*: this pattern of WithSkipMethods matches no method of the server",
			"no match|pkg.C/X: this pattern of WithPublicMethods matches no method of the server",
			`no match|pkg.A/Get: this pattern of rule "one" matches no method of the server`,
		}},
		{"skipped and restricted", methods{"pkg.A/Get"}, both(skip("pkg.A/Get")), all(newAuthz(t, everything)), []string{
			"skipped and restricted|/pkg.A/Get: WithSkipMethods lets it through without an identity, and the Authorizer asks for one",
		}},
		{"public but authenticated", methods{"pkg.A/Get"}, both(&authn{}), all(newAuthz(t, everything, authz.WithPublicMethods("*"))), []string{
			"public but authenticated|/pkg.A/Get: the Authorizer has it public, and the Authenticator asks for a session: WithSkipMethods does not name it",
		}},
		{"public and optionally authenticated", methods{"pkg.A/Get"}, both(&authn{optional: true}), all(newAuthz(t, everything, authz.WithPublicMethods("*"))), nil},
		{"internal methods that something else authenticates", methods{"notes.v1.Notes/Reindex"}, both(skip("notes.v1.Notes/Reindex")), all(newAuthz(t, authz.WithProtoOptions(nil),
			authz.WithInternalCallers(func(context.Context, *authcontext.AuthContext) bool { return true }))), nil},
		{"streams without a stream interceptor", methods{"pkg.A/Get", "pkg.A/Watch~", "pkg.A/Chat~"}, func() *authn {
			a := &authn{}
			a.UnaryServerInterceptor()
			return a
		}(), func() *authz.Authorizer {
			a := newAuthz(t, everything)
			a.UnaryServerInterceptor()
			return a
		}(), []string{
			"no interceptor|Authenticator: its StreamServerInterceptor was never asked for, and /pkg.A/Chat is one of 2 methods that need it",
			"no interceptor|Authorizer: its StreamServerInterceptor was never asked for, and /pkg.A/Chat is one of 2 methods that need it",
		}},
		{"an Authorizer that is not in use", methods{"pkg.A/Get"}, &authn{}, newAuthz(t, everything), []string{
			"no interceptor|Authorizer: its UnaryServerInterceptor was never asked for, and /pkg.A/Get is one of 1 methods that need it",
		}},
		{"an Authenticator alone", methods{"pkg.A/Get"}, both(skip("pkg.A/Git")), nil, []string{
			"no match|pkg.A/Git: this pattern of WithSkipMethods matches no method of the server",
		}},
		{"an Authenticator that is nil", methods{"pkg.A/Get"}, (*authn)(nil), all(newAuthz(t, everything)), nil},
		{"services without descriptors", methods{"pkg.A/Get", "pkg.A/Set", "pkg.B/Get"}, nil, all(newAuthz(t, everything, authz.WithProtoOptions(nil))), []string{
			"no descriptor|pkg.A: no file that WithProtoOptions had when New read it describes this service",
			"no descriptor|pkg.B: no file that WithProtoOptions had when New read it describes this service",
		}},
		{"internal methods that nobody can call", methods{"notes.v1.Notes/Reindex", "notes.v1.Notes/Purge"}, nil, all(newAuthz(t, authz.WithProtoOptions(nil))), []string{
			"no internal callers|/notes.v1.Notes/Reindex: it is internal, and WithInternalCallers is not given: every call is denied",
		}},
		{"nothing at all", methods{"pkg.A/Get"}, nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			found := authz.Audit(test.server, test.authn, test.rules)
			for _, f := range found {
				got = append(got, string(f.Kind)+"|"+f.String())
			}
			if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			switch err := found.Err(); {
			case (err == nil) != (len(test.want) == 0):
				t.Error(err)
			case err != nil && strings.Count(err.Error(), "\n") != len(found)-1:
				t.Errorf("not one line a finding: %v", err)
			}
		})
	}
}

func TestAuditOfARealServerWithProtoOptions(t *testing.T) {
	t.Parallel()
	rules := newAuthz(t, authz.WithProtoOptions(nil),
		authz.WithInternalCallers(func(context.Context, *authcontext.AuthContext) bool { return false }))
	who := &authn{skip: rules.PublicMethods()}
	server := grpc.NewServer(append(who.ServerOptions(), rules.ServerOptions()...)...)
	notesv1.RegisterNotesServer(server, notesv1.UnimplementedNotesServer{})
	if found := authz.Audit(server, who, rules); len(found) != 0 {
		t.Errorf("everything is annotated:\n%s", found)
	}
	notesv1.RegisterDraftsServer(server, notesv1.UnimplementedDraftsServer{})
	found := authz.Audit(server, who, rules)
	if len(found) != 2 || found[0].Subject != "/notes.v1.Drafts/Discard" || found[1].Kind != authz.NoRule {
		t.Errorf("two methods are not annotated:\n%s", found)
	}
	if rest := found.Without(authz.NoRule); len(rest) != 0 || rest.Err() != nil {
		t.Errorf("without them:\n%s", rest)
	}
}

func TestAPatternOfARuleThatMatchesNothing(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithRules(authz.Rule{Name: "typo", Methods: []string{"pkg.A/Gte", "pkg.A/G*"}, Effect: allow}))
	err := authz.Audit(methods{"pkg.A/Get", "pkg.B/Get"}, nil, a).Without(authz.NoRule, authz.NoInterceptor).Err()
	if err == nil || err.Error() != `authz: pkg.A/Gte: this pattern of rule "typo" matches no method of the server` {
		t.Error(err)
	}
}
