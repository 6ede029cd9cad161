package authz_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	notesv1 "github.com/grpc-sessionauth/sessionauth/internal/notes/v1"
	authv1 "github.com/grpc-sessionauth/sessionauth/proto/connectum/auth/v1"
	"github.com/grpc-sessionauth/sessionauth/reason"
)

// described returns descriptors of a service pkg.Service with a method Call that have
// these options. Either may be nil.
func described(t testing.TB, service *authv1.ServiceAuth, method *authv1.MethodAuth) *protoregistry.Files {
	t.Helper()
	ofService, ofMethod := &descriptorpb.ServiceOptions{}, &descriptorpb.MethodOptions{}
	if service != nil {
		proto.SetExtension(ofService, authv1.E_ServiceAuth, service)
	}
	if method != nil {
		proto.SetExtension(ofMethod, authv1.E_MethodAuth, method)
	}
	return describedBy(t, ofService, ofMethod)
}

func describedBy(t testing.TB, service *descriptorpb.ServiceOptions, method *descriptorpb.MethodOptions) *protoregistry.Files {
	t.Helper()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("pkg/service.proto"), Package: new("pkg"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Empty")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: new("Service"), Options: service,
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: new("Call"), InputType: new(".pkg.Empty"), OutputType: new(".pkg.Empty"), Options: method,
			}},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := &protoregistry.Files{}
	if err := files.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	return files
}

func requires(roles []string, scopes ...string) *authv1.AuthRequirements {
	return &authv1.AuthRequirements{Roles: roles, Scopes: scopes}
}

// What the decision flow and the merge table of Connectum's guide to proto options say.
func TestProtoOptionsMeanWhatConnectumsGuideSays(t *testing.T) {
	t.Parallel()
	type (
		service = authv1.ServiceAuth
		method  = authv1.MethodAuth
	)
	yes, no := new(true), new(false)
	admin := withRoles("admin")
	fallback := []authz.Option{authz.WithRules(authz.Rule{Name: "rule", Methods: []string{"*"}, Effect: allow})}
	everyone := []authz.Option{authz.WithDefaultPolicy(allow)}
	for _, test := range []struct {
		name    string
		service *service
		method  *method
		opts    []authz.Option
		caller  *authcontext.AuthContext
		want    string // by which rule it is denied; "allowed"; "unauthenticated"
	}{
		{"public: allowed without an identity", nil, &method{Public: yes}, nil, nil, "allowed"},
		{"public service: allowed without an identity", &service{Public: yes}, nil, nil, nil, "allowed"},
		{"public: false of a method in a public service", &service{Public: yes}, &method{Public: no}, nil, nil, "unauthenticated"},
		{"public method of a service that asks for a role", &service{DefaultRequires: requires([]string{"x"})}, &method{Public: yes}, nil, nil, "allowed"},
		{"required role: there", nil, &method{Requires: requires([]string{"admin", "root"})}, nil, &admin, "allowed"},
		{"required role: not there", nil, &method{Requires: requires([]string{"root"})}, fallback, &admin, authz.RuleProto},
		{"required role: no identity", nil, &method{Requires: requires([]string{"root"})}, fallback, nil, "unauthenticated"},
		{"required scopes: all there", nil, &method{Requires: requires(nil, "a", "b")}, nil, &authcontext.AuthContext{Scopes: []string{"b", "c", "a"}}, "allowed"},
		{"required scopes: one there", nil, &method{Requires: requires(nil, "a", "b")}, fallback, &authcontext.AuthContext{Scopes: []string{"b"}}, authz.RuleProto},
		{"empty requirements: any identity", nil, &method{Requires: requires(nil)}, nil, &admin, "allowed"},
		{"empty requirements: no identity", nil, &method{Requires: requires(nil)}, everyone, nil, "unauthenticated"},
		{"empty requirements of a method take the place of the service's", &service{DefaultRequires: requires([]string{"x"})}, &method{Requires: requires(nil)}, nil, &admin, "allowed"},
		{"default requirements apply", &service{DefaultRequires: requires([]string{"x"})}, nil, fallback, &admin, authz.RuleProto},
		{"default requirements apply beside a policy of the method", &service{DefaultRequires: requires([]string{"x"})}, &method{Policy: new("allow")}, nil, &admin, authz.RuleProto},
		{"requirements that are met win over the service's policy", &service{DefaultPolicy: new("deny")}, &method{Requires: requires([]string{"admin"})}, nil, &admin, "allowed"},
		{"policy allow", nil, &method{Policy: new("allow")}, nil, &admin, "allowed"},
		{"policy allow: no identity", nil, &method{Policy: new("allow")}, nil, nil, "unauthenticated"},
		{"policy deny wins over rules", nil, &method{Policy: new("deny")}, fallback, &admin, authz.RuleProto},
		{"default policy deny wins over rules", &service{DefaultPolicy: new("deny")}, nil, fallback, &admin, authz.RuleProto},
		{"policy of the method wins over the service's", &service{DefaultPolicy: new("deny")}, &method{Policy: new("allow")}, nil, &admin, "allowed"},
		{"no options: rules decide", nil, nil, fallback, &admin, "allowed"},
		{"no options, no rule: policy allow", nil, nil, everyone, &admin, "allowed"},
		{"no options, no rule: policy deny", nil, nil, nil, &admin, authz.RuleDefaultPolicy},
		{"empty options say nothing", &service{}, &method{}, nil, &admin, authz.RuleDefaultPolicy},
		{"internal: nobody unless told", nil, &method{Internal: yes}, fallback, &admin, authz.RuleProto},
		{"internal service: the method may be public", &service{Internal: yes}, &method{Public: yes}, nil, nil, "allowed"},
		{"public service: the method may be internal", &service{Public: yes}, &method{Internal: yes}, nil, nil, "unauthenticated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := newAuthz(t, append(test.opts, authz.WithProtoOptions(described(t, test.service, test.method)))...)
			ctx := t.Context()
			if test.caller != nil {
				ctx = as(ctx, *test.caller)
			}
			err := a.Authorize(ctx, "/pkg.Service/Call")
			switch test.want {
			case "allowed":
				if err != nil {
					t.Fatal(err)
				}
			case "unauthenticated":
				mustBe(t, err, codes.Unauthenticated, "missing credentials", string(reason.MissingCredentials))
			default:
				var unmet []authz.UnmetRule
				if denied := new(authz.DeniedError); asDenied(err, &denied) {
					unmet = denied.Unmet
				}
				mustBeDenied(t, err, test.want, unmet...)
			}
		})
	}
}

