package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authtest"
	"github.com/grpc-sessionauth/sessionauth/authz"
	"github.com/grpc-sessionauth/sessionauth/doors/httpauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// documented returns the configuration in docs/proxies.md that is in this language.
func documented(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?ms)^```" + language + "\n(.*?)^```$").FindStringSubmatch(string(page))
	if found == nil {
		t.Fatalf("docs/proxies.md has no %s", language)
	}
	return found[1]
}

// freeAddress returns an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// askingProxy starts a proxy with the configuration of docs/proxies.md that is in this language,
// which is Traefik's if it is YAML, and returns its URL.
func askingProxy(t *testing.T, name string, asked, behind *httptest.Server) string {
	t.Helper()
	dir, address := openDir(t), freeAddress(t)
	host := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	config := strings.NewReplacer("127.0.0.1:8080", address, "127.0.0.1:9001", host(asked), "127.0.0.1:9000", host(behind)).Replace(documented(t, name))
	file := filepath.Join(dir, "config."+name)
	var command *exec.Cmd
	switch name {
	case "nginx":
		path := program(t, "nginx", "nginx", "/usr/sbin/nginx")
		config = fmt.Sprintf("daemon off;\nmaster_process off;\npid %[1]s/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n"+
			"client_body_temp_path %[1]s/body;\nproxy_temp_path %[1]s/proxy;\nfastcgi_temp_path %[1]s/fastcgi;\nuwsgi_temp_path %[1]s/uwsgi;\n"+
			"scgi_temp_path %[1]s/scgi;\n%[2]s}\n", dir, config)
		command = exec.Command(path, "-p", dir, "-c", file, "-e", "stderr")
	case "caddy":
		path := program(t, "caddy", "caddy")
		config = "{\n\tadmin off\n\tauto_https off\n}\n" + config
		command = exec.Command(path, "run", "--adapter", "caddyfile", "--config", file)
		command.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	case "yaml":
		command = exec.Command(traefik(t), "--providers.file.filename="+file, "--entrypoints.web.address="+address,
			"--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=WARN")
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, command)
	url := "http://" + address
	for deadline := time.Now().Add(startTimeout); ; {
		response, err := http.Get(url)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusNotFound { // which it answers until it has read its configuration
				return url
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready: %v", name, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		<-ctx.Done()
		cancel()
	}
}

// TestProxiesAskForwardAuth runs nginx, Caddy and Traefik as docs/proxies.md configures them, between a
// client and a service that believes NewGatewayAuth.
func TestProxiesAskForwardAuth(t *testing.T) {
	t.Parallel()
	const secret = "0123456789abcdef0123456789abcdef"
	for _, name := range []string{"nginx", "caddy", "yaml"} {
		t.Run(strings.Replace(name, "yaml", "traefik", 1), func(t *testing.T) {
			t.Parallel()
			var o authtest.Owner
			auth, err := interceptor.NewSessionAuth(func(ctx context.Context, token string, header http.Header) (*authtest.Session, error) {
				if err := interceptor.SetResponseHeader(ctx, http.Header{"Set-Cookie": {"sid=renewed; Path=/"}}); err != nil {
					return nil, err
				}
				return o.Verify(ctx, token, header)
			}, o.Map)
			if err != nil {
				t.Fatal(err)
			}
			rules, err := authz.New(authz.WithRules(
				authz.Rule{Name: "admins", Methods: []string{"web.Admin/*"}, Roles: []string{"admin"}, Effect: authz.Allow},
				authz.Rule{Name: "all", Methods: []string{"web.Pages/*"}, Effect: authz.Allow}))
			if err != nil {
				t.Fatal(err)
			}
			answers, err := httpauth.ForwardAuth(auth, httpauth.WithForwardedRequest(), httpauth.WithSkipPatterns("GET /open"), httpauth.WithClaims("tenant"),
				httpauth.WithAuthorizer(rules), httpauth.WithMethods(map[string]string{"/": "web.Pages/Show", "/admin/": "web.Admin/Show", "POST /change": "web.Admin/Change"}))
			if err != nil {
				t.Fatal(err)
			}
			gateway, err := interceptor.NewGatewayAuth(interceptor.WithSharedSecrets(secret), interceptor.WithOptionalAuth())
			if err != nil {
				t.Fatal(err)
			}
			protect, err := httpauth.Middleware(gateway)
			if err != nil {
				t.Fatal(err)
			}
			asked := httptest.NewServer(answers)
			t.Cleanup(asked.Close)
			behind := httptest.NewServer(protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ac, _ := authcontext.FromContext(r.Context())
				if ac == nil {
					ac = &authcontext.AuthContext{Subject: "nobody"}
				}
				_ = json.NewEncoder(w).Encode([]any{ac.Subject, ac.Name, ac.Roles, ac.Scopes, ac.Claims, ac.Type, ac.ExpiresAt.IsZero()})
			})))
			t.Cleanup(behind.Close)
			url := askingProxy(t, name, asked, behind)

			ada := o.SignIn(authcontext.AuthContext{Subject: "ada", Name: "José", Roles: []string{"admin"}, Scopes: []string{"a", "b"},
				Claims: map[string]any{"tenant": "acme"}, ExpiresAt: time.Now().Add(time.Hour)})
			bob := o.SignIn(authcontext.AuthContext{Subject: "bob"})
			spoofed := []string{"X-Auth-Subject", "eve", "X-Auth-Roles", `["admin"]`, "X-Auth-Name", "Eve", "X-Auth-Scopes", "all", "X-Auth-Claims", `{"a":1}`,
				"X-Auth-Expires-At", "2999-01-01T00:00:00Z", "X-Auth-Type", "session", "X-Gateway-Secret", secret,
				"X-Forwarded-Uri", "/open", "X-Forwarded-Method", "GET"}
			const isAda = `["ada","José",["admin"],["a","b"],{"tenant":"acme"},"session",false]`
			const isBob = `["bob","",null,null,null,"session",true]`
			const isNobody = `["nobody","",null,null,null,"",true]`
			for what, test := range map[string]struct {
				method, path, token string
				header              []string
				status              int
				body, cookie        string
			}{
				"somebody with everything":       {"GET", "/", ada, nil, 200, isAda, "sid=renewed; Path=/"},
				"somebody with nothing":          {"GET", "/x?y=z", bob, nil, 200, isBob, "sid=renewed; Path=/"},
				"nobody":                         {"GET", "/", "", nil, 401, "", ""},
				"an unknown session":             {"GET", "/", "made-up", nil, 401, "", "sid=renewed; Path=/"},
				"what all may see":               {"GET", "/open", "", nil, 200, isNobody, ""},
				"what bob may not":               {"GET", "/admin/", bob, nil, 403, "", ""},
				"what bob may not change":        {"POST", "/change", bob, nil, 403, "", ""},
				"what ada may":                   {"POST", "/change", ada, nil, 200, isAda, "sid=renewed; Path=/"},
				"bob who says that he is eve":    {"GET", "/", bob, spoofed, 200, isBob, "sid=renewed; Path=/"},
				"nobody who says that":           {"GET", "/", "", spoofed, 401, "", ""},
				"nobody who says so at the open": {"GET", "/open", "", spoofed, 200, isNobody, ""},
				"bob who says where he goes":     {"GET", "/admin/", bob, spoofed, 403, "", ""},
				"a path of two readings":         {"GET", "/open/..%2fadmin/", bob, nil, 403, "", ""},
			} {
				t.Run(what, func(t *testing.T) {
					status, header, body := visit(t, test.method, url+test.path, test.token, test.header)
					if status != test.status || test.body != "" && strings.TrimSpace(body) != test.body {
						t.Errorf("%d %s, want %d %s", status, body, test.status, test.body)
					}
					if got := header.Get("Set-Cookie"); test.cookie != "" && got != test.cookie {
						t.Errorf("Set-Cookie %q", got)
					}
					if challenge := header.Get("WWW-Authenticate"); status == 401 && !strings.HasPrefix(challenge, `Bearer realm="session"`) {
						t.Errorf("WWW-Authenticate %q", challenge)
					}
				})
			}
			t.Run("the owner is away", func(t *testing.T) {
				o.GoDown(nil)
				if status, _, body := visit(t, "GET", url, ada, nil); status != 503 {
					t.Errorf("%d %s", status, body)
				}
				o.ComeBack()
			})
			t.Run("nobody answers", func(t *testing.T) {
				asked.Close()
				if status, _, body := visit(t, "GET", url+"/open", ada, nil); status < 500 {
					t.Errorf("%d %s", status, body)
				}
			})
		})
	}
}

// visit asks a server and returns the status, the header and the body of the answer.
func visit(t *testing.T, method, url, token string, header []string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	if token != "" {
		r.AddCookie(&http.Cookie{Name: "sid", Value: token})
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(body)
}
