package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// secret signs better-auth's cookies.
const secret = "a secret of the tests, which has 32 characters or more"

// owner is a better-auth server.
type owner struct {
	*process

	url    string
	client *http.Client
}

// newOwner starts one with options of betterAuth in place of those in betterauth.mjs.
func newOwner(t *testing.T, options map[string]any) *owner {
	t.Helper()
	encoded, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	if options == nil {
		encoded = []byte("{}")
	}
	command := script(t, "betterauth.mjs")
	command.Env = append(os.Environ(), "BETTER_AUTH_SECRET="+secret, "OPTIONS="+string(encoded))
	o := &owner{process: start(t, command), client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	o.url = "http://127.0.0.1:" + o.line()
	return o
}

// answer is that of an HTTP request.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// request makes one, with a body of JSON unless that is nil, and pairs of header fields.
func (o *owner) request(t *testing.T, method, path string, body any, pairs ...string) answer {
	t.Helper()
	var encoded io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		encoded = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, o.url+path, encoded)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(pairs); i += 2 {
		request.Header.Set(pairs[i], pairs[i+1])
	}
	if host := request.Header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := o.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, text}
}

// post makes a request that must be answered with 200.
func (o *owner) post(t *testing.T, path string, body any, pairs ...string) answer {
	t.Helper()
	a := o.request(t, http.MethodPost, path, body, pairs...)
	if a.status != http.StatusOK {
		t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	return a
}

// account is a user who is signed in.
type account struct {
	id      string
	token   string // as the session has it
	bearer  string // the token and its signature, as the bearer plugin gives it
	cookies map[string]string
}

// signUp makes an account.
func (o *owner) signUp(t *testing.T, name string) account {
	t.Helper()
	return o.signUpAt(t, "", name)
}

// signUpAt makes an account at a better-auth that goes by this host; empty: any.
func (o *owner) signUpAt(t *testing.T, host, name string) account {
	t.Helper()
	a := o.post(t, "/api/auth/sign-up/email", map[string]any{
		"name": name, "email": name + "@example.com", "password": "a long password",
	}, "Host", host)
	var signedUp struct {
		Token string `json:"token"`
		User  struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if err := json.Unmarshal(a.body, &signedUp); err != nil {
		t.Fatal(err)
	}
	made := account{signedUp.User.ID, signedUp.Token, a.header.Get("Set-Auth-Token"), map[string]string{}}
	for _, line := range a.header["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		made.cookies[name] = value
	}
	if made.id == "" || made.token == "" || made.bearer == "" {
		t.Fatalf("signed up: %s %v", a.body, a.header)
	}
	return made
}

const cookieName = "better-auth.session_token"

// cookie returns the session cookie as a browser sends it.
func (a account) cookie() string { return cookieName + "=" + a.cookies[cookieName] }

// direct reports whether better-auth itself has a session for these header fields.
func (o *owner) direct(t *testing.T, pairs ...string) bool {
	t.Helper()
	a := o.request(t, http.MethodGet, "/api/auth/get-session", nil, pairs...)
	if a.status != http.StatusOK {
		t.Fatalf("get-session: %d %s", a.status, a.body)
	}
	return string(a.body) != "null"
}

// asked returns how often get-session was asked since the last call of it.
func (o *owner) asked(t *testing.T) int {
	t.Helper()
	var headers []map[string]any
	if err := json.Unmarshal(o.post(t, "/control/asked", struct{}{}).body, &headers); err != nil {
		t.Fatal(err)
	}
	return len(headers)
}

// expire makes a session end at a time.
func (o *owner) expire(t *testing.T, a account, at time.Time) {
	t.Helper()
	o.post(t, "/control/session", map[string]any{"token": a.token, "set": map[string]any{"expiresAt": at}})
}
