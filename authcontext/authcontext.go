// Package authcontext holds the verified identity of a caller and carries it in
// a [context.Context].
//
// A handler behind the session interceptor reads it with [FromContext] or
// [Require], and the session itself, as the verify callback returned it, with
// [SessionFromContext]. An [AuthContext] is shared by every call that the same
// verification answers: it must not be modified. [AuthContext.Clone] gives a copy
// that may.
//
// # Security
//
// Only the interceptor, and tests, should call [NewContext], and a service that calls
// others on its own behalf. Neither fmt nor log/slog nor encoding/json writes the claims
// or the SessionID of an AuthContext, because frameworks like to put the session token
// among them: see [AuthContext.MarshalJSON]. One exception cannot be mended: fmt calls no
// methods on what it finds in an unexported field of a struct of yours. Let such a field
// hold a pointer, and print the struct with none but %v, %+v and %#v, which stop there.
package authcontext

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TypeSession is the Type of an [AuthContext] whose mapper named no other.
const TypeSession = "session"

// errorDomain is reason.Domain.
const errorDomain = "github.com/grpc-sessionauth/sessionauth"

// AuthContext is a verified identity.
type AuthContext struct {
	// Subject identifies the caller to the session's owner. It is never empty in
	// an AuthContext that comes from the interceptor.
	Subject string
	// Name is for people to read. It may be empty.
	Name string
	// Roles and Scopes are what the session's owner grants. They are compared
	// exactly and case-sensitively.
	Roles, Scopes []string
	// Claims holds anything else. Clone copies maps and slices as encoding/json
	// makes them; other reference types in it are shared.
	Claims map[string]any
	// Type says how the caller was authenticated: TypeSession unless the mapper
	// says otherwise.
	Type string
	// ExpiresAt is when the session ends. Zero means that no expiry is known.
	ExpiresAt time.Time
	// SessionID is what the session's owner calls the session when it ends it: the
	// argument of interceptor's ForgetSession. It must not be a credential. It is
	// neither printed nor sent on. It may be empty.
	SessionID string
}

type contextKey struct{}

// Identity is an [AuthContext] and the session it was mapped from, ready to be put
// into any number of contexts. It is immutable.
type Identity struct {
	auth    *AuthContext
	session any
}

// NewIdentity returns the Identity of ac and session. Neither is copied.
func NewIdentity(ac *AuthContext, session any) *Identity { return &Identity{ac, session} }

// AuthContext returns what NewIdentity was given.
func (id *Identity) AuthContext() *AuthContext { return id.auth }

// Session returns the session that NewIdentity was given; nil for none.
func (id *Identity) Session() any { return id.session }

// NewContext returns a context that carries id, for [FromContext] and
// [SessionFromContext] to find.
func (id *Identity) NewContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextKey{}, id)
}

// Format implements [fmt.Formatter]: that of the AuthContext, without the session. It
// has a value receiver, so that a copy is no less careful.
func (id Identity) Format(f fmt.State, verb rune) {
	if id.auth == nil {
		_, _ = f.Write([]byte("AuthContext(nil)"))
		return
	}
	id.auth.Format(f, verb)
}

// NewContext returns a context that carries ac, without a session. A nil ac hides
// the one that ctx carries, if any.
func NewContext(ctx context.Context, ac *AuthContext) context.Context {
	return NewIdentity(ac, nil).NewContext(ctx)
}

// FromContext returns the identity that ctx carries. It is shared and must not be
// modified. It is absent, and false, on skipped methods and, with
// interceptor.WithOptionalAuth, on calls without a credential. On a stream it is that of
// the newest verification of its session: ask again rather than keep it; see [OnRenewal].
func FromContext(ctx context.Context) (*AuthContext, bool) {
	id := identityOf(ctx)
	if id == nil || id.auth == nil {
		return nil, false
	}
	return id.auth, true
}

// Require is [FromContext] for handlers that cannot do without: when there is no
// identity, the error is a status, Unauthenticated "missing credentials" with the
// reason MISSING_CREDENTIALS, to be returned to the client as it is.
func Require(ctx context.Context) (*AuthContext, error) {
	if ac, ok := FromContext(ctx); ok {
		return ac, nil
	}
	st := status.New(codes.Unauthenticated, "missing credentials")
	if detailed, err := st.WithDetails(&errdetails.ErrorInfo{Reason: "MISSING_CREDENTIALS", Domain: errorDomain}); err == nil {
		st = detailed
	}
	return nil, st.Err()
}

