package e2e_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/lucia"
)

const day = 24 * time.Hour

// newLucia returns a client of a server that looks into d.
func newLucia(t *testing.T, d *database, scheme lucia.Scheme, opts []lucia.Option, more ...interceptor.Option) client {
	t.Helper()
	v, err := lucia.New(d, scheme, d.dialect, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, newAuth(t, v.Verify, v.Map, append(more, interceptor.WithExtractors(v.Extractors()...))...))
}

// eachDatabase runs a test with each kind of database, fresh.
func eachDatabase(t *testing.T, test func(t *testing.T, d *database)) {
	t.Helper()
	for name, open := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// luciaSession is what npm's lucia says of a session.
type luciaSession struct {
	ID, Cookie, User string
	Fresh            bool
	ExpiresAt        time.Time
}

// TestLuciaOfNpm has npm's lucia make the rows, and agree.
func TestLuciaOfNpm(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, d *database) {
		d.do(t, "CREATE TABLE auth_user (id TEXT NOT NULL PRIMARY KEY)")
		d.do(t, "CREATE TABLE user_session (id TEXT NOT NULL PRIMARY KEY, expires_at "+d.instant+" NOT NULL, user_id TEXT NOT NULL REFERENCES auth_user(id))")
		d.do(t, "INSERT INTO auth_user (id) VALUES ('ada'), ('ben')")
		npm := start(t, script(t, "lucia.mjs", d.kind, d.source))
		ask := func(op, of string) luciaSession {
			t.Helper()
			var s luciaSession
			npm.ask(map[string]string{"op": op, "user": of, "id": of}, &s)
			return s
		}
		in := []lucia.Option{lucia.WithTable("user_session")}
		c, touching := newLucia(t, d, lucia.V3, in), newLucia(t, d, lucia.V3, append(in, lucia.WithTouch()))
		ada, ben := ask("create", "ada"), ask("create", "ben")
		cookie, _, _ := strings.Cut(ada.Cookie, ";")

		who := c.accept(t, "ada", "cookie", cookie)
		c.accept(t, "ada", "authorization", "Bearer "+ada.ID)
		c.accept(t, "ben", "authorization", "Bearer "+ben.ID)
		if diff := who.ExpiresAt.Sub(ada.ExpiresAt).Abs(); diff > time.Second {
			t.Errorf("it ends at %v, lucia says %v", who.ExpiresAt, ada.ExpiresAt)
		}
		for _, id := range []string{"unknown", ada.ID + "x", strings.ToUpper(ada.ID), "' OR '1'='1"} {
			if user := ask("validate", id).User; user != "" {
				t.Fatalf("lucia takes %q for %s", id, user)
			}
			c.invalid(t, "cookie", "auth_session="+strings.NewReplacer(" ", "%20", "'", "%27").Replace(id))
		}

		// Lucia extends a session of which less than half is left, and so does WithTouch, to the same time.
		d.expireAt(t, ben.ID, time.Now().Add(14*day))
		c.accept(t, "ben", "authorization", "Bearer "+ben.ID)
		extended := touching.accept(t, "ben", "authorization", "Bearer "+ben.ID).ExpiresAt
		after := ask("validate", ben.ID)
		if after.Fresh {
			t.Error("lucia had to extend what was extended already")
		}
		if diff := after.ExpiresAt.Sub(extended).Abs(); diff > time.Second || time.Until(extended) < 29*day {
			t.Errorf("extended to %v, lucia reads %v", extended, after.ExpiresAt)
		}
		d.expireAt(t, ben.ID, time.Now().Add(14*day))
		if theirs := ask("validate", ben.ID); !theirs.Fresh || theirs.ExpiresAt.Sub(extended).Abs() > time.Minute {
			t.Errorf("lucia extends to %v, WithTouch to %v", theirs.ExpiresAt, extended)
		}
		d.expireAt(t, ben.ID, time.Now().Add(16*day)) // more than half is left
		touching.accept(t, "ben", "authorization", "Bearer "+ben.ID)
		if got := ask("validate", ben.ID).ExpiresAt; time.Until(got) > 17*day {
			t.Errorf("extended to %v before it was time", got)
		}

		// Ended by lucia, and by time: both agree.
		ask("invalidate", ada.ID)
		c.invalid(t, "cookie", cookie)
		d.expireAt(t, ben.ID, time.Now().Add(-time.Second))
		c.invalid(t, "authorization", "Bearer "+ben.ID)
		if ask("validate", ben.ID).User != "" {
			t.Error("lucia takes a session that has expired")
		}
	})
}

// expireAt sets the end of a session of npm's lucia.
func (d *database) expireAt(t *testing.T, id string, at time.Time) {
	t.Helper()
	var value any = at
	if d.dialect == lucia.SQLite {
		value = at.Unix()
	}
	d.do(t, fmt.Sprintf("UPDATE user_session SET expires_at = %s WHERE id = %s", d.parameter(1), d.parameter(2)), value, id)
}

// parameter is how a statement refers to its nth argument.
func (d *database) parameter(n int) string {
	if d.dialect == lucia.SQLite {
		return "?"
	}
	return fmt.Sprintf("$%d", n)
}

