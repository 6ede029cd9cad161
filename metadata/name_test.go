package metadata_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func TestATokenIsKnownByWhatItsSpellingStandsFor(t *testing.T) {
	for name, test := range map[string]struct{ token, plain, unsigned string }{
		"as it is":                       {"t1", "t1", "t1"},
		"white space around":             {" t1\t", "t1", "t1"},
		"quoted":                         {`"t1"`, "t1", "t1"},
		"an empty pair of quotes":        {`""`, "", ""},
		"one quote is no pair":           {`"`, `"`, `"`},
		"a quote at the beginning only":  {`"t1`, `"t1`, `"t1`},
		"a quote at the end only":        {`t1"`, `t1"`, `t1"`},
		"one pair is undone, not two":    {`""t1""`, `"t1"`, `"t1"`},
		"percent-encoded":                {"t%31%2Fa", "t1/a", "t1/a"},
		"it begins percent-encoded":      {"%74%31", "t1", "t1"},
		"percent-encoded once, not more": {"t%2531", "t%31", "t%31"},
		"quoted and percent-encoded":     {`"t%31"`, "t1", "t1"},
		"a percent sign that is none":    {"100%", "100%", "100%"},
		"a plus is no space":             {"a+b%20", "a+b ", "a+b "},
		"signed":                         {"t1.c2ln", "t1.c2ln", "t1"},
		"signed by Express":              {"s%3At1.c2ln", "s:t1.c2ln", "t1"},
		"signed behind another dot":      {"t1.a.c2ln", "t1.a.c2ln", "t1.a"},
		"a signature of nothing":         {".c2ln", ".c2ln", ".c2ln"},
		"a dot at the end":               {"t1.", "t1.", "t1"},
		"the prefix alone":               {"s:", "s:", ""},
	} {
		if got := authmd.PlainToken(test.token); got != test.plain {
			t.Errorf("%s: plain %q, want %q", name, got, test.plain)
		}
		if got := authmd.UnsignedToken(test.token); got != test.unsigned {
			t.Errorf("%s: unsigned %q, want %q", name, got, test.unsigned)
		}
	}
}

func TestASessionIsNamedByItsExtractor(t *testing.T) {
	empty := func(string) string { return "" }
	for name, test := range map[string]struct {
		extractor authmd.Extractor
		token     string
		want      []string
	}{
		"bearer":                           {authmd.Bearer(), "t%31", []string{"t1"}},
		"a cookie":                         {authmd.Cookie("a"), `"t1"`, []string{"t1"}},
		"a header token":                   {authmd.HeaderToken("X"), "t1", []string{"t1"}},
		"named":                            {authmd.Named(authmd.Bearer(), strings.ToUpper), "t1", []string{"T1"}},
		"named by nothing":                 {authmd.Named(authmd.Bearer(), empty), "t%31", []string{"t1"}},
		"one cookie of a header":           {authmd.CookieHeader(), "a=t%31", []string{"a=t1"}},
		"several, and all of them":         {authmd.CookieHeader(), `a=1; b = "2" ;c=3`, []string{"a=1", "b=2", "c=3", "a=1; b=2; c=3"}},
		"two cookies":                      {authmd.CookieHeader(), "a=1; b=2", []string{"a=1", "b=2", "a=1; b=2"}},
		"a value without a name":           {authmd.CookieHeader(), "x", []string{"=x"}},
		"a name without a value":           {authmd.CookieHeader(), "a=", []string{"a="}},
		"what is empty is no cookie":       {authmd.CookieHeader(), "; =;a=1;", []string{"a=1"}},
		"only the first = parts a cookie":  {authmd.CookieHeader(), "a=1=2", []string{"a=1=2"}},
		"a header of nothing has no names": {authmd.CookieHeader(), " ", nil},
	} {
		namer, ok := test.extractor.(authmd.Namer)
		if !ok {
			t.Fatalf("%s: no Namer", name)
		}
		if got := namer.AppendNames(nil, test.token); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if got := namer.AppendNames([]string{"before"}, test.token); !slices.Equal(got, append([]string{"before"}, test.want...)) {
			t.Errorf("%s: appended to another, %q", name, got)
		}
	}
}

func TestNamedNeedsASourceAndAForm(t *testing.T) {
	function := authmd.ExtractorFunc(func(http.Header) (string, bool) { return "t1", true })
	for name, extractor := range map[string]authmd.Extractor{
		"a func is no Source": authmd.Named(function, strings.ToUpper),
		"nil is no Source":    authmd.Named(nil, strings.ToUpper),
		"no form":             authmd.Named(authmd.Bearer(), nil),
	} {
		if source, ok := extractor.(authmd.Source); !ok || source.Header() != "" {
			t.Errorf("%s: not marked as bad", name)
		}
		if token, ok := extractor.Extract(http.Header{"": {"x"}, "Authorization": {"Bearer t1"}}); ok {
			t.Errorf("%s: found %q", name, token)
		}
	}
}
