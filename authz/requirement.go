package authz

import (
	"slices"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

// vocabulary numbers the roles and scopes that rules require. A caller's are then
// looked up once, however many rules there are.
type vocabulary struct {
	roles, scopes map[string]int
}

func newVocabulary() *vocabulary {
	return &vocabulary{roles: map[string]int{}, scopes: map[string]int{}}
}

func (v *vocabulary) number(names map[string]int, name string) int {
	n, ok := names[name]
	if !ok {
		n = len(v.roles) + len(v.scopes)
		names[name] = n
	}
	return n
}

// requirement returns the requirement of any of roles and all of scopes.
func (v *vocabulary) requirement(roles, scopes []string) requirement {
	var r requirement
	for _, role := range roles {
		r.roles = append(r.roles, v.number(v.roles, role))
	}
	for _, scope := range scopes {
		r.scopes = append(r.scopes, v.number(v.scopes, scope))
	}
	return r
}

// held is the set of numbers of the roles and scopes that a caller has.
type held []uint64

func (h held) has(n int) bool { return h[n/64]&(1<<(n%64)) != 0 }

func (h held) add(n int) { h[n/64] |= 1 << (n % 64) }

// heldSpace is room for the set of 512 roles and scopes, without an allocation.
type heldSpace [8]uint64

// held returns what the caller has, in space, which must be zero, if there is enough of it.
func (v *vocabulary) held(caller *authcontext.AuthContext, space *heldSpace) held {
	have := held(space[:])
	if words := (len(v.roles) + len(v.scopes) + 63) / 64; words > len(have) {
		have = make(held, words)
	}
	for _, role := range caller.Roles {
		if n, ok := v.roles[role]; ok {
			have.add(n)
		}
	}
	for _, scope := range caller.Scopes {
		if n, ok := v.scopes[scope]; ok {
			have.add(n)
		}
	}
	return have
}

// requirement is what a caller must have: any of the roles, if there are any, and all
// of the scopes.
type requirement struct{ roles, scopes []int }

func (r *requirement) met(have held) bool { return r.rolesMet(have) && r.scopesMet(have) }

func (r *requirement) rolesMet(have held) bool {
	return len(r.roles) == 0 || slices.ContainsFunc(r.roles, func(n int) bool { return have.has(n) })
}

func (r *requirement) scopesMet(have held) bool {
	return !slices.ContainsFunc(r.scopes, func(n int) bool { return !have.has(n) })
}

// unmet says what the caller lacks. roles and scopes are the texts of the numbers.
func (r *requirement) unmet(rule string, roles, scopes []string, have held) UnmetRule {
	u := UnmetRule{Rule: rule}
	if !r.rolesMet(have) {
		u.AnyRole = append(u.AnyRole, roles...)
	}
	for i, n := range r.scopes {
		if !have.has(n) {
			u.Scopes = append(u.Scopes, scopes[i])
		}
	}
	return u
}
