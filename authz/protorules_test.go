package authz_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	return registry(t, describe(t, protoregistry.GlobalFiles, service, method, "connectum/auth/v1/options.proto"))
}

// describe returns a file with a service pkg.Service that imports others.
func describe(
	t testing.TB, resolver protodesc.Resolver, service *descriptorpb.ServiceOptions, method *descriptorpb.MethodOptions, imports ...string,
) protoreflect.FileDescriptor {
	t.Helper()
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("pkg/service.proto"), Package: new("pkg"), Dependency: imports,
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Empty")}},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: new("Service"), Options: service,
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: new("Call"), InputType: new(".pkg.Empty"), OutputType: new(".pkg.Empty"), Options: method,
			}},
		}},
	}, resolver)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func registry(t testing.TB, described ...protoreflect.FileDescriptor) *protoregistry.Files {
	t.Helper()
	files := &protoregistry.Files{}
	for _, file := range described {
		if err := files.RegisterFile(file); err != nil {
			t.Fatal(err)
		}
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
		{"public: false of a method undoes it in a service with requirements", &service{Public: yes, DefaultRequires: requires([]string{"admin"})}, &method{Public: no}, nil, &admin, "allowed"},
		{"and those are asked for", &service{Public: yes, DefaultRequires: requires([]string{"x"})}, &method{Public: no}, fallback, &admin, authz.RuleProto},
		{"and an identity", &service{Public: yes, DefaultRequires: requires([]string{"x"})}, &method{Public: no}, nil, nil, "unauthenticated"},
		{"internal service: nobody unless told", &service{Internal: yes}, nil, fallback, &admin, authz.RuleProto},
		{"internal: false of a method undoes the service's", &service{Internal: yes}, &method{Internal: no, Policy: new("allow")}, nil, &admin, "allowed"},
		{"internal: false of a method alone: rules decide", &service{Internal: yes}, &method{Internal: no}, fallback, &admin, "allowed"},
		{"internal and policy allow: nobody unless told", nil, &method{Internal: yes, Policy: new("allow")}, fallback, &admin, authz.RuleProto},
		{"internal method of a service with policy allow: nobody unless told", &service{DefaultPolicy: new("allow")}, &method{Internal: yes}, nil, &admin, authz.RuleProto},
		{"policy allow of a method in an internal service: nobody unless told", &service{Internal: yes}, &method{Policy: new("allow")}, nil, &admin, authz.RuleProto},
		{"internal: nobody unless told", nil, &method{Internal: yes}, fallback, &admin, authz.RuleProto},
		{"internal service: the method may be public", &service{Internal: yes}, &method{Public: yes}, nil, nil, "allowed"},
		{"public service: the method may be internal", &service{Public: yes}, &method{Internal: yes}, nil, nil, "unauthenticated"},
		{"public service: the internal method may have requirements", &service{Public: yes}, &method{Internal: yes, Requires: requires([]string{"x"})}, nil, nil, "unauthenticated"},
		{"public service that denies: the method may say allow", &service{Public: yes, DefaultPolicy: new("deny")}, &method{Policy: new("allow")}, nil, nil, "allowed"},
		{"internal service that denies: the method may be public", &service{Internal: yes, DefaultPolicy: new("deny")}, &method{Public: yes, Policy: new("allow")}, nil, nil, "allowed"},
		{"internal service that denies, and a public method without a policy", &service{Internal: yes, DefaultPolicy: new("deny")}, &method{Public: yes}, nil, nil, "allowed"},
		{"internal service that denies: the method may say allow, to nobody unless told", &service{Internal: yes, DefaultPolicy: new("deny")}, &method{Policy: new("allow")}, nil, &admin, authz.RuleProto},
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
	a := newAuthz(t, authz.WithProtoOptions(files), authz.WithInternalCallers(func(_ context.Context, caller *authcontext.AuthContext) bool {
		switch caller.Type {
		case "panic":
			panic("a secret")
		case "goexit":
			runtime.Goexit()
		}
		return caller.Type == "service"
	}))
	if err := a.Authorize(as(t.Context(), service), "/pkg.Service/Call"); err != nil {
		t.Error(err)
	}
	for name, caller := range map[string]authcontext.AuthContext{
		"a person":                           {Type: "session", Roles: []string{"indexer"}},
		"a callback that panics":             {Type: "panic", Roles: []string{"indexer"}},
		"a callback that ends its goroutine": {Type: "goexit", Roles: []string{"indexer"}},
		"a service without the roles":        {Type: "service"},
	} {
		err := a.Authorize(as(t.Context(), caller), "/pkg.Service/Call")
		mustBe(t, err, codes.PermissionDenied, "access denied", string(reason.AccessDenied))
		if !asDenied(err, new(*authz.DeniedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnInternalCallersCallbackThatHangsIsANo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		a := newAuthz(t, authz.WithProtoOptions(described(t, nil, &authv1.MethodAuth{Internal: new(true)})),
			authz.WithInternalCallers(func(context.Context, *authcontext.AuthContext) bool {
				<-release
				return true
			}))
		start := time.Now()
		mustBeDenied(t, a.Authorize(as(t.Context(), withRoles()), "/pkg.Service/Call"), authz.RuleProto)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// Anybody may have taken 50100 for an option of their own.
func TestAnOptionOfTheSameNumberIsNoneOfOurs(t *testing.T) {
	t.Parallel()
	public := &descriptorpb.MethodOptions{}
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 50100, protowire.BytesType), []byte{0x08, 0x01})
	public.ProtoReflect().SetUnknown(unknown)
	options := must(protoregistry.GlobalFiles.FindFileByPath("connectum/auth/v1/options.proto"))(t)
	file := func(name string, publicly bool, imports protoreflect.FileDescriptor) protoreflect.FileDescriptor {
		fd := &descriptorpb.FileDescriptorProto{Name: &name}
		if imports != nil {
			fd.Dependency = []string{imports.Path()}
		}
		if publicly {
			fd.PublicDependency = []int32{0}
		}
		return must(protodesc.NewFile(fd, resolver(t, imports)))(t)
	}
	acme := file("acme/options.proto", false, nil)
	for _, test := range []struct {
		name    string
		imports protoreflect.FileDescriptor
		ours    bool
	}{
		{"no import at all", nil, false},
		{"the import of another's options", acme, false},
		{"ours, imported", options, true},
		{"ours, by an import that imports it publicly", file("all.proto", true, options), true},
		{"ours, by two of those", file("more.proto", true, file("all.proto", true, options)), true},
		{"ours, by an import that keeps it to itself", file("own.proto", false, options), false},
		{"ours, publicly, by an import that keeps that to itself", file("own.proto", false, file("all.proto", true, options)), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var imports []string
			if test.imports != nil {
				imports = []string{test.imports.Path()}
			}
			a := newAuthz(t, authz.WithProtoOptions(registry(t, describe(t, resolver(t, test.imports), nil, public, imports...))))
			if err := a.Authorize(t.Context(), "/pkg.Service/Call"); (err == nil) != test.ours {
				t.Errorf("without an identity: %v", err)
			}
			if got := a.PublicMethods(); len(got) > 0 != test.ours {
				t.Errorf("public: %q", got)
			}
		})
	}
}

// TestOptionsOfAnOptionImportAreRead: since edition 2024 a file imports options in a list of
// their own. One that is not read may restrict.
func TestOptionsOfAnOptionImportAreRead(t *testing.T) {
	t.Parallel()
	options := must(protoregistry.GlobalFiles.FindFileByPath("connectum/auth/v1/options.proto"))(t)
	publicly := must(protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("all.proto"), Dependency: []string{options.Path()}, PublicDependency: []int32{0},
	}, resolver(t, options)))(t)
	for name, test := range map[string]struct {
		imported protoreflect.FileDescriptor // which the program knows; nil: it does not
		path     string
	}{
		"of the file itself":                  {options, options.Path()},
		"of one that imports it publicly":     {publicly, publicly.Path()},
		"of the file, which is not linked in": {nil, options.Path()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restricted := &descriptorpb.MethodOptions{}
			proto.SetExtension(restricted, authv1.E_MethodAuth, &authv1.MethodAuth{Requires: requires([]string{"admin"})})
			fd := protodesc.ToFileDescriptorProto(describe(t, registry(t), nil, restricted))
			fd.Syntax, fd.Edition = new("editions"), descriptorpb.Edition_EDITION_2024.Enum()
			fd.OptionDependency = []string{test.path}
			file := must(protodesc.NewFile(fd, resolver(t, test.imported)))(t)
			a := newAuthz(t, authz.WithProtoOptions(registry(t, file)), authz.WithDefaultPolicy(authz.Allow))
			ctx := authcontext.NewContext(t.Context(), &authcontext.AuthContext{Subject: "mallory"})
			if err := a.Authorize(ctx, "/pkg.Service/Call"); reason.Of(err) != reason.AccessDenied {
				t.Errorf("one who is no admin: %v", err)
			}
		})
	}
}

