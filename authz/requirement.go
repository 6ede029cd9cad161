package authz

import (
	"slices"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

// requirement is what a caller must have: any of the roles, if there are any, and all
// of the scopes. An empty one is met by every caller.
type requirement struct{ roles, scopes []string }

func (r requirement) met(caller *authcontext.AuthContext) bool {
	return r.rolesMet(caller) && r.scopesMet(caller)
}

// HasAnyRole and HasAllScopes are false for none: a list that came out empty must not
// mean "allow". Whether an empty list may be here at all was decided by New.
func (r requirement) rolesMet(caller *authcontext.AuthContext) bool {
	return len(r.roles) == 0 || caller.HasAnyRole(r.roles...)
}

func (r requirement) scopesMet(caller *authcontext.AuthContext) bool {
	return len(r.scopes) == 0 || caller.HasAllScopes(r.scopes...)
}

// unmet says what the caller lacks. It shares no memory with r.
func (r requirement) unmet(rule string, caller *authcontext.AuthContext) UnmetRule {
	u := UnmetRule{Rule: rule}
	if !r.rolesMet(caller) {
		u.AnyRole = slices.Clone(r.roles)
	}
	for _, scope := range r.scopes {
		if !caller.HasAllScopes(scope) {
			u.Scopes = append(u.Scopes, scope)
		}
	}
	return u
}