func asDenied(err error, to **authz.DeniedError) bool {
	denied, ok := err.(*authz.DeniedError)
	if ok {
		*to = denied
	}
	return ok
}

func TestInternalMethodsAreForThoseWhoAreTrusted(t *testing.T) {
	t.Parallel()
	files := described(t, nil, &authv1.MethodAuth{Internal: new(true), Requires: requires([]string{"indexer"})})
	service := authcontext.AuthContext{Type: "service", Roles: []string{"indexer"}}
	trust := authz.WithInternalCallers(func(_ context.Context, caller *authcontext.AuthContext) bool {
		if caller.Type == "panic" {
			panic("a secret")
		}
		return caller.Type == "service"
	})
	a := newAuthz(t, authz.WithProtoOptions(files), trust)
	if err := a.Authorize(as(t.Context(), service), "/pkg.Service/Call"); err != nil {
		t.Error(err)
	}
	for name, caller := range map[string]authcontext.AuthContext{
		"a person":                    {Type: "session", Roles: []string{"indexer"}},
		"a callback that panics":      {Type: "panic", Roles: []string{"indexer"}},
		"a service without the roles": {Type: "service"},
	} {
		if err := a.Authorize(as(t.Context(), caller), "/pkg.Service/Call"); !asDenied(err, new(*authz.DeniedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProtoOptionsTellWhatIsMissing(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithProtoOptions(described(t, nil, &authv1.MethodAuth{Requires: requires([]string{"admin"}, "a", "b")})))
	caller := authcontext.AuthContext{Scopes: []string{"a"}}
	mustBeDenied(t, a.Authorize(as(t.Context(), caller), "/pkg.Service/Call"), authz.RuleProto,
		authz.UnmetRule{Rule: authz.RuleProto, AnyRole: []string{"admin"}, Scopes: []string{"b"}})
}

func TestProtoOptionsThatCouldBeReadInTwoWaysAreRefused(t *testing.T) {
	t.Parallel()
	type (
		service = authv1.ServiceAuth
		method  = authv1.MethodAuth
	)
	yes := new(true)
	for _, test := range []struct {
		name    string
		service *service
		method  *method
		want    string
	}{
		{"public and internal", nil, &method{Public: yes, Internal: yes}, "pkg.Service.Call: public and internal at once"},
		{"public service that is internal", &service{Public: yes, Internal: yes}, nil, "public and internal at once"},
		{"public and restricted", nil, &method{Public: yes, Requires: requires([]string{"a"})}, "public, and restricted"},
		{"public and denied", nil, &method{Public: yes, Policy: new("deny")}, "public, and restricted"},
		{"restricted in a public service", &service{Public: yes}, &method{Requires: requires([]string{"a"})}, "restricted in a service that is public"},
		{"unknown policy", nil, &method{Policy: new("Allow")}, `policy "Allow": want "allow" or "deny"`},
		{"unknown default policy", &service{DefaultPolicy: new("none")}, nil, `of pkg.Service: policy "none"`},
		{"empty role", nil, &method{Requires: requires([]string{""})}, "a role or scope is empty"},
	} {
		_, err := authz.New(authz.WithProtoOptions(described(t, test.service, test.method)))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "authz: proto options of ") {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// Options come in their wire form where the program has no Go package for them.
func TestOptionsOfAnotherGoPackageAreRead(t *testing.T) {
	t.Parallel()
	wire := func(own []byte) *descriptorpb.MethodOptions {
		options := &descriptorpb.MethodOptions{}
		unknown := protowire.AppendTag(nil, 50100, protowire.BytesType)
		options.ProtoReflect().SetUnknown(protowire.AppendBytes(unknown, own))
		return options
	}
	public := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1)
	a := newAuthz(t, authz.WithProtoOptions(describedBy(t, nil, wire(public))))
	if err := a.Authorize(t.Context(), "/pkg.Service/Call"); err != nil {
		t.Error(err)
	}
	for name, own := range map[string][]byte{
		"cut off":                         public[:1],
		"a bool that is a string":         protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "x"),
		"a policy that is a number":       protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 1),
		"a field of a newer version":      protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 1),
		"a requirement of a newer verion": protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 1)),
	} {
		if _, err := authz.New(authz.WithProtoOptions(describedBy(t, nil, wire(own)))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzProtoOptions(f *testing.F) {
	f.Add([]byte{0x08, 0x01}, []byte{0x0a, 0x04, 'd', 'e', 'n', 'y'})
	f.Add([]byte{0x12, 0x03, 0x0a, 0x01, 'a'}, []byte{})
	f.Fuzz(func(t *testing.T, method, service []byte) {
		ofMethod, ofService := &descriptorpb.MethodOptions{}, &descriptorpb.ServiceOptions{}
		ofMethod.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 50100, protowire.BytesType), method))
		ofService.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 50101, protowire.BytesType), service))
		a, err := authz.New(authz.WithProtoOptions(describedBy(t, ofService, ofMethod)))
		if err != nil {
			return
		}
		// What nobody with an identity is allowed must come from options that the real
		// decoder understands in the same way.
		var m authv1.MethodAuth
		var s authv1.ServiceAuth
		if proto.Unmarshal(method, &m) != nil || proto.Unmarshal(service, &s) != nil {
			t.Fatalf("options that cannot be decoded are accepted: %x %x", method, service)
		}
		public := s.GetPublic() && m.Public == nil && !m.GetInternal() || m.GetPublic()
		if got := a.Authorize(context.Background(), "/pkg.Service/Call") == nil; got != public {
			t.Fatalf("allowed without an identity: %v, want %v: %v %v", got, public, &m, &s)
		}
	})
}

