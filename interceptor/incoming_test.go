package interceptor_test

import (
	"maps"
	"strings"
	"testing"

	"go.uber.org/goleak"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/headername"
	"github.com/grpc-sessionauth/sessionauth/internal/incoming"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMetadataIsReadInPlace(t *testing.T) {
	if !incoming.InPlace() {
		t.Error("this grpc-go keeps metadata in another way: calls are slower than they need to be")
	}
}

// TestMetadataOfAnyMaking: the wire gives keys in lower case, a context made by hand
// may not, and how the metadata is read must make no difference.
func TestMetadataOfAnyMaking(t *testing.T) {
	tests := map[string]struct {
		md       grpcmd.MD
		want     string // the subject, or the error
		handlers grpcmd.MD
	}{
		"from the wire":              {grpcmd.MD{"authorization": {"Bearer " + benchToken}}, "user-1", nil},
		"canonical keys":             {grpcmd.MD{"Authorization": {"Bearer " + benchToken}}, "user-1", nil},
		"the same key in two cases":  {grpcmd.MD{"Authorization": {"Bearer a"}, "authorization": {"Bearer b"}}, "ambiguous credentials", nil},
		"a gateway key in two cases": {grpcmd.MD{"Grpcgateway-Authorization": {"Bearer a"}, "authorization": {"Bearer b"}}, "ambiguous credentials", nil},
		"a bad byte":                 {grpcmd.MD{"authorization": {"Bearer a\r\nX-Admin: 1"}}, "missing credentials", nil},
		"a bad byte in a cookie":     {grpcmd.MD{"cookie": {"sid=a\r\nX-Admin: 1"}}, "missing credentials", nil},
		"a bad byte in one of two":   {grpcmd.MD{"cookie": {"sid=a\x00", "b"}, "authorization": {"Bearer " + benchToken}}, "user-1", nil},
		"what is for one hop":        {grpcmd.MD{"authorization": {"Bearer " + benchToken}, "connection": {"close, Authorization"}}, "missing credentials", nil},
		"bytes beyond ASCII":         {grpcmd.MD{"authorization": {"Bearer t\xc3\xa9"}}, "missing credentials", nil},
		"no metadata":                {nil, "missing credentials", nil},
		"an empty key":               {grpcmd.MD{"": {"x"}, "authorization": {"Bearer " + benchToken}}, "user-1", nil},
		"an identity in another case": {
			grpcmd.MD{"X-Auth-Subject": {"root"}, "X_Auth_Subject": {"root"}, "authorization": {"Bearer " + benchToken}, "X-Other": {"o"}},
			"user-1", grpcmd.MD{"authorization": {"Bearer " + benchToken}, "x-other": {"o"}},
		},
	}
	for name, test := range tests {
		for how, prepare := range map[string]func() func(){"in place": func() func() { return func() {} }, "by copy": incoming.ByCopy} {
			if how == "by copy" && strings.HasSuffix(name, "in two cases") {
				continue // grpc-go's copy keeps one of the two
			}
			t.Run(name+", "+how, func(t *testing.T) {
				defer prepare()()
				before := test.md.Copy()
				ctx := t.Context()
				if test.md != nil {
					ctx = grpcmd.NewIncomingContext(ctx, test.md)
				}
				ctx, err := newBenchAuth(t).AuthFunc(ctx)
				got := ""
				if err != nil {
					got = err.Error()
				} else if ac, ok := authcontext.FromContext(ctx); ok {
					got = ac.Subject
				}
				if !strings.HasSuffix(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
				if test.handlers != nil {
					if md, _ := grpcmd.FromIncomingContext(ctx); !maps.EqualFunc(md, test.handlers, func(a, b []string) bool { return len(a) == 1 && a[0] == b[0] }) {
						t.Errorf("the handler sees %v", md)
					}
				}
				if !maps.EqualFunc(test.md, before, func(a, b []string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") }) {
					t.Errorf("the metadata was changed to %v", test.md)
				}
			})
		}
	}
}

// FuzzIdentityHeader: whatever reads as x-auth-* to anyone is found.
func FuzzIdentityHeader(f *testing.F) {
	for _, key := range []string{"x-auth-subject", "X_Auth.Subject", "grpcgateway-x-auth-a", "x-author", "xauth-", "x-auth", "g", ""} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		plain := strings.Map(func(r rune) rune {
			if r == '_' || r == '.' {
				return '-'
			}
			if r >= 'A' && r <= 'Z' {
				return r + 'a' - 'A'
			}
			return r
		}, key)
		for strings.HasPrefix(plain, "grpcgateway-") {
			plain = strings.TrimPrefix(plain, "grpcgateway-")
		}
		if want := strings.HasPrefix(plain, "x-auth-"); headername.IsIdentity(key) != want {
			t.Errorf("%q: %t", key, !want)
		}
	})
}
