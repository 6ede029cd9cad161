package authz

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// optionsFile is the file that declares the options. A number alone does not say whose
// an option is: anybody may have taken it for one of their own.
const optionsFile = "connectum/auth/v1/options.proto"

// annotation is what the options of a .proto file say of one method: those of the
// method where it has any, those of its service where it has none.
type annotation struct {
	public   bool
	internal bool
	required bool // an empty requirement is one: an identity
	needs    requirement
	policy   Effect // 0: none
}

// annotations are what New has read: rules and audit must not look at different files.
type annotations struct {
	methods  map[string]*annotation // by "/pkg.Service/Method"
	services map[string]bool        // that are described, with options or without
}

// readAnnotations reads the options of every method in files that has any, in effect.
func readAnnotations(files *protoregistry.Files) (annotations, error) {
	read := annotations{methods: map[string]*annotation{}, services: map[string]bool{}}
	var errs []error
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		annotated := imports(file, optionsFile)
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			read.services[string(service.FullName())] = true
			if annotated {
				errs = append(errs, read.service(service))
			}
		}
		return true
	})
	return read, errors.Join(errs...)
}

// imports reports whether file imports the one with this path, itself or through the
// public imports of one that it imports.
func imports(file protoreflect.FileDescriptor, path string) bool {
	lists := []protoreflect.FileImports{file.Imports()}
	if f, ok := file.(interface {
		OptionImports() protoreflect.FileImports
	}); ok { // since edition 2024
		lists = append(lists, f.OptionImports())
	}
	for _, list := range lists {
		for i := range list.Len() {
			if imported := list.Get(i); imported.Path() == path || importsPublicly(imported, path) {
				return true
			}
		}
	}
	return false
}

func importsPublicly(file protoreflect.FileDescriptor, path string) bool {
	for i := range file.Imports().Len() { // which make no circle
		imported := file.Imports().Get(i)
		if imported.IsPublic && (imported.Path() == path || importsPublicly(imported, path)) {
			return true
		}
	}
	return false
}

// service reads the options of a service and of its methods.
func (read *annotations) service(service protoreflect.ServiceDescriptor) error {
	ofService, err := readOptions(service, serviceOptions)
	if err == nil && is(ofService.public) && is(ofService.internal) {
		err = errPublicAndInternal
	}
	if err != nil {
		return optionError(service, err)
	}
	var errs []error
	for i := range service.Methods().Len() {
		method := service.Methods().Get(i)
		ofMethod, err := readOptions(method, methodOptions)
		if err == nil {
			err = contradiction(ofMethod, ofService)
		}
		if err != nil {
			errs = append(errs, optionError(method, err))
		} else if a := merge(ofMethod, ofService); a != nil {
			read.methods["/"+string(service.FullName())+"/"+string(method.Name())] = a
		}
	}
	return errors.Join(errs...)
}

func optionError(of protoreflect.Descriptor, err error) error {
	return fmt.Errorf("authz: proto options of %s: %w", of.FullName(), err)
}

// readOptions returns what the options of a service or method hold under connectum.auth.v1.
// It reads them in their wire form: that is there whichever Go package the program has
// for them, and when it has none.
func readOptions(of protoreflect.Descriptor, f optionFields) (authOptions, error) {
	raw, err := proto.MarshalOptions{AllowPartial: true}.Marshal(of.Options())
	if err != nil {
		return authOptions{}, err
	}
	return parseOptions(raw, f)
}

var errPublicAndInternal = errors.New("public and internal at once")

// contradiction says in which way the options of a method and of its service could be
// read in two ways of which one is more open than the other. A service that is public or
// internal and has requirements or a policy is none by itself: they may be for those of
// its methods that say that they are not.
func contradiction(method, service authOptions) error {
	ownPublic, ownInternal := is(method.public), is(method.internal)
	public := method.public == nil && !ownInternal && is(service.public)
	internal := method.internal == nil && !ownPublic && is(service.internal)
	serviceDenies := service.policy == Deny && method.policy == 0
	switch {
	case ownPublic && ownInternal:
		return errPublicAndInternal
	case ownPublic && (method.required || method.policy == Deny):
		return errors.New("public, and restricted by requirements or a policy")
	case ownInternal && method.policy == Deny:
		return errors.New("internal, and denied to everybody by a policy")
	case public && (method.required || method.policy == Deny):
		return errors.New("restricted in a service that is public: say public: false, too")
	case public && (service.required || serviceDenies):
		return errors.New("public, and restricted by requirements or a policy, both by its service")
	case internal && method.policy == Deny:
		return errors.New("denied to everybody in a service that is internal: say internal: false, too")
	case internal && serviceDenies:
		return errors.New("internal, and denied to everybody by a policy, both by its service")
	}
	return nil
}

func is(b *bool) bool { return b != nil && *b }

// merge returns what is in effect for a method, nil if nothing is said of it. An option
// of the method takes the place of the service's: being public, internal and neither are
// one option in this.
func merge(method, service authOptions) *annotation {
	a := &annotation{public: is(service.public), internal: is(service.internal), policy: service.policy}
	if method.public != nil {
		a.public = *method.public
		a.internal = a.internal && !a.public
	}
	if method.internal != nil {
		a.internal = *method.internal
		a.public = a.public && !a.internal
	}
	for _, level := range []authOptions{service, method} {
		if level.required {
			a.required, a.needs = true, level.needs
		}
	}
	if method.policy != 0 {
		a.policy = method.policy
	}
	if !a.public && !a.internal && !a.required && a.policy == 0 {
		return nil
	}
	return a
}

// PublicMethods returns patterns for [WithSkipMethods] of the methods that are public:
// those of [WithPublicMethods] as they were given, then, with [WithProtoOptions], those
// that their .proto file marks, as "pkg.Service/Method" in order. With services, each a
// "pkg.Service", only those of the .proto options that belong to one of them: a program may
// have descriptors of services that its server does not offer.
func (a *Authorizer) PublicMethods(services ...string) []string {
	public := a.annotatedMethods(services, func(o *annotation) bool { return o.public })
	return slices.Concat(a.public.Patterns, public)
}

// InternalMethods is [Authorizer.PublicMethods] for methods that their .proto file marks
// as internal. An Authenticator that knows the sessions of people may skip them, if
// something else in the chain authenticates services: with [WithInternalCallers] that is
// not among the findings of [Audit].
func (a *Authorizer) InternalMethods(services ...string) []string {
	return a.annotatedMethods(services, func(o *annotation) bool { return o.internal })
}

func (a *Authorizer) annotatedMethods(services []string, is func(*annotation) bool) []string {
	var methods []string
	for fullMethod, options := range a.annotations.methods {
		name := strings.TrimPrefix(fullMethod, "/")
		service, _, _ := strings.Cut(name, "/")
		if is(options) && (len(services) == 0 || slices.Contains(services, service)) {
			methods = append(methods, name)
		}
	}
	slices.Sort(methods)
	return methods
}