func TestPublicMethodsFeedTheAuthenticator(t *testing.T) {
	t.Parallel()
	a := newAuthz(t, authz.WithProtoOptions(nil), authz.WithPublicMethods("grpc.health.v1.Health/*"))
	services := []string{notesv1.Notes_ServiceDesc.ServiceName, notesv1.Archive_ServiceDesc.ServiceName}
	if got, want := a.PublicMethods(services...), []string{"grpc.health.v1.Health/*", "notes.v1.Archive/Seal", "notes.v1.Notes/About"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := a.InternalMethods(services...), []string{"notes.v1.Notes/Reindex"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := a.PublicMethods("notes.v1.Drafts"); fmt.Sprint(got) != "[grpc.health.v1.Health/*]" {
		t.Errorf("got %q", got)
	}
	if !slices.Contains(a.PublicMethods(), "notes.v1.Notes/About") {
		t.Errorf("without services: %q", a.PublicMethods())
	}
}

// The numbers are a contract with Connectum: files that were compiled against one of
// the two are read by the other.
func TestOptionsAreConnectumsOnTheWire(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"MethodAuth":       "public=1 requires=2 policy=3 internal=4",
		"ServiceAuth":      "default_policy=1 default_requires=2 public=3 internal=4",
		"AuthRequirements": "roles=1 scopes=2",
	} {
		var got []string
		fields := authv1.File_connectum_auth_v1_options_proto.Messages().ByName(protoreflect.Name(name)).Fields()
		for i := range fields.Len() {
			got = append(got, fmt.Sprintf("%s=%d", fields.Get(i).Name(), fields.Get(i).Number()))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	for _, extension := range []struct {
		name, of string
		number   int
	}{
		{string(authv1.E_MethodAuth.TypeDescriptor().FullName()), "google.protobuf.MethodOptions", int(authv1.E_MethodAuth.TypeDescriptor().Number())},
		{string(authv1.E_ServiceAuth.TypeDescriptor().FullName()), "google.protobuf.ServiceOptions", int(authv1.E_ServiceAuth.TypeDescriptor().Number())},
	} {
		want := map[string]int{"connectum.auth.v1.method_auth": 50100, "connectum.auth.v1.service_auth": 50101}[extension.name]
		if extension.number != want {
			t.Errorf("%s: %d, want %d", extension.name, extension.number, want)
		}
	}
	if path := authv1.File_connectum_auth_v1_options_proto.Path(); path != "connectum/auth/v1/options.proto" {
		t.Error(path)
	}
}
