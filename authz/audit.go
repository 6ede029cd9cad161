package authz

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"github.com/grpc-sessionauth/sessionauth/internal/method"
	"github.com/grpc-sessionauth/sessionauth/internal/nils"
)

// ServiceInfoProvider is a server that can list its methods, such as a [*grpc.Server].
type ServiceInfoProvider = method.ServiceInfoProvider

// Authn says who calls, as an Authenticator of package interceptor does. It is compared
// with what the interceptors of a server say that they belong to, so it must be the one
// that they were made by.
type Authn interface {
	// SkipPatterns returns the patterns of methods that are let through unseen.
	SkipPatterns() []string
	// Skips reports whether a method, "/pkg.Service/Method", is one of them.
	Skips(fullMethod string) bool
	// Optional reports whether a call without a credential is let through.
	Optional() bool
	// Installed reports which of the interceptors were asked for.
	Installed() (unary, stream bool)
	// Name is how findings call it.
	Name() string
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
	// NoInterceptor: the server has methods that no interceptor of it guards.
	NoInterceptor FindingKind = "no interceptor"
	// WrongOrder: the Authorizer runs in front of the Authenticator, and finds no identity.
	WrongOrder FindingKind = "wrong order"
	// Unreached: another interceptor answers a call without a credential before it comes
	// to one of these two, and nothing is known of what is behind it.
	Unreached FindingKind = "unreached"
	// Unseen: the interceptors of the server cannot be looked at, since this version of
	// grpc-go keeps them in another way than is known.
	Unseen FindingKind = "unseen"
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
		errs[i] = errors.New("authz: " + f[i].String())
	}
	return errors.Join(errs...)
}

// Without returns the findings that are of none of these kinds.
func (f Findings) Without(kinds ...FindingKind) Findings {
	return slices.DeleteFunc(slices.Clone(f), func(finding Finding) bool { return slices.Contains(kinds, finding.Kind) })
}

// Audit compares the methods of a server with what its authentication and an Authorizer
// were told about them, looks at whether their interceptors are in front of each method, in
// the right order, and reports what does not fit: see [FindingKind]. Call it when all
// services are registered, before the server serves, and in a test. Either may be nil, if
// there is none.
//
// To see who is in front of a method, the interceptors of a [*grpc.Server] are run, at most
// twice for each of its methods, with an empty request, no metadata and no identity; what
// is behind the Authenticator and the Authorizer is not, and a handler never is. It takes 10 s
// at most. Of a server of any other type it is only known which interceptors were
// asked for, and an Authn of which none was is taken to be in use by its AuthFunc.
func Audit(server ServiceInfoProvider, authn Authn, z *Authorizer) Findings {
	if nils.Is(authn) {
		authn = nil
	}
	methods := method.Of(server)
	var found Findings
	if authn != nil {
		found = append(found, auditAuthn(methods, authn, z)...)
	}
	if z != nil {
		found = append(found, z.audit(methods)...)
	}
	found = append(found, auditInterceptors(server, methods, authn, z)...)
	if authn != nil && z != nil {
		found = append(found, auditBoth(methods, authn, z)...)
	}
	return found
}

// auditInterceptors reports the methods that are not guarded.
func auditInterceptors(server ServiceInfoProvider, methods []method.Method, authn Authn, z *Authorizer) Findings {
	var found Findings
	if s, ok := server.(*grpc.Server); ok {
		c, ok := chainOf(s)
		if ok {
			return c.audit(methods, authn, z)
		}
		found = append(found, Finding{Unseen, "grpc.Server", "this version of grpc-go does not let its interceptors be looked at"})
	}
	if authn != nil {
		if unary, stream := authn.Installed(); unary || stream {
			found = append(found, auditInstalled(authn.Name(), unary, stream, methods)...)
		}
	}
	if z != nil {
		found = append(found, auditInstalled(authorizerName, z.installed.unary.Load(), z.installed.stream.Load(), methods)...)
	}
	return found
}

// authorizerName is how findings call an Authorizer.
const authorizerName = "Authorizer"

func noMatch(pattern, where string) Finding {
	return Finding{NoMatch, pattern, "this pattern of " + where + " matches no method of the server"}
}

// auditAuthn reports the patterns of WithSkipMethods that match nothing. A program may have
// descriptors of services that its server does not offer: a public method of theirs, fed
// to WithSkipMethods, is no mistake.
func auditAuthn(methods []method.Method, authn Authn, z *Authorizer) Findings {
	var found Findings
	skip, _ := method.NewSet(authn.SkipPatterns())
	for _, pattern := range skip.Unmatched(methods) {
		full := "/" + strings.TrimPrefix(pattern, "/")
		if z == nil || z.annotations.methods[full] == nil {
			found = append(found, noMatch(pattern, "WithSkipMethods"))
		}
	}
	return found
}

func (a *Authorizer) audit(methods []method.Method) Findings {
	var found Findings
	for _, pattern := range a.public.Unmatched(methods) {
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
		if a.annotations.services != nil && !a.annotations.services[m.Service] && (i == 0 || methods[i-1].Service != m.Service) {
			found = append(found, Finding{NoDescriptor, m.Service, "no file that WithProtoOptions had when New read it describes this service"})
		}
		options := a.annotations.methods[m.Full]
		switch {
		case a.isPublic(m.Full):
		case options != nil && options.internal && a.internal == nil:
			found = append(found, Finding{
				NoInternalCallers, m.Full, "it is internal, and WithInternalCallers is not given: every call is denied",
			})
		case options != nil && (options.internal || options.required || options.policy != 0):
		case !slices.ContainsFunc(a.rules.targets(m.Service), func(t target) bool { return t.names(m.Name) }):
			decides := "the default policy, " + a.policy.String() + ","
			if a.authorize != nil {
				decides = "the func of WithAuthorize"
			}
			found = append(found, Finding{NoRule, m.Full, "no rule names it: " + decides + " decides about every call"})
		}
	}
	return found
}

// auditInstalled reports the kinds of method for which an interceptor was not asked for.
func auditInstalled(of string, unary, stream bool, methods []method.Method) Findings {
	var found Findings
	for _, kind := range []struct {
		name        string
		stream, has bool
	}{{"UnaryServerInterceptor", false, unary}, {"StreamServerInterceptor", true, stream}} {
		var first string
		var count int
		for _, m := range methods {
			if m.Stream == kind.stream {
				first = cmp.Or(first, m.Full)
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
func auditBoth(methods []method.Method, authn Authn, z *Authorizer) Findings {
	var found Findings
	for _, m := range methods {
		skipped, public := authn.Skips(m.Full), z.isPublic(m.Full)
		switch {
		case skipped && !public && (!z.isInternal(m.Full) || z.internal == nil): // something else authenticates services
			found = append(found, Finding{SkippedAndRestricted, m.Full,
				"WithSkipMethods lets it through without an identity, and the Authorizer asks for one"})
		case public && !skipped && !authn.Optional():
			found = append(found, Finding{PublicButAuthenticated, m.Full,
				"the Authorizer has it public, and the Authenticator asks for a session: WithSkipMethods does not name it"})
		}
	}
	return found
}
