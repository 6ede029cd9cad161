package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/kratos"
)

// ory is an Ory Kratos with a PostgreSQL of its own. Both listen on sockets in a directory.
type ory struct {
	*process

	db     *database
	public *http.Client
	admin  *http.Client
}

const (
	kratosURL      = "http://kratos"
	kratosPassword = "a long password 17"
	kratosCookie   = "ory_kratos_session"
)

const kratosSchema = `{
	"$id": "https://example.com/person", "$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
	"properties": {"traits": {
		"type": "object", "required": ["email"], "additionalProperties": false,
		"properties": {"email": {"type": "string", "format": "email", "ory.sh/kratos": {"credentials": {"password": {"identifier": true}}}}}
	}}
}`

const kratosConfig = `{
	"version": "v1.3.1", "log": {"level": "error"},
	"serve": {
		"public": {"base_url": "http://kratos/", "host": "unix:DIR/public"},
		"admin": {"base_url": "http://kratos/", "host": "unix:DIR/admin"}
	},
	"identity": {"default_schema_id": "default", "schemas": [{"id": "default", "url": "file://DIR/schema.json"}]},
	"selfservice": {
		"default_browser_return_url": "http://kratos/",
		"methods": {"password": {"enabled": true, "config": {"haveibeenpwned_enabled": false}}}
	},
	"hashers": {"algorithm": "bcrypt", "bcrypt": {"cost": 4}},
	"secrets": {"cookie": ["a secret of the tests, which has 32 characters or more"], "cipher": ["32-characters-are-what-it-needs!"]},
	"courier": {"smtp": {"connection_uri": "smtp://127.0.0.1:1/"}}
}`

