package lucia_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/lucia"
)

// row is a database that answers every query with one row, and remembers the statements.
type row struct {
	values     []driver.Value
	statements []string
	args       []driver.NamedValue
	read       bool
}

func (r *row) Connect(context.Context) (driver.Conn, error) { return r, nil }
func (*row) Driver() driver.Driver                          { return nil }
func (*row) Prepare(string) (driver.Stmt, error)            { return nil, errors.New("not needed") }
func (*row) Begin() (driver.Tx, error)                      { return nil, errors.New("not needed") }
func (*row) Close() error                                   { return nil }
func (r *row) Columns() []string                            { return make([]string, len(r.values)) }

func (r *row) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	r.statements, r.read = append(r.statements, query), false
	return r, nil
}

func (r *row) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	r.statements, r.args = append(r.statements, query), args
	return driver.RowsAffected(1), nil
}

func (r *row) Next(into []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read = true
	copy(into, r.values)
	return nil
}

// verify verifies a token against a row with this time.
func verify(t *testing.T, scheme lucia.Scheme, dialect lucia.Dialect, at any, opts ...lucia.Option) (*lucia.Session, *row, error) {
	t.Helper()
	r := &row{values: []driver.Value{"ada", at}}
	if scheme == lucia.Inactivity || scheme == lucia.Basic {
		digest := sha256.Sum256([]byte("secret"))
		r.values = append(r.values, digest[:])
	}
	db := sql.OpenDB(r)
	defer func() { _ = db.Close() }()
	v, err := lucia.New(db, scheme, dialect, opts...)
	if err != nil {
		t.Fatal(err)
	}
	session, err := v.Verify(t.Context(), "id.secret", http.Header{})
	return session, r, err
}

func TestTimesThatNoSessionHas(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const never = 253402300799 // the last second of the year 9999
	for _, test := range []struct {
		name    string
		schemes []lucia.Scheme
		at      any
		want    error // nil: the session is good
	}{
		{"an end in seconds", []lucia.Scheme{lucia.TokenHash, lucia.V3}, now.Add(time.Hour).Unix(), nil},
		{"an end in milliseconds, which has passed", []lucia.Scheme{lucia.TokenHash, lucia.V3}, now.Add(-time.Hour).UnixMilli(), interceptor.ErrUnavailable},
		{"an end in milliseconds, of 1979", []lucia.Scheme{lucia.TokenHash, lucia.V3}, time.Date(1979, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), interceptor.ErrUnavailable},
		{"an end in nanoseconds", []lucia.Scheme{lucia.TokenHash, lucia.V3}, now.UnixNano(), interceptor.ErrUnavailable},
		{"an end that means never", []lucia.Scheme{lucia.TokenHash, lucia.V3}, int64(never), nil},
		{"an end that means never, as a time", []lucia.Scheme{lucia.TokenHash, lucia.V3}, time.Unix(never, 0), nil},
		{"an end after that", []lucia.Scheme{lucia.TokenHash, lucia.V3}, int64(never + 1), interceptor.ErrUnavailable},
		{"an end that is a time after that", []lucia.Scheme{lucia.TokenHash, lucia.V3}, time.Unix(never+1, 0), interceptor.ErrUnavailable},
		{"an end long ago", []lucia.Scheme{lucia.TokenHash, lucia.V3}, int64(0), interceptor.ErrInvalidSession},
		{"a start in seconds", []lucia.Scheme{lucia.Inactivity, lucia.Basic}, now.Unix(), nil},
		{"a start by a clock that is ahead a little", []lucia.Scheme{lucia.Inactivity, lucia.Basic}, now.Add(4 * time.Minute), nil},
		{"a start in milliseconds", []lucia.Scheme{lucia.Inactivity, lucia.Basic}, now.Add(-100 * 24 * time.Hour).UnixMilli(), interceptor.ErrUnavailable},
		{"a start in the future", []lucia.Scheme{lucia.Inactivity, lucia.Basic}, now.Add(time.Hour), interceptor.ErrUnavailable},
		{"a start long ago", []lucia.Scheme{lucia.Inactivity, lucia.Basic}, int64(-1), interceptor.ErrInvalidSession},
	} {
		for _, scheme := range test.schemes {
			session, r, err := verify(t, scheme, lucia.SQLite, test.at, lucia.WithLifetime(24*time.Hour))
			if !errors.Is(err, test.want) || (session == nil) != (err != nil) {
				t.Errorf("%s, scheme %d: %v, %v", test.name, scheme, session, err)
			}
			if errors.Is(test.want, interceptor.ErrUnavailable) && !strings.Contains(err.Error(), "it must be unix time in seconds, not milliseconds") {
				t.Errorf("%s, scheme %d: %v", test.name, scheme, err)
			}
			if len(r.statements) != 1 {
				t.Errorf("%s, scheme %d: %q", test.name, scheme, r.statements)
			}
		}
	}
}

