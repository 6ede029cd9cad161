package authz

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/internal/method"
)

// ServiceInfoProvider is a server that can list its methods, such as a [*grpc.Server].
type ServiceInfoProvider = method.ServiceInfoProvider

// Authn says who calls, as an Authenticator of package interceptor does.
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
		errs[i] = errors.New("authz: " + f[i].String())
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
// there is none. An Authn of which no interceptor was asked for is taken to be in
// use by its AuthFunc, and not to lack any.
func Audit(server ServiceInfoProvider, authn Authn, z *Authorizer) Findings {
	methods := method.Of(server)
	var found Findings
	if !isNil(authn) {
		found = append(found, auditAuthn(methods, authn, z)...)
		if unary, stream := authn.Installed(); unary || stream {
			found = append(found, auditInstalled(authn.Name(), unary, stream, methods)...)
		}
	}
	if z != nil {
		found = append(found, z.audit(methods)...)
		found = append(found, auditInstalled("Authorizer", z.installed.unary.Load(), z.installed.stream.Load(), methods)...)
	}
	if !isNil(authn) && z != nil {
		found = append(found, auditBoth(methods, authn, z)...)
	}
	return found
}

func noMatch(pattern, where string) Finding {
	return Finding{NoMatch, pattern, "this pattern of " + where + " matches no method of the server"}
}

// audit reports the patterns of WithSkipMethods that match nothing. A program may have
// descriptors of services that its server does not offer: a public method of theirs, fed
// to WithSkipMethods, is no mistake.
func auditAuthn(methods []method.Method, authn Authn, z *Authorizer) Findings {
	var found Findings
	skip, _ := method.NewSet(authn.SkipPatterns())
	for _, pattern := range skip.Unmatched(methods) {
		full := "/" + strings.TrimPrefix(pattern, "/")
		if z == nil || z.annotations[full] == nil {
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
		if a.described != nil && !a.described(m.Service) && (i == 0 || methods[i-1].Service != m.Service) {
			found = append(found, Finding{NoDescriptor, m.Service, "no file that WithProtoOptions reads describes this service"})
		}
		options := a.annotations[m.Full]
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

// audit reports the kinds of method for which an interceptor was not asked for.
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
		case skipped && !public:
			found = append(found, Finding{SkippedAndRestricted, m.Full,
				"WithSkipMethods lets it through without an identity, and the Authorizer asks for one"})
		case public && !skipped && !authn.Optional():
			found = append(found, Finding{PublicButAuthenticated, m.Full,
				"the Authorizer has it public, and the Authenticator asks for a session: WithSkipMethods does not name it"})
		}
	}
	return found
}

// isNil reports whether authn is nil, or a nil pointer.
func isNil(authn Authn) bool {
	v := reflect.ValueOf(authn)
	return !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil()
}