func newOry(t *testing.T) *ory {
	t.Helper()
	dir := openDir(t)
	for file, text := range map[string]string{"schema.json": kratosSchema, "kratos.json": strings.ReplaceAll(kratosConfig, "DIR", dir)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := &ory{db: newPostgres(t), public: overSocket(t, filepath.Join(dir, "public")), admin: overSocket(t, filepath.Join(dir, "admin"))}
	env := []string{"DSN=" + strings.Replace(o.db.source, "postgresql:", "postgres:", 1), "SQA_OPT_OUT=true"}
	migrate := startBuilt(t, kratosProgram, dir, env, "migrate", "sql", "-e", "--yes")
	if err := <-migrate.ended; err != nil {
		t.Fatalf("kratos migrate: %v", err)
	}
	migrate.ended <- nil
	o.process = startBuilt(t, kratosProgram, dir, env, "serve", "--dev", "--config", filepath.Join(dir, "kratos.json"))
	waitFor(t, o.public, kratosURL+"/health/ready")
	waitFor(t, o.admin, kratosURL+"/admin/health/ready")
	return o
}

// overSocket returns a client for whatever URL, all of it at a socket.
func overSocket(t *testing.T, path string) *http.Client {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// waitFor waits until a program answers with 200.
func waitFor(t *testing.T, client *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is not up: %v", url, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// request makes a request with a body of JSON, decodes an answer that must be 2xx, and returns
// its header.
func (o *ory) request(t *testing.T, client *http.Client, method, url string, body, into any, pairs ...string) http.Header {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	for i := 0; i < len(pairs); i += 2 {
		request.Header.Add(pairs[i], pairs[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode > 299 {
		t.Fatalf("%s %s: %d %s, %v", method, url, response.StatusCode, text, err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	return response.Header
}

// identity makes an identity that has roles, and returns its id.
func (o *ory) identity(t *testing.T, name string) string {
	t.Helper()
	var made struct{ ID string }
	o.request(t, o.admin, http.MethodPost, kratosURL+"/admin/identities", map[string]any{
		"schema_id": "default", "traits": map[string]any{"email": name + "@example.com"}, "metadata_public": map[string]any{"roles": []string{"admin"}},
		"credentials": map[string]any{"password": map[string]any{"config": map[string]any{"password": kratosPassword}}},
	}, &made)
	return made.ID
}

// flow is one in which somebody signs in.
type flow struct {
	UI struct {
		Action string
		Nodes  []struct {
			Attributes struct {
				Name  string
				Value any
			}
		}
	}
}

// app signs in as an application does, and returns the token and the id of the session.
func (o *ory) app(t *testing.T, name string) (token, session string) {
	t.Helper()
	var f flow
	o.request(t, o.public, http.MethodGet, kratosURL+"/self-service/login/api", nil, &f)
	var in struct {
		Token   string `json:"session_token"`
		Session struct{ ID string }
	}
	o.request(t, o.public, http.MethodPost, f.UI.Action, map[string]any{
		"method": "password", "identifier": name + "@example.com", "password": kratosPassword,
	}, &in)
	return in.Token, in.Session.ID
}

// browser signs in as a browser does, and returns its cookies.
func (o *ory) browser(t *testing.T, name string) string {
	t.Helper()
	var f flow
	cookies := cookiesOf(o.request(t, o.public, http.MethodGet, kratosURL+"/self-service/login/browser", nil, &f))
	var token any
	for _, node := range f.UI.Nodes {
		if node.Attributes.Name == "csrf_token" {
			token = node.Attributes.Value
		}
	}
	header := o.request(t, o.public, http.MethodPost, f.UI.Action, map[string]any{
		"method": "password", "identifier": name + "@example.com", "password": kratosPassword, "csrf_token": token,
	}, nil, "Cookie", cookies)
	return cookies + "; " + cookiesOf(header)
}

// cookiesOf returns the cookies of an answer as a browser sends them, without those that it
// removes.
func cookiesOf(header http.Header) string {
	var pairs []string
	for _, line := range header["Set-Cookie"] {
		if pair, _, _ := strings.Cut(line, ";"); !strings.HasSuffix(pair, "=") || strings.Count(pair, "=") > 1 {
			pairs = append(pairs, pair)
		}
	}
	return strings.Join(pairs, "; ")
}

// newKratos returns a client of a server that asks o.
func newKratos(t *testing.T, o *ory, opts []kratos.Option, more ...interceptor.Option) client {
	t.Helper()
	v, err := kratos.New(kratosURL, append(opts, kratos.WithHTTPClient(o.public), kratos.WithRoles("roles"))...)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, newAuth(t, v.Verify, v.Map, append(more, interceptor.WithExtractors(v.Extractors()...))...))
}

func TestKratos(t *testing.T) {
	t.Parallel()
	o := newOry(t)
	c := newKratos(t, o, []kratos.Option{kratos.WithReadyURL(kratosURL + "/health/ready")})
	ada, ben := o.identity(t, "ada"), o.identity(t, "ben")
	token, session := o.app(t, "ada")
	cookies := o.browser(t, "ben")

	t.Run("lets in", func(t *testing.T) {
		who := c.accept(t, ada, "x-session-token", token)
		if len(who.Roles) != 1 || who.Roles[0] != "admin" || who.SessionID != session || time.Until(who.ExpiresAt) < time.Hour {
			t.Errorf("mapped to %+v, want session %s", who, session)
		}
		c.accept(t, ada, "authorization", "Bearer "+token)
		c.accept(t, ben, "cookie", "theme=dark; "+cookies)
		c.accept(t, ada, "x-session-token", token, "cookie", cookies)
	})
	t.Run("keeps out", func(t *testing.T) {
		c.invalid(t, "x-session-token", "made-up")
		c.invalid(t, "cookie", kratosCookie+"=made-up")
		c.invalid(t, "x-session-token", "made-up", "cookie", cookies)
	})
	t.Run("an application signs out", func(t *testing.T) {
		token, _ := o.app(t, "ada")
		c.accept(t, ada, "x-session-token", token)
		o.request(t, o.public, http.MethodDelete, kratosURL+"/self-service/logout/api", map[string]any{"session_token": token}, nil)
		c.invalid(t, "x-session-token", token)
	})
	t.Run("a browser signs out", func(t *testing.T) {
		cookies := o.browser(t, "ben")
		c.accept(t, ben, "cookie", cookies)
		var out struct {
			Token string `json:"logout_token"`
		}
		o.request(t, o.public, http.MethodGet, kratosURL+"/self-service/logout/browser", nil, &out, "Cookie", cookies)
		o.request(t, o.public, http.MethodGet, kratosURL+"/self-service/logout?token="+out.Token, nil, nil, "Cookie", cookies)
		c.invalid(t, "cookie", cookies)
	})
	t.Run("an administrator ends the session by its id", func(t *testing.T) {
		token, session := o.app(t, "ada")
		who := c.accept(t, ada, "x-session-token", token)
		if who.SessionID != session {
			t.Errorf("the session is %q, want %q", who.SessionID, session)
		}
		o.request(t, o.admin, http.MethodDelete, kratosURL+"/admin/sessions/"+who.SessionID, nil, nil)
		c.invalid(t, "x-session-token", token)
	})
	t.Run("an identity is made inactive", func(t *testing.T) {
		eve := o.identity(t, "eve")
		token, _ := o.app(t, "eve")
		c.accept(t, eve, "x-session-token", token)
		o.request(t, o.admin, http.MethodPatch, kratosURL+"/admin/identities/"+eve,
			[]map[string]any{{"op": "replace", "path": "/state", "value": "inactive"}}, nil)
		c.invalid(t, "x-session-token", token)
	})
	t.Run("its database is down", func(t *testing.T) {
		stale := newKratos(t, o, []kratos.Option{kratos.WithReadyURL(kratosURL + "/health/ready")},
			interceptor.WithCache(cache.Policy{TTL: time.Nanosecond, StaleIfError: time.Hour}))
		stale.accept(t, ada, "x-session-token", token)
		o.db.stop()
		_ = c.unavailable(t, "x-session-token", token)
		stale.accept(t, ada, "x-session-token", token)
		// Without WithReadyURL Kratos's 401 is believed.
		newKratos(t, o, nil).invalid(t, "x-session-token", token)
	})
	t.Run("it is killed", func(t *testing.T) {
		o.kill()
		_ = newKratos(t, o, nil).unavailable(t, "x-session-token", token)
	})
}
