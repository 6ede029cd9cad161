package redact_test

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/grpc-sessionauth/sessionauth/internal/catch"
	"github.com/grpc-sessionauth/sessionauth/internal/redact"
	"github.com/grpc-sessionauth/sessionauth/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryFormOfASecretIsCutOut(t *testing.T) {
	const signed = "s3ss10n-t0k3n.c2lnbmF0dXJlLW9mLWl0+/="
	escaped := url.QueryEscape(signed)
	tests := map[string]struct{ secret, text, want string }{
		"as it is":                                    {"t0k3n", "no session t0k3n", "no session [redacted]"},
		"at the beginning":                            {"t0k3n", "t0k3n: not found", "[redacted]: not found"},
		"more than once":                              {"t0k3n", "t0k3n is not t0k3n", "[redacted] is not [redacted]"},
		"side by side":                                {"t0k3n", "t0k3nt0k3n", "[redacted]"},
		"overlapping itself":                          {"abcabcab", "<abcabcabcab>", "<[redacted]>"},
		"alone":                                       {"t0k3n", "t0k3n", "[redacted]"},
		"of one byte":                                 {"#", "a#b", "a[redacted]b"},
		"with spaces around":                          {" t0k3n ", "no t0k3n", "no [redacted]"},
		"empty":                                       {"", "text", "text"},
		"of spaces":                                   {"  ", "a  b", "a  b"},
		"of a cookie in quotes":                       {`"t0k3n"`, "no t0k3n", "no [redacted]"},
		"of a cookie in quotes, quoted":               {`"t0k3n"`, `no "t0k3n"`, "no [redacted]"},
		"of a cookie in quotes, in Go":                {`"t0k3n"`, fmt.Sprintf("no %q", `"t0k3n"`), `no "[redacted]"`},
		"of a cookie that is short in quotes":         {`"ab"`, `ab "ab"`, "ab [redacted]"},
		"percent-encoded in the text":                 {"a/b+c", "GET /?t=a%2Fb%2Bc", "GET /?t=[redacted]"},
		"percent-encoded in lower case":               {"a/b+c", "GET /?t=a%2fb%2bc", "GET /?t=[redacted]"},
		"percent-encoded without need":                {"t0k3n", "GET /?t=t%30k3%6E", "GET /?t=[redacted]"},
		"as a path":                                   {"a/b+c", "GET /" + url.PathEscape("a/b+c"), "GET /[redacted]"},
		"with a space in a query":                     {"a b c", "GET /?t=a+b+c", "GET /?t=[redacted]"},
		"percent-encoded itself":                      {"a%2Fb%2Bc", "no a/b+c", "no [redacted]"},
		"percent-encoded itself, and again":           {"a%2Fb%2Bc", "GET /?t=a%252Fb%252Bc", "GET /?t=[redacted]"},
		"percent-encoded, with a plus":                {"a%2Fb+c", "no a/b c, a/b+c", "no [redacted], [redacted]"},
		"with a percent sign that is none":            {"100%-t0k3n", "no 100%-t0k3n", "no [redacted]"},
		"in quotes, with a percent sign that is none": {`"100%-t0k3n"`, "no 100%-t0k3n", "no [redacted]"},
		"as Go quotes it":                             {"a\"b\\c\n", fmt.Sprintf("no %q", "a\"b\\c"), `no "[redacted]"`},
		"as Go quotes it in ASCII":                    {"é€\x01k", "no " + strconv.QuoteToASCII("é€\x01k"), `no "[redacted]"`},
		"as Go quotes what is no UTF-8":               {"t0k\xe93n", fmt.Sprintf("no %q", "t0k\xe93n"), `no "[redacted]"`},
		"as JSON quotes it":                           {"<a/b>&", `no "\u003ca\/b\u003e\u0026"`, `no "[redacted]"`},
		"that is no UTF-8":                            {"t0k\xe93n", "no t0k\xe93n", "no [redacted]"},
		"signed":                                      {signed, "no " + signed, "no [redacted]"},
		"signed, the token":                           {signed, "no row s3ss10n-t0k3n in 3 ms", "no row [redacted] in 3 ms"},
		"signed, the signature":                       {signed, "want c2lnbmF0dXJlLW9mLWl0+/=", "want [redacted]"},
		"signed, a short signature":                   {"t0k3n.name", "want t0k3n of name", "want [redacted] of name"},
		"signed and percent-encoded":                  {escaped, "no row s3ss10n-t0k3n", "no row [redacted]"},
		"signed and percent-encoded, and plain":       {escaped, "no " + signed, "no [redacted]"},
		"signed and in quotes":                        {`"` + escaped + `"`, "no row s3ss10n-t0k3n", "no row [redacted]"},
		"signed as Express does":                      {"s%3A" + signed, "no row s3ss10n-t0k3n", "no row [redacted]"},
		"signed as Express does, plain":               {"s:" + signed, "no s:s3ss10n-t0k3n", "no [redacted]"},
		"a part that is no form of it":                {"s3ss10n-t0k3n", "no s3ss10n", "no s3ss10n"},
		"the text has it in another case":             {"t0k3n", "no T0K3N", "no T0K3N"},
		"the text ends within it":                     {"t0k3n", "no t0k3", "no t0k3"},
		"the text ends within an escape":              {"t0k3n", "no t0k3%6", "no t0k3%6"},
		"the text ends with a backslash":              {"t0k3n", `no t0k3\`, `no t0k3\`},
		"an escape that is none":                      {"t0k3n", `no \q%zz t0k3n`, `no \q%zz [redacted]`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := redact.Text(test.text, []string{test.secret}); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSecretsDoNotGetInEachOthersWay(t *testing.T) {
	tests := map[string]struct {
		secrets    []string
		text, want string
	}{
		"one begins with another":            {[]string{"t0k3n", "t0k3n-longer"}, "t0k3n-longer and t0k3n-", "[redacted] and [redacted]-"},
		"one begins with two others":         {[]string{"t0k3", "t0k3n", "t0k3n-longer"}, "t0k3n-long t0k3x t0k3n-longer", "[redacted]-long [redacted]x [redacted]"},
		"one stands between":                 {[]string{"aaaa", "aaaab", "aaaac"}, "aaaacaaaadaaaab", "[redacted]d[redacted]"},
		"one ends where another begins":      {[]string{"abcd", "cdef"}, "<abcdef>", "<[redacted]>"},
		"one is in another":                  {[]string{"abcdef", "cd"}, "<abcdef> cd", "<[redacted]> [redacted]"},
		"one is part of what is put instead": {[]string{"t0k3n", "redacted", "[redacted]", "edac"}, "no t0k3n redacted edac", "no [redacted] [redacted] [redacted]"},
		"one is all that is put instead":     {[]string{"[redacted]", "e", "d"}, "t[redacted]", "t[redacted]"},
		"the same twice":                     {[]string{"t0k3n", "t0k3n"}, "no t0k3n", "no [redacted]"},
		"none":                               {nil, "no t0k3n", "no t0k3n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := redact.Text(test.text, test.secrets); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What stands in place of a secret is not looked at again: where it were, each byte of it
// could become ten, and each of those ten more.
func TestATextDoesNotGrowWithTheSecrets(t *testing.T) {
	letters := strings.Split("[redacted]", "")
	for n := range letters {
		if got := redact.Text("a text", letters[:n+1]); len(got) > len("a text")+3*len("[redacted]") {
			t.Errorf("%d secrets: %q", n+1, got)
		}
	}
	if got := redact.Text(strings.Repeat("e ", 1000), letters); len(got) != 2048+len("…") {
		t.Errorf("%d bytes", len(got))
	}
}

func TestALongTextIsCut(t *testing.T) {
	secret := strings.Repeat("s", 16<<10)
	tests := map[string]struct {
		text, want string
	}{
		"of 2048 bytes":                     {strings.Repeat("a", 2048), strings.Repeat("a", 2048)},
		"of 2049 bytes":                     {strings.Repeat("a", 2049), strings.Repeat("a", 2048) + "…"},
		"within a character":                {strings.Repeat("a", 2047) + "é", strings.Repeat("a", 2047) + "…"},
		"within a secret":                   {strings.Repeat("a", 2040) + secret, strings.Repeat("a", 2040) + "[redacte" + "…"},
		"after a secret":                    {secret + strings.Repeat("a", 2048), "[redacted]…"},
		"within the second secret":          {secret[:100] + " " + secret + " " + secret, secret[:100] + " [redacted]…"},
		"behind many secrets, within one":   {strings.Repeat(secret+" ", 9) + secret[1:], "[redacted]…"},
		"of what is no UTF-8":               {"a\xffb", "a\uFFFDb"},
		"of much that is no UTF-8":          {strings.Repeat("\xff ", 1024), strings.Repeat("\uFFFD ", 512) + "…"},
		"percent-encoded, beyond the bound": {"t=" + strings.Repeat("%73", 16<<10), "t=[redacted]…"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := redact.Text(test.text, []string{secret})
			if len(got) > 2048+len("…") || !utf8.ValidString(got) {
				t.Errorf("%d bytes, %q", len(got), got[max(0, len(got)-20):])
			}
			if test.want != "" && got != test.want {
				t.Errorf("got %d bytes %q, want %d", len(got), got[max(0, len(got)-40):], len(test.want))
			}
		})
	}
}

func TestCookiesThatMayBeSecret(t *testing.T) {
	got := redact.Cookies([]string{"kept"}, `sid=t0k3n; lang=en; theme = dark ;q="ab"; flag; empty=; eq=a=b=c; `)
	if want := []string{"kept", "t0k3n", "dark", `"ab"`, "a=b=c"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// hostile is an error whose method misbehaves.
type hostile func() string

func (h hostile) Error() string { return h() }

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// unwrapping is an error that panics when it is looked into.
type unwrapping struct{ error }

func (unwrapping) Unwrap() error { panic("t0k3n") }

func TestExceptionSurvivesItsCause(t *testing.T) {
	const lost = "(its text could not be had)"
	secrets := []string{"t0k3n"}
	tests := map[string]struct {
		cause error
		want  telemetry.Exception
	}{
		"no cause":            {nil, telemetry.Exception{}},
		"an error":            {errors.New("no t0k3n"), telemetry.Exception{Type: "*errors.errorString", Message: "no [redacted]"}},
		"a panicking one":     {hostile(func() string { panic("t0k3n") }), telemetry.Exception{Type: "redact_test.hostile", Message: lost}},
		"one that panics nil": {hostile(func() string { panic(nil) }), telemetry.Exception{Type: "redact_test.hostile", Message: lost}},
		"one that leaves":     {hostile(func() string { runtime.Goexit(); return "" }), telemetry.Exception{Type: "redact_test.hostile", Message: lost}},
		"a nil pointer":       {(*nilError)(nil), telemetry.Exception{Type: "*redact_test.nilError", Message: lost}},
		"one that cannot be looked into": {
			unwrapping{errors.New("a")}, telemetry.Exception{Type: "redact_test.unwrapping", Message: lost},
		},
		"a panic": {
			fmt.Errorf("verify: %w", &catch.PanicError{Value: errors.New("no t0k3n"), Stack: []byte("main.verify(t0k3n)")}),
			telemetry.Exception{Type: "panic(*errors.errorString)", Message: "no [redacted]", Stack: "main.verify([redacted])"},
		},
		"a panic with a panicking value": {
			&catch.PanicError{Value: hostile(func() string { runtime.Goexit(); return "" })}, telemetry.Exception{Type: "*catch.PanicError", Message: lost},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := redact.Exception(test.cause, secrets); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	t.Run("one that hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			done := make(chan struct{})
			defer close(done)
			got := redact.Exception(hostile(func() string { <-done; return "" }), secrets)
			if got.Message != lost {
				t.Errorf("got %+v", got)
			}
		})
	})
}

// What is allocated, which every copy made for a secret, an occurrence or a byte would add
// to, is in proportion to the secrets, and has nothing to do with how long the text is.
func TestTheCostIsLinear(t *testing.T) {
	cookies := func(n int) []string {
		var line strings.Builder
		for i := range n {
			fmt.Fprintf(&line, "c%d=v%07d; ", i, i)
		}
		return redact.Cookies(nil, line.String())
	}
	cost := func(text string, secrets []string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 10 {
			redact.Text(text, secrets)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	some, many := cookies(500), cookies(4000)
	text := strings.Repeat("no v0000007 in %76 ", 200)
	if a, b := cost(text, some), cost(text, many); b > 12*a {
		t.Errorf("8 times the secrets cost %d and %d bytes", a, b)
	}
	if a, b := cost(text, some), cost(strings.Repeat(text, 100), some); b > 2*a {
		t.Errorf("100 times the text costs %d and %d bytes", a, b)
	}
	if a, b := cost(text, some), cost(strings.Repeat("v0000007", 1000), some); b > 2*a {
		t.Errorf("a text of secrets costs %d and %d bytes", a, b)
	}
	// One secret of 16 KiB that the text nearly has, again and again.
	if a := cost(strings.Repeat("a", 32<<10), []string{strings.Repeat("a", 16<<10) + "b"}); a > 10<<20 {
		t.Errorf("a long secret costs %d bytes", a)
	}
}

// FuzzText: no secret stands in what is recorded.
func FuzzText(f *testing.F) {
	f.Add("no t0k3n in %74%30k3n", "t0k3n", `"a%2Fbc.d"`)
	f.Add(`no "a\"b\\c"`, `a"b\c`, "redacted")
	f.Add(strings.Repeat("aaaab", 500), "aaaa", strings.Repeat("aaaab", 100))
	f.Add("[redacted]", "[redacted]", "dact")
	f.Fuzz(func(t *testing.T, text, a, b string) {
		got := redact.Text(text, []string{a, b})
		if len(got) > 2048+len("…") || !utf8.ValidString(got) {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		kept := strings.Split(strings.TrimSuffix(got, "…"), "[redacted]")
		for _, secret := range []string{a, b} {
			for _, form := range redact.Forms(nil, secret) {
				if len(form) < 4 || strings.Contains(form, "\uFFFD") {
					continue
				}
				for _, part := range kept {
					plain, err := url.PathUnescape(part)
					if strings.Contains(part, form) || err == nil && strings.Contains(plain, form) {
						t.Fatalf("%q stands in %q, which was %q", form, got, text)
					}
				}
			}
		}
	})
}
