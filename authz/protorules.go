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

// annotation is what the options of a .proto file say of one method: those of the
// method where it has any, those of its service where it has none.
type annotation struct {
	public        bool
	internal      bool
	required      bool // an empty requirement is one: an identity
	roles, scopes []string
	needs         requirement
	policy        Effect // 0: none
}

// readAnnotations reads the options of every method in files that has any, in effect.
func readAnnotations(files *protoregistry.Files, names *vocabulary) (map[string]*annotation, error) {
	annotations := map[string]*annotation{}
	var errs []error
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			ofService, err := readOptions(service, serviceOptions)
			if err != nil {
				errs = append(errs, optionError(service, err))
				continue
			}
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				ofMethod, err := readOptions(method, methodOptions)
				if err == nil {
					err = contradiction(ofMethod, ofService)
				}
				if err != nil {
					errs = append(errs, optionError(method, err))
				} else if a := merge(ofMethod, ofService); a != nil {
					a.needs = names.requirement(a.roles, a.scopes)
					annotations["/"+string(service.FullName())+"/"+string(method.Name())] = a
				}
			}
		}
		return true
	})
	return annotations, errors.Join(errs...)
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

// contradiction says in which way options could be read in two ways, of which one is
// more open than the other.
func contradiction(method, service authOptions) error {
	for _, level := range []authOptions{method, service} {
		if is(level.public) && is(level.internal) {
			return errors.New("public and internal at once")
		}
		if restricts := level.required || level.policy == Deny; is(level.public) && restricts {
			return errors.New("public, and restricted by requirements or a policy")
		}
	}
	if method.public == nil && is(service.public) && (method.required || method.policy == Deny) {
		return errors.New("restricted in a service that is public: say public: false, too")
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
			a.required, a.roles, a.scopes = true, level.roles, level.scopes
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

// describedBy returns a func that reports whether files describe a service.
func describedBy(files *protoregistry.Files) func(string) bool {
	return func(service string) bool {
		d, err := files.FindDescriptorByName(protoreflect.FullName(service))
		_, ok := d.(protoreflect.ServiceDescriptor)
		return err == nil && ok
	}
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
// something else in the chain authenticates services.
func (a *Authorizer) InternalMethods(services ...string) []string {
	return a.annotatedMethods(services, func(o *annotation) bool { return o.internal })
}

func (a *Authorizer) annotatedMethods(services []string, is func(*annotation) bool) []string {
	var methods []string
	for fullMethod, options := range a.annotations {
		name := strings.TrimPrefix(fullMethod, "/")
		service, _, _ := strings.Cut(name, "/")
		if is(options) && (len(services) == 0 || slices.Contains(services, service)) {
			methods = append(methods, name)
		}
	}
	slices.Sort(methods)
	return methods
}
