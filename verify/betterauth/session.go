package betterauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Session is a session of better-auth, without its token. It is shared by the calls
// that one verification answers and must not be modified.
type Session struct {
	ID        string    `json:"id"`
	UserID    string    `json:"userId"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	// ImpersonatedBy is the id of the administrator who acts as this user (admin
	// plugin); empty: nobody.
	ImpersonatedBy string `json:"impersonatedBy"`
	// ActiveOrganizationID is that of the organization plugin; it may be empty.
	ActiveOrganizationID string `json:"activeOrganizationId"`
	User                 User   `json:"-"`
}

// User is the user of a [Session].
type User struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"emailVerified"`
	// Role holds the roles of the admin plugin, separated by commas; see Roles.
	Role string `json:"role"`
	// Banned users are refused, until BanExpires if that is not zero.
	Banned     bool      `json:"banned"`
	BanExpires time.Time `json:"banExpires"`
	// Fields are all fields of the user as they came, plugins' and additional ones
	// included. Numbers are float64.
	Fields map[string]any `json:"-"`
}

// Roles returns the roles of the admin plugin; none without it.
func (u User) Roles() []string {
	var roles []string
	for role := range strings.SplitSeq(u.Role, ",") {
		if role = strings.TrimSpace(role); role != "" {
			roles = append(roles, role)
		}
	}
	return roles
}

func (u User) isBanned(now time.Time) bool {
	return u.Banned && (u.BanExpires.IsZero() || u.BanExpires.After(now))
}

// Format implements [fmt.Formatter]: whose session it is and how long it lasts, and
// nothing personal.
func (s Session) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "Session{ID:%q UserID:%q ExpiresAt:%s}", s.ID, s.UserID, s.ExpiresAt.Format(time.RFC3339))
}

// Format implements [fmt.Formatter]: the id.
func (u User) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "User{ID:%q}", u.ID) }

// body is what get-session answers.
type body struct {
	Session Session         `json:"session"`
	User    json.RawMessage `json:"user"`
}

// session returns the Session of a body. The token is not in it.
func (b *body) session() (*Session, error) {
	s := b.Session
	err := errors.Join(json.Unmarshal(b.User, &s.User), json.Unmarshal(b.User, &s.User.Fields))
	return &s, err
}
