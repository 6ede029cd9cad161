package lucia

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// DB is a [sql.DB], or what stands in for one. It must be safe for concurrent use.
type DB interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Verifier verifies sessions. It is made by [New], is safe for concurrent use, and needs
// no closing; the DB is the caller's.
type Verifier struct {
	db       DB
	scheme   Scheme
	kind     kind
	lifetime time.Duration
	touch    bool
	cookie   authmd.Extractor
	query    string
	update   string
}

// Session is a session as its row tells.
type Session struct {
	// ID is that of the row. With V3 that is the token itself, and ID is empty.
	ID string
	// UserID is the user's.
	UserID string
	// ExpiresAt is when the session ends if nobody extends it.
	ExpiresAt time.Time
}

// New returns a Verifier of sessions that db keeps by this scheme. Nothing is queried yet.
// The error names every argument and option that is not valid.
func New(db DB, scheme Scheme, dialect Dialect, opts ...Option) (*Verifier, error) {
	k, known := kinds[scheme]
	c := newConfig(k, dialect, opts)
	if pool, ok := db.(*sql.DB); db == nil || ok && pool == nil {
		c.failf("there is no database")
	}
	if !known {
		c.failf("scheme %d: want Inactivity, Basic, TokenHash or V3", scheme)
	}
	if dialect < PostgreSQL || dialect > MySQL {
		c.failf("dialect %d: want PostgreSQL, SQLite or MySQL", dialect)
	}
	table, id, at := c.quote(c.table, 2), c.quote(c.columns.ID, 1), c.quote(c.columns.Time, 1)
	columns := c.quote(c.columns.UserID, 1) + ", " + at
	if hash := c.quote(c.columns.SecretHash, 1); k.secret {
		columns += ", " + hash
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return &Verifier{
		db: db, scheme: scheme, kind: k, lifetime: c.lifetime, touch: c.touch, cookie: authmd.Cookie(c.cookie),
		query: fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s", columns, table, id, dialect.parameter(1)),
		update: fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s = %s AND %s = %s",
			table, at, dialect.parameter(1), id, dialect.parameter(2), at, dialect.parameter(3)),
	}, nil
}

// Extractors returns where the token is, for interceptor.WithExtractors: a bearer token,
// then the session cookie, also under __Host- and __Secure-. Where a token has an id and a
// secret, the interceptor's Forget takes the id for the session, too.
func (v *Verifier) Extractors() []authmd.Extractor {
	if !v.kind.secret {
		return []authmd.Extractor{authmd.Bearer(), v.cookie}
	}
	return []authmd.Extractor{authmd.Named(authmd.Bearer(), idOf), authmd.Named(v.cookie, idOf)}
}

// idOf returns the id in a token that has a secret.
func idOf(token string) string {
	token = authmd.PlainToken(token)
	if id, _, _ := strings.Cut(token, "."); id != "" {
		return id
	}
	return token
}

// Verify is an interceptor.VerifyFunc. token is a session token, percent-encoded or not,
// or a whole Cookie header with the session cookie in it. See the package for its errors.
func (v *Verifier) Verify(ctx context.Context, token string, header http.Header) (*Session, error) {
	credential, ok := endpoint.Choose(token, header, v.cookie, authmd.Bearer())
	plain, err := url.PathUnescape(credential.Token)
	if !ok || err != nil {
		return nil, invalid("not a token")
	}
	id, secret, ok := v.scheme.parse(plain)
	if !ok {
		return nil, invalid("not a token of this scheme")
	}
	var user sql.NullString
	var at moment
	var hash []byte
	into := []any{&user, &at}
	if v.kind.secret {
		into = append(into, &hash)
	}
	err = v.db.QueryRowContext(ctx, v.query, id).Scan(into...)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, invalid("there is no such session")
	case err != nil:
		return nil, unavailable(ctx, err)
	case user.String == "" || at.IsZero():
		return nil, fmt.Errorf("lucia: %w: the row has no user or no time", interceptor.ErrUnavailable)
	case !v.kind.plausible(at.Time, time.Now()):
		return nil, fmt.Errorf("lucia: %w: the time of the row lies too far ahead: it must be unix time in seconds, not milliseconds", interceptor.ErrUnavailable)
	}
	if v.kind.secret {
		stored, ok := decodeHash(hash)
		switch {
		case !ok:
			return nil, fmt.Errorf("lucia: %w: the row has no SHA-256 digest", interceptor.ErrUnavailable)
		case !matches(secret, stored):
			return nil, invalid("another secret")
		}
	}
	expires := at.Time
	if !v.kind.expiry {
		expires = at.Add(v.lifetime)
	}
	now := time.Now()
	if !expires.After(now) {
		return nil, invalid("the session has expired")
	}
	if v.touch {
		expires = v.extend(ctx, id, at, expires, now)
	}
	session := &Session{UserID: user.String, ExpiresAt: expires}
	if v.scheme != V3 {
		session.ID = id
	}
	return session, nil
}

// extend touches a session, if it is time, and returns when it ends then.
func (v *Verifier) extend(ctx context.Context, id string, old moment, expires, now time.Time) time.Time {
	if v.lifetime-expires.Sub(now) < v.kind.touched(v.lifetime) {
		return expires
	}
	next := moment{Time: now, seconds: old.seconds}
	if v.kind.expiry {
		next.Time = now.Add(v.lifetime)
	}
	result, err := v.db.ExecContext(ctx, v.update, next.value(), id, old.value())
	var rows int64
	if err == nil {
		rows, err = result.RowsAffected()
	}
	switch {
	case err != nil:
		trace.SpanFromContext(ctx).AddEvent("lucia: the session could not be extended",
			trace.WithAttributes(attribute.String("error.type", describe(err))))
	case rows > 0:
		return now.Add(v.lifetime)
	}
	return expires // another call was faster, or the session is gone by now
}

// Map is an interceptor.MapFunc. The Subject is the id of the user, and the SessionID that of
// the row, but with V3, where it is the credential itself. Lucia knows nothing of names or
// roles: call it from a callback of your own that does.
func (*Verifier) Map(_ context.Context, s *Session) (*authcontext.AuthContext, error) {
	if s == nil {
		return nil, invalid("there is none")
	}
	return &authcontext.AuthContext{Subject: s.UserID, ExpiresAt: s.ExpiresAt, SessionID: s.ID}, nil
}

func invalid(why string) error {
	return fmt.Errorf("lucia: %w: %s", interceptor.ErrInvalidSession, why)
}

// unavailable is the error for one of the database, without its text.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("lucia: %w: %w", interceptor.ErrUnavailable, ctx.Err())
	}
	return fmt.Errorf("lucia: %w: the database failed: %s", interceptor.ErrUnavailable, describe(err))
}

// describe returns the type of an error and its SQLSTATE, if it has one.
func describe(err error) string {
	text := fmt.Sprintf("%T", err)
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		text += " SQLSTATE " + state.SQLState()
	}
	return text
}

// moment is a time in a column: unix time in seconds, or a type that the driver knows.
type moment struct {
	time.Time

	seconds bool
}

var errNoTime = errors.New("lucia: the column of the time holds none")

// Scan implements [sql.Scanner].
func (m *moment) Scan(value any) error {
	switch value := value.(type) {
	case int64:
		*m = moment{time.Unix(value, 0), true}
	case time.Time:
		*m = moment{value, false}
	default:
		return errNoTime
	}
	return nil
}

// value returns the time as the column has it.
func (m moment) value() any {
	if m.seconds {
		return m.Unix()
	}
	return m.Time
}
