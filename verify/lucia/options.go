package lucia

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// Dialect says how a database writes parameters and names.
type Dialect uint8

// The dialects. For a DATETIME of MySQL its driver must be told to return times, and of which
// zone they are: parseTime=true and, for what Node writes, loc=UTC.
const (
	PostgreSQL Dialect = iota + 1 // $1, "name"
	SQLite                        // ?, "name"
	MySQL                         // ?, `name`
)

// parameter returns the nth one, from 1.
func (d Dialect) parameter(n int) string {
	if d == PostgreSQL {
		return fmt.Sprintf("$%d", n)
	}
	return "?"
}

// Option configures a [Verifier]. A nil Option is ignored.
type Option interface{ apply(*config) }

type optionFunc func(*config)

func (f optionFunc) apply(c *config) { f(c) }

type config struct {
	mark     string // around names
	table    string
	columns  Columns
	cookie   string
	lifetime time.Duration
	touch    bool
	errs     []error
}

func (c *config) failf(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf("lucia: "+format, args...))
}

// WithTable names the table of the sessions. By default it is "session", which is what the
// guide has called it since there are secrets, so with Inactivity and Basic. Before, with
// TokenHash, that was its name in the guide's pages for SQLite and Drizzle; in those for
// PostgreSQL and MySQL it was "user_session", and in that for Prisma "Session", with the
// columns "userId" and "expiresAt". The adapters of V3 are told a name by the
// application. It can have a schema in
// front: "auth.session". Names are made of ASCII letters, digits and "_", and are quoted:
// they must be in the case in which the database has them. Any other makes [New] fail.
func WithTable(name string) Option { return optionFunc(func(c *config) { c.table = name }) }

// Columns are the names of columns. An empty one means that of the [Scheme].
type Columns struct {
	ID, UserID, SecretHash string
	// Time is the column of the time that the scheme goes by.
	Time string
}

// WithColumns names columns. The names are as for [WithTable].
func WithColumns(columns Columns) Option { return optionFunc(func(c *config) { c.columns = columns }) }

// WithCookie names the cookie in which [Verifier.Extractors] finds the token: by default
// "session_token" for Inactivity and Basic, "session" for TokenHash and "auth_session" for
// V3. One that is no cookie name makes [New] fail.
func WithCookie(name string) Option {
	return optionFunc(func(c *config) {
		c.cookie = name
		if source, ok := authmd.Cookie(name).(authmd.Source); name == "" || !ok || source.Header() == "" {
			c.failf("WithCookie: %q is no cookie name", name)
		}
	})
}

// WithLifetime is how long a session lasts: for Inactivity after it was last verified, by
// default 10 days; for Basic after it was made, by default a day; for TokenHash and V3 it is
// what [WithTouch] extends it to, by default 30 days. It must be what the application uses.
// One of less than a second makes [New] fail.
func WithLifetime(lifetime time.Duration) Option {
	return optionFunc(func(c *config) {
		c.lifetime = lifetime
		if lifetime < time.Second {
			c.failf("WithLifetime: want a second or more, got %v", lifetime)
		}
	})
}

// WithTouch has a verification extend the session, as the application does: for Inactivity
// when it was last verified an hour ago or more, for TokenHash and V3 when less than half of
// its lifetime is left. An update that fails is noted on the span of the verification, and
// the session is good until its time all the same. By default nothing is written. With Basic
// it makes [New] fail.
func WithTouch() Option { return optionFunc(func(c *config) { c.touch = true }) }

func newConfig(k kind, dialect Dialect, opts []Option) config {
	c := config{mark: `"`, table: "session", cookie: k.cookie, lifetime: k.lifetime}
	for _, opt := range opts {
		if opt != nil {
			opt.apply(&c)
		}
	}
	if dialect == MySQL {
		c.mark = "`"
	}
	c.columns = Columns{
		ID:         cmp.Or(c.columns.ID, "id"),
		UserID:     cmp.Or(c.columns.UserID, "user_id"),
		SecretHash: cmp.Or(c.columns.SecretHash, "secret_hash"),
		Time:       cmp.Or(c.columns.Time, k.column),
	}
	if c.touch && k.touched == nil {
		c.failf("WithTouch: with Basic a session lasts from when it was made")
	}
	return c
}

// quote returns a name, of parts with dots between them if it is that of a table, as SQL has it.
func (c *config) quote(name string, parts int) string {
	all := strings.Split(name, ".")
	for i, part := range all {
		if len(all) > parts || !isName(part) {
			c.failf("%q is no name of ASCII letters, digits and \"_\"", name)
			return ""
		}
		all[i] = c.mark + part + c.mark
	}
	return strings.Join(all, ".")
}

func isName(s string) bool {
	return s != "" && len(s) <= 63 && (s[0] < '0' || s[0] > '9') && !strings.ContainsFunc(s, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
}
