package lucia_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/lucia"
)

// What a database answers is tested against real ones in e2e.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// untouchable is a database that must not be asked.
type untouchable struct{ t testing.TB }

func (u untouchable) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	u.t.Errorf("queried: %s %q", query, args)
	return nil
}

func (u untouchable) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	u.t.Errorf("executed: %s %q", query, args)
	return nil, sql.ErrConnDone
}

func TestMalformedTokensCostNoQuery(t *testing.T) {
	t.Parallel()
	for scheme, tokens := range map[lucia.Scheme][]string{
		lucia.Inactivity: {"", "id", "id.", ".secret", "id.secret.more", "id.sec ret", "id.sec\x00ret", "id.sécret", "%zz.secret", strings.Repeat("x", 1024) + ".y"},
		lucia.Basic:      {"id", ".", "id%00.secret"},
		lucia.TokenHash:  {"", " ", "a b", strings.Repeat("x", 1025)},
		lucia.V3:         {"", "a\tb", "ü", "%", strings.Repeat("x", 1025)},
	} {
		v, err := lucia.New(untouchable{t}, scheme, lucia.SQLite)
		if err != nil {
			t.Fatal(err)
		}
		for _, token := range tokens {
			if s, err := v.Verify(t.Context(), token, http.Header{}); !errors.Is(err, interceptor.ErrInvalidSession) || s != nil {
				t.Errorf("scheme %d, token %q: %v", scheme, token, err)
			}
		}
	}
	v, err := lucia.New(untouchable{t}, lucia.V3, lucia.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	line := "theme=dark; other=x"
	if _, err := v.Verify(t.Context(), line, http.Header{"Cookie": {line}}); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Errorf("a Cookie header without the session cookie: %v", err)
	}
}

func TestNewRefusesWhatIsNotValid(t *testing.T) {
	t.Parallel()
	db := untouchable{t}
	for _, test := range []struct {
		want    string
		db      lucia.DB
		scheme  lucia.Scheme
		dialect lucia.Dialect
		opts    []lucia.Option
	}{
		{"there is no database", nil, lucia.V3, lucia.SQLite, nil},
		{"scheme 0", db, 0, lucia.SQLite, nil},
		{"scheme 9", db, 9, lucia.SQLite, nil},
		{"dialect 0", db, lucia.V3, 0, nil},
		{`"session; DROP TABLE x"`, db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithTable("session; DROP TABLE x")}},
		{`"a.b.c"`, db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithTable("a.b.c")}},
		{`"1a"`, db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithTable("1a")}},
		{`"sé"`, db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithTable("sé")}},
		{`"x\""`, db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithColumns(lucia.Columns{ID: `x"`})}},
		{`"a.b"`, db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithColumns(lucia.Columns{Time: "a.b"})}},
		{"WithCookie", db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithCookie("a b")}},
		{"WithCookie", db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithCookie("")}},
		{"WithLifetime", db, lucia.V3, lucia.SQLite, []lucia.Option{lucia.WithLifetime(0)}},
		{"WithTouch", db, lucia.Basic, lucia.SQLite, []lucia.Option{lucia.WithTouch()}},
	} {
		v, err := lucia.New(test.db, test.scheme, test.dialect, test.opts...)
		if err == nil || v != nil || !strings.HasPrefix(err.Error(), "lucia: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("want %q, got %v", test.want, err)
		}
	}
	if _, err := lucia.New(db, lucia.Inactivity, lucia.PostgreSQL, nil, lucia.WithTable("auth.user_session"), lucia.WithTouch(), lucia.WithLifetime(time.Hour)); err != nil {
		t.Error(err)
	}
}

func TestMapRefusesNil(t *testing.T) {
	t.Parallel()
	v := &lucia.Verifier{}
	if _, err := v.Map(t.Context(), nil); !errors.Is(err, interceptor.ErrInvalidSession) {
		t.Error(err)
	}
}

// counting is a database that is down.
type counting struct{ queries []any }

func (c *counting) QueryRowContext(_ context.Context, _ string, args ...any) *sql.Row {
	c.queries = append(c.queries, args...)
	return nil
}

func (*counting) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, sql.ErrConnDone
}

func FuzzToken(f *testing.F) {
	f.Add(byte(1), "id.secret")
	f.Add(byte(3), "%41")
	f.Fuzz(func(t *testing.T, scheme byte, token string) {
		db := &counting{}
		v, err := lucia.New(db, lucia.Scheme(scheme%4+1), lucia.SQLite)
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() { _ = recover() }() // of the nil row: the token was good enough for a query
			_, _ = v.Verify(t.Context(), token, nil)
		}()
		for _, id := range db.queries {
			s, ok := id.(string)
			if !ok || s == "" || len(s) > 1024 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("queried for %q", id)
			}
		}
	})
}