// TestLuciaOfTheGuide makes the rows as the guide says, in each scheme of it.
func TestLuciaOfTheGuide(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, d *database) {
		for _, scheme := range []struct {
			name   string
			scheme lucia.Scheme
			column string // of the time
			secret bool
			ends   time.Duration // after the time in the column
			cookie string
		}{
			{"inactivity", lucia.Inactivity, "token_last_verified_at", true, 10 * day, "session_token"},
			{"basic", lucia.Basic, "created_at", true, day, "session_token"},
			{"token hash", lucia.TokenHash, "expires_at", false, 0, "session"},
		} {
			t.Run(scheme.name, func(t *testing.T) {
				table := "sessions_" + strings.ReplaceAll(scheme.name, " ", "_")
				columns, binary := "", map[lucia.Dialect]string{lucia.PostgreSQL: "BYTEA", lucia.SQLite: "BLOB"}[d.dialect]
				if scheme.secret {
					columns = "secret_hash " + binary + " NOT NULL, "
				}
				d.do(t, fmt.Sprintf("CREATE TABLE %s (id TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, %s%s BIGINT NOT NULL)", table, columns, scheme.column))
				insert := func(user string, at time.Time) (token string) {
					t.Helper()
					id, secret := strings.ToLower(rand.Text()), make([]byte, 24)
					_, _ = rand.Read(secret)
					hash := sha256.Sum256(secret)
					into, args := "id, user_id, "+scheme.column, []any{id, user, at.Unix()}
					token = id + "." + base64.StdEncoding.EncodeToString(secret)
					if scheme.secret {
						into, args = into+", secret_hash", append(args, hash[:])
					} else {
						token = id
						digest := sha256.Sum256([]byte(token))
						args[0] = hex.EncodeToString(digest[:])
					}
					values := make([]string, len(args))
					for i := range args {
						values[i] = d.parameter(i + 1)
					}
					d.do(t, fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", table, into, strings.Join(values, ", ")), args...)
					return token
				}
				in := []lucia.Option{lucia.WithTable(table)}
				c := newLucia(t, d, scheme.scheme, in)
				start := time.Now().Add(time.Minute) // of its last minute
				good := insert("ada", start.Add(-scheme.ends))
				ben := insert("ben", start.Add(-scheme.ends))

				who := c.accept(t, "ada", "authorization", "Bearer "+good)
				if left := time.Until(who.ExpiresAt); left < 0 || left > time.Minute+time.Second {
					t.Errorf("it ends in %v, want a minute", left)
				}
				c.accept(t, "ben", "cookie", scheme.cookie+"="+strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(ben))
				c.accept(t, "ben", "cookie", scheme.cookie+"="+ben)
				c.invalid(t, "authorization", "Bearer "+insert("eve", time.Now().Add(-scheme.ends-time.Second)))
				if scheme.secret {
					id, _, _ := strings.Cut(good, ".")
					_, secret, _ := strings.Cut(ben, ".")
					c.invalid(t, "authorization", "Bearer "+id+"."+secret)
					c.invalid(t, "authorization", "Bearer "+id+"."+base64.StdEncoding.EncodeToString(make([]byte, 24)))
				} else {
					digest := sha256.Sum256([]byte(good))
					c.invalid(t, "authorization", "Bearer "+hex.EncodeToString(digest[:])) // who reads the table
				}
				if scheme.secret { // a column that is not what it should be is no verdict about the caller
					d.do(t, "INSERT INTO "+table+" (id, user_id, secret_hash, "+scheme.column+") SELECT 'short', user_id, SUBSTR(secret_hash, 1, 31), "+
						scheme.column+" FROM "+table+" WHERE user_id = 'ada'")
					_ = c.unavailable(t, "authorization", "Bearer short.secret")
				}
				if scheme.scheme != lucia.Basic {
					touching := newLucia(t, d, scheme.scheme, append(in, lucia.WithTouch()))
					touching.accept(t, "ada", "authorization", "Bearer "+good)
					if left := time.Until(c.accept(t, "ada", "authorization", "Bearer "+good).ExpiresAt); left < 9*day {
						t.Errorf("it was touched and ends in %v", left)
					}
				}
				d.do(t, "DELETE FROM "+table+" WHERE user_id = 'ben'")
				c.invalid(t, "authorization", "Bearer "+ben)
			})
		}
	})
}

// TestLuciaDatabaseThatIsDown shows what callers are told then, and what memory is for.
func TestLuciaDatabaseThatIsDown(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, d *database) {
		d.do(t, "CREATE TABLE session (id TEXT NOT NULL PRIMARY KEY, user_id TEXT, expires_at BIGINT)")
		d.do(t, fmt.Sprintf("INSERT INTO session VALUES ('a-token', 'ada', %d), ('b-token', 'ben', %[1]d), ('null', NULL, %[1]d), ('timeless', 'eve', NULL)",
			time.Now().Add(day).Unix()))
		c := newLucia(t, d, lucia.V3, nil, interceptor.WithCache(cache.Policy{TTL: time.Nanosecond, StaleIfError: time.Hour}))
		c.accept(t, "ada", "authorization", "Bearer a-token")
		_ = c.unavailable(t, "authorization", "Bearer null")
		_ = c.unavailable(t, "authorization", "Bearer timeless")
		_ = newLucia(t, d, lucia.V3, []lucia.Option{lucia.WithTable("nowhere")}).unavailable(t, "authorization", "Bearer b-token")
		d.stop()
		c.accept(t, "ada", "authorization", "Bearer a-token") // from memory
		err := c.unavailable(t, "authorization", "Bearer b-token")
		if strings.Contains(err.Error(), "b-token") {
			t.Errorf("the token is in %q", err)
		}
	})
}