// SessionFromContext returns the session as the verify callback returned it. It
// is false when ctx carries none, or one of another type than S. The session is
// shared by all calls that one verification answers and must not be modified.
func SessionFromContext[S any](ctx context.Context) (S, bool) {
	id := identityOf(ctx)
	if id == nil || id.auth == nil {
		var none S
		return none, false
	}
	session, ok := id.session.(S)
	return session, ok
}

// HasAnyRole reports whether ac has at least one of roles. It is false for no
// roles, and on a nil ac.
func (ac *AuthContext) HasAnyRole(roles ...string) bool {
	return ac != nil && slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(ac.Roles, role) })
}

// HasAllScopes reports whether ac has every one of scopes. It is false for no
// scopes, since a list that came out empty must not mean "allow", and on a nil ac.
func (ac *AuthContext) HasAllScopes(scopes ...string) bool {
	return ac != nil && len(scopes) > 0 &&
		!slices.ContainsFunc(scopes, func(scope string) bool { return !slices.Contains(ac.Scopes, scope) })
}

// Clone returns a copy that shares no roles, scopes or claims with ac. It is nil
// for a nil ac.
func (ac *AuthContext) Clone() *AuthContext {
	if ac == nil {
		return nil
	}
	clone := *ac
	clone.Roles = slices.Clone(ac.Roles)
	clone.Scopes = slices.Clone(ac.Scopes)
	clone.Claims = cloneClaims(ac.Claims)
	return &clone
}

func cloneClaims(claims map[string]any) map[string]any {
	if claims == nil {
		return nil
	}
	clone := make(map[string]any, len(claims))
	for name, value := range claims {
		clone[name] = cloneClaim(value)
	}
	return clone
}

func cloneClaim(value any) any {
	switch value := value.(type) {
	case map[string]any:
		return cloneClaims(value)
	case []any:
		clone := slices.Clone(value)
		for i := range clone {
			clone[i] = cloneClaim(clone[i])
		}
		return clone
	case []string:
		return slices.Clone(value)
	case []byte:
		return slices.Clone(value)
	}
	return value
}

// LogValue implements [slog.LogValuer]: who the caller is, without the claims and the
// SessionID. A nil ac is "anonymous". What holds an AuthContext instead of a pointer to
// it, or is logged as a part of something else, is written by Format or MarshalJSON.
func (ac *AuthContext) LogValue() slog.Value {
	if ac == nil {
		return slog.StringValue("anonymous")
	}
	attrs := []slog.Attr{slog.String("subject", ac.Subject), slog.String("type", ac.Type)}
	if ac.Name != "" {
		attrs = append(attrs, slog.String("name", ac.Name))
	}
	if len(ac.Roles) > 0 {
		attrs = append(attrs, slog.Any("roles", ac.Roles))
	}
	if len(ac.Scopes) > 0 {
		attrs = append(attrs, slog.Any("scopes", ac.Scopes))
	}
	if !ac.ExpiresAt.IsZero() {
		attrs = append(attrs, slog.Time("expires_at", ac.ExpiresAt))
	}
	return slog.GroupValue(attrs...)
}

// MarshalJSON implements [json.Marshaler]: everything but Claims and SessionID, which
// are left out because loggers encode the structs, slices and maps that they are given.
// It has a value receiver, so that a copy is no less careful. To store the claims, marshal
// them by themselves; to store an AuthContext whole, convert it to a type without methods:
//
//	type whole authcontext.AuthContext
//	text, err := json.Marshal((*whole)(ac))
func (ac AuthContext) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct { //nolint:musttag // as AuthContext has no tags either
		Subject       string
		Name          string    `json:",omitempty"`
		Roles, Scopes []string  `json:",omitempty"`
		Type          string    `json:",omitempty"`
		ExpiresAt     time.Time `json:",omitzero"`
	}{ac.Subject, ac.Name, ac.Roles, ac.Scopes, ac.Type, ac.ExpiresAt})
}

// Format implements [fmt.Formatter]: the same for every verb, without the claims and the
// SessionID. It has a value receiver so that a copy is no less careful than the original.
func (ac AuthContext) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "AuthContext{Subject:%q Name:%q Type:%q Roles:%q Scopes:%q ExpiresAt:%s}",
		ac.Subject, ac.Name, ac.Type, ac.Roles, ac.Scopes, ac.ExpiresAt.Format(time.RFC3339))
}
