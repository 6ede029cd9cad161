package headername_test

import (
	"strings"
	"testing"

	"github.com/grpc-sessionauth/sessionauth/internal/headername"
)

// plain is a key as the laxest reader takes it.
func plain(key string) string {
	key = strings.Map(func(r rune) rune {
		switch {
		case r == '_' || r == '.':
			return '-'
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return r
	}, key)
	for strings.HasPrefix(key, "grpcgateway-") {
		key = strings.TrimPrefix(key, "grpcgateway-")
	}
	return key
}

func TestKeysThatReadAsAnIdentity(t *testing.T) {
	for key, want := range map[string]bool{
		"x-auth-subject": true, "X-Auth-Subject": true, "x_auth_subject": true, "x.auth.subject": true, "X_auth.Subject": true,
		"x-auth-": true, "x-auth-unheard-of": true, "x-auth-subject-bin": true,
		"grpcgateway-x-auth-subject": true, "Grpcgateway_X.Auth-Subject": true, "grpcgateway-grpcgateway-x-auth-subject": true,
		"Grpc-Metadata-X-Auth-Subject": true, "grpc_metadata.x-auth-subject": true, "grpcgateway-Grpc-Metadata-Grpcgateway-X-Auth-Subject": true,
		"grpc-metadata-x-author": false, "grpc-x-auth-subject": false,
		"x-auth": false, "x-author": false, "xauth-subject": false, "x--auth-subject": false, "y-x-auth-subject": false, "grpcgateway-": false,
		"grpcgateway-x-auth": false, "grpcgatewayx-auth-subject": false, "": false, "x": false, "\u212a-auth-": false, "x\u2010auth-subject": false,
	} {
		t.Run(key, func(t *testing.T) {
			if got := headername.IsIdentity(key); got != want {
				t.Errorf("IsIdentity = %t", got)
			}
		})
	}
}

func TestKeysThatReadAsAHeader(t *testing.T) {
	for name, test := range map[string]struct {
		key, header string
		want        bool
	}{
		"the name":                             {"authorization", "authorization", true},
		"in another case":                      {"AuthoriZation", "authorization", true},
		"in binary":                            {"authorization-bin", "authorization", true},
		"in binary, with an alias":             {"Authorization_BIN", "authorization", true},
		"as grpc-gateway has it":               {"grpcgateway-authorization", "authorization", true},
		"as two have it":                       {"grpcgateway-GRPCGATEWAY.authorization", "authorization", true},
		"as grpc-gateway has it, in binary":    {"grpcgateway-authorization-bin", "authorization", true},
		"with an underscore":                   {"x_session-token", "x-session-token", true},
		"with a dot":                           {"x-session.token", "x-session-token", true},
		"a name that goes on":                  {"authorizations", "authorization", false},
		"a name that goes on behind a dash":    {"authorization-info", "authorization", false},
		"a name that goes on as binary does":   {"authorization-bin-bin", "authorization", false},
		"a name that ends before":              {"authorizatio", "authorization", false},
		"another prefix":                       {"grpc-authorization", "authorization", false},
		"nothing":                              {"", "authorization", false},
		"the prefix alone":                     {"grpcgateway-", "authorization", false},
		"a header that has the prefix":         {"grpcgateway-cookie", "grpcgateway-cookie", true},
		"without it":                           {"cookie", "grpcgateway-cookie", false},
		"a letter that only folds to the same": {"coo\u212aie", "cookie", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := headername.Is(test.key, test.header); got != test.want {
				t.Errorf("Is = %t", got)
			}
		})
	}
}

func TestPlain(t *testing.T) {
	for name, want := range map[string]string{"X_Session.Token": "x-session-token", "cookie": "cookie", "": "", "K\u212a": "kk"} {
		if got := headername.Plain(name); got != want {
			t.Errorf("Plain(%q) = %q", name, got)
		}
	}
}

// FuzzIdentity: whatever reads as x-auth-* to anyone is found.
func FuzzIdentity(f *testing.F) {
	for _, key := range []string{"Grpc-Metadata-X-Auth-Subject", "x-auth-subject", "X_Auth.Subject", "grpcgateway-x-auth-a", "x-author", "xauth-", "x-auth", "g", ""} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		read := plain(key)
		for strings.HasPrefix(read, "grpc-metadata-") {
			read = plain(strings.TrimPrefix(read, "grpc-metadata-"))
		}
		if want := strings.HasPrefix(read, "x-auth-"); headername.IsIdentity(key) != want {
			t.Errorf("%q: %t", key, !want)
		}
	})
}

// FuzzIs: whatever reads as the header to anyone is found, and nothing else.
func FuzzIs(f *testing.F) {
	for _, key := range []string{"cookie", "Cookie", "grpcgateway-cookie", "grpcgateway_cookie.bin", "cookies", "", "cookie-bin-bin"} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		read := plain(key)
		if want := read == "cookie" || read == "cookie-bin"; headername.Is(key, "cookie") != want {
			t.Errorf("%q: %t", key, !want)
		}
	})
}
