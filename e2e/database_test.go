package e2e_test

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/grpc-sessionauth/sessionauth/verify/lucia"
)

// database is one that tests share with another process.
type database struct {
	*sql.DB

	dialect lucia.Dialect
	kind    string // for lucia.mjs
	source  string // for lucia.mjs
	instant string // the type of a column for a time, as npm's lucia wants it
	stop    func()
}

// databases starts one of each kind.
var databases = map[string]func(*testing.T) *database{"PostgreSQL": newPostgres, "SQLite": newSQLite}

func newSQLite(t *testing.T) *database {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sessions.db")
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	d := &database{DB: db, dialect: lucia.SQLite, kind: "sqlite", source: file, instant: "INTEGER"}
	d.stop = func() { _ = db.Close() }
	t.Cleanup(d.stop)
	return d
}

// newPostgres starts a PostgreSQL server that listens on a socket in a directory of its own.
func newPostgres(t *testing.T) *database {
	t.Helper()
	bin := postgresBin(t)
	dir := openDir(t)
	as := unprivileged(t, dir)
	data := filepath.Join(dir, "data")
	run := func(name string, args ...string) *exec.Cmd {
		command := exec.Command(filepath.Join(bin, name), args...)
		command.Dir, command.SysProcAttr = dir, as
		command.Env = append(os.Environ(), "LC_ALL=C")
		return command
	}
	if output, err := run("initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync", "-E", "UTF8").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, output)
	}
	server := run("postgres", "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB")
	problems := &log{}
	server.Stderr = problems
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	source := (&url.URL{Scheme: "postgresql", User: url.User("tester"), Path: "/postgres", RawQuery: url.Values{"host": {dir}}.Encode()}).String()
	db, err := sql.Open("pgx", source)
	d := &database{DB: db, dialect: lucia.PostgreSQL, kind: "postgresql", source: source, instant: "TIMESTAMPTZ"}
	d.stop = sync.OnceFunc(func() {
		if db != nil {
			_ = db.Close()
		}
		_ = server.Process.Signal(syscall.SIGQUIT) // at once, whoever is connected
		_ = server.Wait()
	})
	t.Cleanup(d.stop)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for err = db.PingContext(ctx); err != nil; err = db.PingContext(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("PostgreSQL is not up: %v\n%s", err, problems)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return d
}

// postgresBin returns the directory of PostgreSQL's programs, which Debian keeps out of PATH.
func postgresBin(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return filepath.Dir(program(t, "initdb", "postgresql", found...))
}

// unprivileged returns how to start a program that refuses to run as root, and gives it dir.
func unprivileged(t *testing.T, dir string) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{}
	if os.Getuid() != 0 {
		return attr
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr
}

// do executes a statement.
func (d *database) do(t *testing.T, statement string, args ...any) {
	t.Helper()
	if _, err := d.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
