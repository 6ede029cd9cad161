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
	// Roles are what is in the user's field "role": of the admin plugin, a text in which
	// commas separate them; in a schema of your own, a list of texts.
	Roles []string `json:"-"`
	// Banned users are refused, until BanExpires if that is not zero.
	Banned     bool      `json:"banned"`
	BanExpires time.Time `json:"banExpires"`
	// Fields are all fields of the user as they came, plugins' and additional ones
	// included. Numbers are float64.
	Fields map[string]any `json:"-"`
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
	Session      Session         `json:"session"`
	User         json.RawMessage `json:"user"`
	NeedsRefresh bool            `json:"needsRefresh"` // with session.deferSessionRefresh
}

// session returns the Session of a body. The token is not in it.
func (b *body) session() (*Session, error) {
	s := b.Session
	var role struct {
		Role roles `json:"role"`
	}
	err := errors.Join(json.Unmarshal(b.User, &s.User), json.Unmarshal(b.User, &role), json.Unmarshal(b.User, &s.User.Fields))
	s.User.Roles = role.Role
	return &s, err
}

// roles are those in a text, separated by commas, or in a list of texts.
type roles []string

// UnmarshalJSON implements [json.Unmarshaler].
func (r *roles) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) != nil {
		var text string
		if err := json.Unmarshal(data, &text); err != nil {
			return err
		}
		list = strings.Split(text, ",")
	}
	for _, role := range list {
		if role = strings.TrimSpace(role); role != "" {
			*r = append(*r, role)
		}
	}
	return nil
}
