package kratos

import (
	"fmt"
	"time"
)

// Session is an active session of Kratos. It is shared by the calls that one
// verification answers and must not be modified.
type Session struct {
	ID              string    `json:"id"`
	ExpiresAt       time.Time `json:"expires_at"`
	AuthenticatedAt time.Time `json:"authenticated_at"`
	// AuthenticatorAssuranceLevel is "aal1", or "aal2" with a second factor.
	AuthenticatorAssuranceLevel string   `json:"authenticator_assurance_level"`
	Identity                    Identity `json:"identity"`
}

// Identity is who a [Session] belongs to.
type Identity struct {
	ID       string `json:"id"`
	SchemaID string `json:"schema_id"`
	State    string `json:"state"`
	// Traits are as the schema says. They are personal, and a user may be able to
	// change them: do not take roles from them.
	Traits map[string]any `json:"traits"`
	// MetadataPublic is what administrators wrote. Numbers are float64.
	MetadataPublic map[string]any `json:"metadata_public"`
}

// Format implements [fmt.Formatter]: whose session it is and how long it lasts, and
// nothing personal.
func (s Session) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "Session{ID:%q Identity:%q ExpiresAt:%s}", s.ID, s.Identity.ID, s.ExpiresAt.Format(time.RFC3339))
}

// Format implements [fmt.Formatter]: the id.
func (i Identity) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "Identity{ID:%q}", i.ID) }