func TestEachDatabaseIsAskedInItsDialect(t *testing.T) {
	t.Parallel()
	for dialect, want := range map[lucia.Dialect][]string{
		lucia.PostgreSQL: {
			`SELECT "user_id", "expires_at" FROM "auth"."user_session" WHERE "id" = $1`,
			`UPDATE "auth"."user_session" SET "expires_at" = $1 WHERE "id" = $2 AND "expires_at" = $3`,
		},
		lucia.SQLite: {
			`SELECT "user_id", "expires_at" FROM "auth"."user_session" WHERE "id" = ?`,
			`UPDATE "auth"."user_session" SET "expires_at" = ? WHERE "id" = ? AND "expires_at" = ?`,
		},
		lucia.MySQL: {
			"SELECT `user_id`, `expires_at` FROM `auth`.`user_session` WHERE `id` = ?",
			"UPDATE `auth`.`user_session` SET `expires_at` = ? WHERE `id` = ? AND `expires_at` = ?",
		},
	} {
		session, r, err := verify(t, lucia.V3, dialect, time.Now().Add(time.Hour), lucia.WithTable("auth.user_session"), lucia.WithTouch())
		if err != nil || time.Until(session.ExpiresAt) < 29*24*time.Hour || !slices.Equal(r.statements, want) || len(r.args) != 3 {
			t.Errorf("%v, %v\ngot  %q\nwant %q", session, err, r.statements, want)
		}
	}
	if _, err := lucia.New(&counting{}, lucia.V3, lucia.MySQL, lucia.WithTable("a`b")); err == nil {
		t.Error("a name with the mark of MySQL is a name")
	}
}

func TestWhatASessionIsCalled(t *testing.T) {
	t.Parallel()
	hash := sha256.Sum256([]byte("id.secret"))
	for scheme, want := range map[lucia.Scheme]string{
		lucia.Inactivity: "id", lucia.Basic: "id", lucia.TokenHash: hex.EncodeToString(hash[:]),
		lucia.V3: "", // the id is the credential
	} {
		at := time.Now().Add(time.Hour)
		if scheme == lucia.Inactivity || scheme == lucia.Basic {
			at = time.Now()
		}
		session, _, err := verify(t, scheme, lucia.SQLite, at)
		if err != nil {
			t.Fatal(err)
		}
		if ac, err := (&lucia.Verifier{}).Map(t.Context(), session); err != nil || ac.SessionID != want || ac.Subject != "ada" {
			t.Errorf("scheme %d: %v, session %q, %v", scheme, ac, ac.SessionID, err)
		}
	}
}

// To Forget, a token with a secret goes by its id, however it is spelled.
func TestEverySpellingHasTheNameOfTheSession(t *testing.T) {
	t.Parallel()
	v, err := lucia.New(&counting{}, lucia.Inactivity, lucia.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range v.Extractors() {
		named, ok := e.(authmd.Namer)
		if !ok {
			t.Fatalf("%T names nothing", e)
		}
		for _, token := range []string{"id.sec+ret", "id.sec%2Bret", "id%2Esec%2Bret", `"id.sec+ret"`, " id.sec+ret", "id"} {
			if got := named.AppendNames(nil, token); !slices.Equal(got, []string{"id"}) {
				t.Errorf("%q: %q", token, got)
			}
		}
		if got := named.AppendNames(nil, ".secret"); !slices.Equal(got, []string{".secret"}) {
			t.Errorf("without an id: %q", got)
		}
	}
}
