package interceptor

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
)

// ServiceInfoProvider is a server that can list its methods, such as a [*grpc.Server].
type ServiceInfoProvider interface {
	GetServiceInfo() map[string]grpc.ServiceInfo
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of finding.
const (
	// NoRule: no rule and no .proto option names the method.
	NoRule FindingKind = "no rule"
	// NoMatch: a pattern matches no method of the server.
	NoMatch FindingKind = "no match"
	// SkippedAndRestricted: the Authenticator lets the method through without an
	// identity, and the Authorizer asks for one.
	SkippedAndRestricted FindingKind = "skipped and restricted"
	// PublicButAuthenticated: the Authorizer lets everybody call the method, and the
	// Authenticator only those with a session.
	PublicButAuthenticated FindingKind = "public but authenticated"
	// NoInterceptor: the server has methods of a kind, unary or streams, for which an
	// interceptor was not asked for.
	NoInterceptor FindingKind = "no interceptor"
	// NoInternalCallers: the method is internal, and WithInternalCallers is not given.
	NoInternalCallers FindingKind = "no internal callers"
	// NoDescriptor: .proto options are in use, and there are none to be read for the service.
	NoDescriptor FindingKind = "no descriptor"
)

// Finding is one thing that [Audit] found.
type Finding struct {
	Kind FindingKind
	// Subject is what it is about: a method "/pkg.Service/Method", a service
	// "pkg.Service", a pattern as it was given, or "Authenticator",
	// "GatewayAuth" or "Authorizer".
	Subject string
	// Text says what is wrong, in one line.
	Text string
}

// String returns the finding in one line.
func (f Finding) String() string { return f.Subject + ": " + f.Text }

// Findings are what [Audit] found, the same in every run.
type Findings []Finding

// String returns a line for each finding.
func (f Findings) String() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// Err returns nil if there are no findings, or else an error with a line for each.
func (f Findings) Err() error {
	errs := make([]error, len(f))
	for i := range f {
		errs[i] = errors.New("interceptor: " + f[i].String())
	}
	return errors.Join(errs...)
}

// Without returns the findings that are of none of these kinds.
func (f Findings) Without(kinds ...FindingKind) Findings {
	return slices.DeleteFunc(slices.Clone(f), func(finding Finding) bool { return slices.Contains(kinds, finding.Kind) })
}

// Audit compares the methods of a server with what its authentication and an Authorizer
// were told about them, and reports what does not fit: see [FindingKind]. Call it when all
// services are registered, before the server serves, and in a test. Either may be nil, if
// there is none. An Authenticator of which no interceptor was asked for is taken to be in
// use by its AuthFunc, and not to lack any.
func Audit(server ServiceInfoProvider, authn ServerAuth, authz *Authorizer) Findings {
	methods := methodsOf(server.GetServiceInfo())
	var found Findings
	var first *front
	if !isNil(authn) {
		first = authn.audited()
		found = append(found, first.audit(methods, authz)...)
		if _, ok := authn.(*GatewayAuth); ok {
			found = append(found, first.installed.audit("GatewayAuth", methods)...)
		} else if first.installed.unary.Load() || first.installed.stream.Load() {
			found = append(found, first.installed.audit("Authenticator", methods)...)
		}
	}
	if authz != nil {
		found = append(found, authz.audit(methods)...)
		found = append(found, authz.installed.audit("Authorizer", methods)...)
	}
	if first != nil && authz != nil {
		found = append(found, auditBoth(methods, first, authz)...)
	}
	return found
}

// serverMethod is a method of a server.
type serverMethod struct {
	service, name string
	full          string
	stream        bool
}

// methodsOf lists the methods of a server in order.
func methodsOf(services map[string]grpc.ServiceInfo) []serverMethod {
	var methods []serverMethod
	for service, info := range services {
		for _, m := range info.Methods {
			methods = append(methods, serverMethod{
				service, m.Name, "/" + service + "/" + m.Name, m.IsClientStream || m.IsServerStream,
			})
		}
	}
	slices.SortFunc(methods, func(a, b serverMethod) int { return cmp.Compare(a.full, b.full) })
	return methods
}

func noMatch(pattern, where string) Finding {
	return Finding{NoMatch, pattern, "this pattern of " + where + " matches no method of the server"}
}

// audit reports the patterns of WithSkipMethods that match nothing. A program may have
// descriptors of services that its server does not offer: a public method of theirs, fed
// to WithSkipMethods, is no mistake.
func (f *front) audit(methods []serverMethod, authz *Authorizer) Findings {
	var found Findings
	for _, pattern := range f.skip.unmatched(methods) {
		full := "/" + strings.TrimPrefix(pattern, "/")
		if authz == nil || authz.annotations[full] == nil {
			found = append(found, noMatch(pattern, "WithSkipMethods"))
		}
	}
	return found
}

func (a *Authorizer) audit(methods []serverMethod) Findings {
	var found Findings
	for _, pattern := range a.public.unmatched(methods) {
		found = append(found, noMatch(pattern, "WithPublicMethods"))
	}
	for _, rule := range a.rules.rules {
		for _, text := range rule.Methods {
			if pattern, ok := parseMethodPattern(text); !ok || !slices.ContainsFunc(methods, pattern.matches) {
				found = append(found, noMatch(text, fmt.Sprintf("rule %q", rule.Name)))
			}
		}
	}
	for i, m := range methods {
		if a.described != nil && !a.described(m.service) && (i == 0 || methods[i-1].service != m.service) {
			found = append(found, Finding{NoDescriptor, m.service, "no file that WithProtoOptions reads describes this service"})
		}
		options := a.annotations[m.full]
		switch {
		case a.isPublic(m.full):
		case options != nil && options.internal && a.internal == nil:
			found = append(found, Finding{
				NoInternalCallers, m.full, "it is internal, and WithInternalCallers is not given: every call is denied",
			})
		case options != nil && (options.internal || options.required || options.policy != 0):
		case !slices.ContainsFunc(a.rules.targets(m.service), func(t target) bool { return t.names(m.name) }):
			decides := "the default policy, " + a.policy.String() + ","
			if a.authorize != nil {
				decides = "the func of WithAuthorize"
			}
			found = append(found, Finding{NoRule, m.full, "no rule names it: " + decides + " decides about every call"})
		}
	}
	return found
}

// audit reports the kinds of method for which an interceptor was not asked for.
func (i *installed) audit(of string, methods []serverMethod) Findings {
	var found Findings
	for _, kind := range []struct {
		name        string
		stream, has bool
	}{{"UnaryServerInterceptor", false, i.unary.Load()}, {"StreamServerInterceptor", true, i.stream.Load()}} {
		var first string
		var count int
		for _, m := range methods {
			if m.stream == kind.stream {
				first = cmp.Or(first, m.full)
				count++
			}
		}
		if count > 0 && !kind.has {
			found = append(found, Finding{NoInterceptor, of, fmt.Sprintf(
				"its %s was never asked for, and %s is one of %d methods that need it", kind.name, first, count)})
		}
	}
	return found
}

// auditBoth reports the methods that the two do not agree about.
func auditBoth(methods []serverMethod, authn *front, authz *Authorizer) Findings {
	var found Findings
	for _, m := range methods {
		skipped, public := authn.skip.match(m.full), authz.isPublic(m.full)
		switch {
		case skipped && !public:
			found = append(found, Finding{SkippedAndRestricted, m.full,
				"WithSkipMethods lets it through without an identity, and the Authorizer asks for one"})
		case public && !skipped && !authn.optional:
			found = append(found, Finding{PublicButAuthenticated, m.full,
				"the Authorizer has it public, and the Authenticator asks for a session: WithSkipMethods does not name it"})
		}
	}
	return found
}

// Check reports, in one error a line, every pattern of [WithPublicMethods] and of the rules
// that matches no method of server. [Audit] finds more.
func (a *Authorizer) Check(server ServiceInfoProvider) error {
	found := a.audit(methodsOf(server.GetServiceInfo()))
	return slices.DeleteFunc(found, func(f Finding) bool { return f.Kind != NoMatch }).Err()
}