// resolver finds one file, if there is one.
func resolver(t testing.TB, file protoreflect.FileDescriptor) protodesc.Resolver {
	t.Helper()
	if file == nil {
		return registry(t)
	}
	return registry(t, file)
}

// must takes the error of a call that has two answers out of the way.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestFilesThatAreRegisteredLaterAreSeenByNobody(t *testing.T) {
	t.Parallel()
	later := described(t, nil, &authv1.MethodAuth{Policy: new("deny")})
	files := &protoregistry.Files{}
	a := newAuthz(t, authz.WithProtoOptions(files), authz.WithRules(authz.Rule{Name: "all", Methods: []string{"*"}, Effect: allow}))
	if err := files.RegisterFile(must(later.FindFileByPath("pkg/service.proto"))(t)); err != nil {
		t.Fatal(err)
	}
	if err := a.Authorize(as(t.Context(), withRoles()), "/pkg.Service/Call"); err != nil {
		t.Errorf("the rules see it: %v", err)
	}
	found := authz.Audit(methods{"pkg.Service/Call"}, nil, a).Without(authz.NoInterceptor)
	want := "pkg.Service: no file that WithProtoOptions had when New read it describes this service"
	if found.String() != want {
		t.Errorf("the audit says %q, want %q", found, want)
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
		{"public service that asks for a role", &service{Public: yes, DefaultRequires: requires([]string{"a"})}, nil, "of pkg.Service.Call: public, and restricted by requirements or a policy, both by its service"},
		{"public service that denies", &service{Public: yes, DefaultPolicy: new("deny")}, nil, "both by its service"},
		{"internal and denied", nil, &method{Internal: yes, Policy: new("deny")}, "internal, and denied to everybody by a policy"},
		{"denied in an internal service", &service{Internal: yes}, &method{Policy: new("deny")}, "say internal: false, too"},
		{"internal service that denies", &service{Internal: yes, DefaultPolicy: new("deny")}, nil, "both by its service"},
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
	// fixed is a field of another type, whose value would make sense as bytes.
	fixed := func(number protowire.Number, value string) []byte {
		return append(protowire.AppendTag(nil, number, protowire.Fixed32Type), value...)
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
		"a policy of four bytes":          fixed(3, "deny"),
		"requirements of four bytes":      fixed(2, "\x0a\x02ab"),
		"a role of four bytes":            protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), fixed(1, "root")),
		"a field of a newer version":      protowire.AppendVarint(protowire.AppendTag(nil, 5, protowire.VarintType), 1),
		"a requirement of a newer verion": protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), 1)),
	} {
		if _, err := authz.New(authz.WithProtoOptions(describedBy(t, nil, wire(own)))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	options := &descriptorpb.MethodOptions{}
	options.ProtoReflect().SetUnknown(fixed(50100, "\x08\x01\x20\x00"))
	if _, err := authz.New(authz.WithProtoOptions(describedBy(t, nil, options))); err == nil {
		t.Error("options of four bytes: no error")
	}
}

// The parts of one option may be scattered on the wire: they are merged, as they are by
// every decoder.
func TestOptionsThatAreScatteredOnTheWireAreMerged(t *testing.T) {
	t.Parallel()
	part := func(m *authv1.MethodAuth) []byte {
		own := must(proto.Marshal(m))(t)
		return protowire.AppendBytes(protowire.AppendTag(nil, 50100, protowire.BytesType), own)
	}
	scattered := func(parts ...*authv1.MethodAuth) *authz.Authorizer {
		var unknown []byte
		for _, m := range parts {
			unknown = append(unknown, part(m)...)
			unknown = protowire.AppendVarint(protowire.AppendTag(unknown, 33, protowire.VarintType), 1) // deprecated = true
		}
		options := &descriptorpb.MethodOptions{}
		options.ProtoReflect().SetUnknown(unknown)
		return newAuthz(t, authz.WithProtoOptions(describedBy(t, nil, options)))
	}
	a := scattered(&authv1.MethodAuth{Requires: requires([]string{"admin"})}, &authv1.MethodAuth{Policy: new("allow")})
	mustBeDenied(t, a.Authorize(as(t.Context(), withRoles("user")), "/pkg.Service/Call"), authz.RuleProto,
		authz.UnmetRule{Rule: authz.RuleProto, AnyRole: []string{"admin"}})
	a = scattered(&authv1.MethodAuth{Requires: requires(nil, "read")}, &authv1.MethodAuth{Requires: requires(nil, "write")})
	mustBeDenied(t, a.Authorize(as(t.Context(), withScopes("write")), "/pkg.Service/Call"), authz.RuleProto,
		authz.UnmetRule{Rule: authz.RuleProto, Scopes: []string{"read"}})
	if err := a.Authorize(as(t.Context(), withScopes("write", "read")), "/pkg.Service/Call"); err != nil {
		t.Error(err)
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
	internal := described(t, &authv1.ServiceAuth{Internal: new(true)}, &authv1.MethodAuth{Public: new(true)})
	if got := newAuthz(t, authz.WithProtoOptions(internal)).InternalMethods(); len(got) != 0 {
		t.Errorf("a public method of an internal service: %q", got)
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
