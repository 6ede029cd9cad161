package authz

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/method"
)

// Effect is what a [Rule] does with a call. The zero value is none and is refused by
// [New], so that a rule that forgot its effect allows nothing.
type Effect uint8

// The effects of a rule, and of the default policy.
const (
	Allow Effect = iota + 1
	Deny
)

// String returns "allow" or "deny", or "unknown" for anything else.
func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return "unknown"
}

// Rule allows or denies calls of some methods to the callers that meet its
// requirements. A rule whose requirements are not met does not match, whatever its
// effect: a rule that denies and requires the role "guest" denies guests and nobody else.
type Rule struct {
	// Name says which rule it was on spans and in a [DeniedError]; clients never see
	// it. It must be given, be unique, and not begin with "(".
	Name string
	// Methods are patterns: "pkg.Service/Method", "pkg.Service/*", "pkg.Service/Get*"
	// for the methods whose names begin with Get, or "*", each with or without a
	// leading "/". At least one. They are compared exactly and case-sensitively.
	Methods []string
	// Effect must be Allow or Deny.
	Effect Effect
	// Roles are those of which the caller must have at least one; Scopes those of
	// which the caller must have every one. Nil requires none. A list that is there
	// and empty is refused by New: it may have come out so by mistake, and would
	// let every authenticated caller through.
	Roles, Scopes []string
}

// needs is what the rule requires.
func (r *Rule) needs() requirement { return requirement{r.Roles, r.Scopes} }

// target is a pattern of a rule, for one service.
type target struct {
	rule   *Rule
	method string
	prefix bool // method is only the beginning of the name; "" of every name
}

func (t *target) names(method string) bool {
	return t.method == method || t.prefix && strings.HasPrefix(method, t.method)
}

// ruleSet holds rules by the services that they name. It is immutable.
type ruleSet struct {
	rules     []*Rule
	byService map[string][]target // in the order of the rules, "*" included
	others    []target            // for services that no rule names
}

// newRuleSet checks rules and sorts them by service.
func newRuleSet(rules []Rule) (ruleSet, error) {
	s := ruleSet{byService: map[string][]target{}}
	var errs []error
	parsed := make([][]methodPattern, len(rules))
	seen := map[string]bool{}
	for i := range rules {
		patterns, err := parseRule(&rules[i], seen)
		if err != nil {
			which := fmt.Sprintf("%q", rules[i].Name)
			if strings.TrimSpace(rules[i].Name) == "" {
				which = strconv.Itoa(i + 1)
			}
			errs = append(errs, fmt.Errorf("authz: rule %s: %w", which, err))
			continue
		}
		parsed[i] = patterns
		for _, pattern := range patterns {
			if pattern.service != "" {
				s.byService[pattern.service] = nil
			}
		}
		s.rules = append(s.rules, &rules[i])
	}
	if len(errs) > 0 {
		return ruleSet{}, errors.Join(errs...)
	}
	for i, rule := range s.rules {
		for _, pattern := range parsed[i] {
			t := target{rule, pattern.method, pattern.prefix}
			if pattern.service != "" {
				s.byService[pattern.service] = append(s.byService[pattern.service], t)
				continue
			}
			s.others = append(s.others, t)
			for service, targets := range s.byService {
				s.byService[service] = append(targets, t)
			}
		}
	}
	return s, nil
}

// parseRule returns the patterns of a rule, and what is wrong with it.
func parseRule(rule *Rule, seen map[string]bool) ([]methodPattern, error) {
	switch {
	case strings.TrimSpace(rule.Name) == "":
		return nil, errors.New("it has no name")
	case strings.HasPrefix(rule.Name, "("):
		return nil, errors.New(`a name must not begin with "("`)
	case seen[rule.Name]:
		return nil, errors.New("there is another of this name")
	case rule.Effect != Allow && rule.Effect != Deny:
		return nil, fmt.Errorf("effect %d: want Allow or Deny", rule.Effect)
	case len(rule.Methods) == 0:
		return nil, errors.New("it names no methods")
	case rule.Roles != nil && len(rule.Roles) == 0, rule.Scopes != nil && len(rule.Scopes) == 0:
		return nil, errors.New("a list of roles or scopes is empty: leave it nil to require none")
	case slices.Contains(rule.Roles, ""), slices.Contains(rule.Scopes, ""):
		return nil, errors.New("a role or scope is empty")
	}
	seen[rule.Name] = true
	patterns := make([]methodPattern, 0, len(rule.Methods))
	for _, method := range rule.Methods {
		pattern, ok := parseMethodPattern(method)
		if !ok {
			return nil, fmt.Errorf(
				`method pattern %q: want "pkg.Service/Method", "pkg.Service/*", "pkg.Service/Prefix*" or "*"`, method)
		}
		patterns = append(patterns, pattern)
	}
	return patterns, nil
}

// methodPattern is a parsed pattern of a rule.
type methodPattern struct {
	service string // "": of every service
	method  string
	prefix  bool // see target
}

func parseMethodPattern(text string) (methodPattern, bool) {
	text = strings.TrimPrefix(text, "/")
	if text == "*" {
		return methodPattern{prefix: true}, true
	}
	service, name, ok := strings.Cut(text, "/")
	name, prefix := strings.CutSuffix(name, "*")
	if !ok || !method.IsName(service) || !method.IsName(name) && (name != "" || !prefix) {
		return methodPattern{}, false
	}
	return methodPattern{service, name, prefix}, true
}

func (p methodPattern) matches(m method.Method) bool {
	t := target{method: p.method, prefix: p.prefix}
	return (p.service == "" || p.service == m.Service) && t.names(m.Name)
}

// targets returns what may name a method of service, in the order of the rules.
func (s *ruleSet) targets(service string) []target {
	if targets, ok := s.byService[service]; ok {
		return targets
	}
	return s.others
}

// first returns the first rule that names the method and whose requirements are met;
// nil if there is none.
func (s *ruleSet) first(service, method string, caller *authcontext.AuthContext) *Rule {
	targets := s.targets(service)
	for i := range targets {
		if t := &targets[i]; t.names(method) && t.rule.needs().met(caller) {
			return t.rule
		}
	}
	return nil
}

// unmet lists the rules before last, which decided, that would have allowed the call
// with what the caller lacks. last may be nil.
func (s *ruleSet) unmet(service, method string, caller *authcontext.AuthContext, last *Rule) []UnmetRule {
	var unmet []UnmetRule
	var before *Rule // a rule may name a method more than once
	targets := s.targets(service)
	for i := range targets {
		t := &targets[i]
		switch {
		case t.rule == last:
			return unmet
		case t.rule == before, t.rule.Effect != Allow, !t.names(method), t.rule.needs().met(caller):
			continue
		}
		before = t.rule
		unmet = append(unmet, t.rule.needs().unmet(t.rule.Name, caller))
	}
	return unmet
}
