package metadata_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func TestExtractors(t *testing.T) {
	tests := map[string]struct {
		extractor authmd.Extractor
		header    http.Header
		want      string // "": none
	}{
		"bearer":                                         {authmd.Bearer(), http.Header{"Authorization": {"Bearer t1"}}, "t1"},
		"bearer in another case":                         {authmd.Bearer(), http.Header{"Authorization": {"bEaReR t1"}}, "t1"},
		"bearer with spaces around":                      {authmd.Bearer(), http.Header{"Authorization": {"  Bearer   t1 "}}, "t1"},
		"bearer with every odd character":                {authmd.Bearer(), http.Header{"Authorization": {"Bearer 1|a-._~+/=%:\"{}"}}, `1|a-._~+/=%:"{}`},
		"another scheme":                                 {authmd.Bearer(), http.Header{"Authorization": {"Basic t1"}}, ""},
		"a scheme with bearer as a prefix":               {authmd.Bearer(), http.Header{"Authorization": {"BearerX t1"}}, ""},
		"no space after bearer":                          {authmd.Bearer(), http.Header{"Authorization": {"Bearert1"}}, ""},
		"a tab after bearer":                             {authmd.Bearer(), http.Header{"Authorization": {"Bearer\tt1"}}, ""},
		"bearer without a token":                         {authmd.Bearer(), http.Header{"Authorization": {"Bearer "}}, ""},
		"bearer with two words":                          {authmd.Bearer(), http.Header{"Authorization": {"Bearer a b"}}, ""},
		"bearer with a comma":                            {authmd.Bearer(), http.Header{"Authorization": {"Bearer a,b"}}, ""},
		"bearer that begins with a comma":                {authmd.Bearer(), http.Header{"Authorization": {"Bearer ,a"}}, ""},
		"bearer that is too short is passed over":        {authmd.Bearer(), http.Header{"Authorization": {"Basic x", "Bearer ,", "Bearer a"}}, "a"},
		"bearer with a control character":                {authmd.Bearer(), http.Header{"Authorization": {"Bearer a\x7f"}}, ""},
		"bearer beyond ASCII":                            {authmd.Bearer(), http.Header{"Authorization": {"Bearer \xc3\xa9"}}, ""},
		"no authorization":                               {authmd.Bearer(), http.Header{}, ""},
		"a cookie":                                       {authmd.Cookie("sid"), http.Header{"Cookie": {"a=b; sid=t1; c=d"}}, "t1"},
		"a cookie without spaces":                        {authmd.Cookie("sid"), http.Header{"Cookie": {"a=b;sid=t1;c=d"}}, "t1"},
		"a cookie with = in its value":                   {authmd.Cookie("sid"), http.Header{"Cookie": {"sid=t1=="}}, "t1=="},
		"a quoted cookie":                                {authmd.Cookie("sid"), http.Header{"Cookie": {`sid="t1"`}}, "t1"},
		"half a quote":                                   {authmd.Cookie("sid"), http.Header{"Cookie": {`sid="`}}, `"`},
		"a percent-encoded cookie":                       {authmd.Cookie("sid"), http.Header{"Cookie": {"sid=a%20b"}}, "a%20b"},
		"a repeated cookie: the first":                   {authmd.Cookie("sid"), http.Header{"Cookie": {"sid=t1; sid=t2"}}, "t1"},
		"an empty cookie is passed over":                 {authmd.Cookie("sid"), http.Header{"Cookie": {"sid=; sid=t2"}}, "t2"},
		"only an empty cookie":                           {authmd.Cookie("sid"), http.Header{"Cookie": {"sid="}}, ""},
		"a cookie in another case":                       {authmd.Cookie("sid"), http.Header{"Cookie": {"SID=t1"}}, ""},
		"a name that ends like it":                       {authmd.Cookie("sid"), http.Header{"Cookie": {"xsid=t1; sidx=t1; sid"}}, ""},
		"the name twice in a row":                        {authmd.Cookie("sid"), http.Header{"Cookie": {"sidsid=x; sid=sid=t1"}}, "sid=t1"},
		"the name in another's value":                    {authmd.Cookie("sid"), http.Header{"Cookie": {"a=sid=t1"}}, ""},
		"under __Secure-":                                {authmd.Cookie("sid"), http.Header{"Cookie": {"__Secure-sid=t1"}}, "t1"},
		"under __Host-":                                  {authmd.Cookie("sid"), http.Header{"Cookie": {"__Host-sid=t1"}}, "t1"},
		"a prefixed name goes first":                     {authmd.Cookie("sid"), http.Header{"Cookie": {"sid=t3; __Secure-sid=t2; __Host-sid=t1"}}, "t1"},
		"what proves more goes first, whatever its name": {authmd.Cookie("a", "b"), http.Header{"Cookie": {"a=t4; __Secure-a=t3; __Secure-b=t2; __Host-b=t1"}}, "t1"},
		"__Secure- goes before none":                     {authmd.Cookie("a", "b"), http.Header{"Cookie": {"a=t4; __Secure-b=t2"}}, "t2"},
		"a name given with its prefix":                   {authmd.Cookie("a", "__Host-b", "__Secure-c"), http.Header{"Cookie": {"a=t3; __Secure-c=t2; __Host-b=t1"}}, "t1"},
		"such a name without it":                         {authmd.Cookie("__Host-b"), http.Header{"Cookie": {"b=t1; __Secure-b=t1; __Host-__Host-b=t1"}}, ""},
		"a header token with a comma":                    {authmd.HeaderToken("X-Session-Token"), http.Header{"X-Session-Token": {"evil,good"}}, ""},
		"a header token with commas only":                {authmd.HeaderToken("X-Session-Token"), http.Header{"X-Session-Token": {",", "good,"}}, ""},
		"the first of several names":                     {authmd.Cookie("a", "b"), http.Header{"Cookie": {"b=t2; a=t1"}}, "t1"},
		"the second of several names":                    {authmd.Cookie("a", "b"), http.Header{"Cookie": {"b=t2"}}, "t2"},
		"broken neighbours":                              {authmd.Cookie("sid"), http.Header{"Cookie": {";;=;  ; bad\x01name=1;sid=t1"}}, "t1"},
		"the whole header":                               {authmd.CookieHeader(), http.Header{"Cookie": {" a=b; c=d "}}, "a=b; c=d"},
		"an empty whole header":                          {authmd.CookieHeader(), http.Header{"Cookie": {"  "}}, ""},
		"a header token":                                 {authmd.HeaderToken("x-session-token"), http.Header{"X-Session-Token": {" t1 "}}, "t1"},
		"a header token with a space":                    {authmd.HeaderToken("X-Session-Token"), http.Header{"X-Session-Token": {"a b"}}, ""},
		"an empty header token":                          {authmd.HeaderToken("X-Session-Token"), http.Header{"X-Session-Token": {""}}, ""},
		"an extractor of one's own": {authmd.ExtractorFunc(func(h http.Header) (string, bool) {
			return h.Get("X"), true
		}), http.Header{"X": {"t1"}}, "t1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, ok := test.extractor.Extract(test.header)
			if got != test.want || ok != (test.want != "") {
				t.Errorf("Extract = %q, %t, want %q", got, ok, test.want)
			}
		})
	}
}

func TestCredentialsAreAllThatMatter(t *testing.T) {
	tests := map[string]struct {
		extractor authmd.Extractor
		values    []string
		want      []string // Value and Token in turn
	}{
		"one form for all spellings of bearer": {authmd.Bearer(), []string{"bearer   a", "Bearer b"}, []string{"Bearer a", "a", "Bearer b", "b"}},
		"every cookie of these names": {authmd.Cookie("b", "a"), []string{"a=1; x=9; b=2; a=3; __Host-a=4; a="}, []string{
			"__Host-a=4", "4", "b=2", "2", "a=1", "1", "a=3", "3", "a=", "",
		}},
		"beside cookies of nothing":      {authmd.Cookie("a"), []string{";a=1;;a=2;"}, []string{"a=1", "1", "a=2", "2"}},
		"a quoted cookie as it was sent": {authmd.Cookie("a"), []string{`a="1"`}, []string{`a="1"`, "1"}},
		"header tokens":                  {authmd.HeaderToken("X"), []string{" a ", "b", "c d", "e,f"}, []string{"a", "a", "b", "b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source, ok := test.extractor.(authmd.Source)
			if !ok {
				t.Fatal("not a Source")
			}
			var got []string
			for _, c := range source.AppendCredentials(nil, test.values) {
				got = append(got, c.Value, c.Token)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestExtractorsFromBadInputFindNothing(t *testing.T) {
	for name, extractor := range map[string]authmd.Extractor{
		"no cookie": authmd.Cookie(), "empty cookie": authmd.Cookie("a", ""), "cookie with =": authmd.Cookie("a=b"),
		"empty header": authmd.HeaderToken(""), "header with space": authmd.HeaderToken("a b"), "never forwarded": authmd.HeaderToken("Te"),
	} {
		source, ok := extractor.(authmd.Source)
		if !ok || source.Header() != "" {
			t.Errorf("%s: not marked as bad", name)
		}
		if token, ok := extractor.Extract(http.Header{"": {"x"}, "Cookie": {"=x; a=b"}, "Te": {"x"}}); ok {
			t.Errorf("%s: found %q", name, token)
		}
	}
}

// agree checks what holds of every Source.
func agree(t *testing.T, extractor authmd.Extractor, value string) (token string, ok bool) {
	t.Helper()
	source, _ := extractor.(authmd.Source)
	token, ok = extractor.Extract(http.Header{source.Header(): {value}})
	if ok == (token == "") {
		t.Errorf("Extract(%q) = %q, %t", value, token, ok)
	}
	first := ""
	for _, c := range source.AppendCredentials(nil, []string{value}) {
		if first == "" {
			first = c.Token
		}
		// A credential alone is found as it was among the others.
		again := source.AppendCredentials(nil, []string{c.Value})
		if len(again) == 0 || again[0].Token != c.Token || again[0].Value != c.Value {
			t.Errorf("%q holds %q, which alone reads as %d others", value, c.Value, len(again))
		}
	}
	if first != token {
		t.Errorf("Extract(%q) = %q, the first credential is %q", value, token, first)
	}
	return token, ok
}

func FuzzBearer(f *testing.F) {
	for _, value := range []string{"Bearer a", "bearer  a ", "Bearer", "Bearer a,b", "Basic x", "Bearer \xff"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token, ok := agree(t, authmd.Bearer(), value)
		if ok && (!strings.HasSuffix(strings.TrimSpace(value), token) || strings.ContainsAny(token, " ,\t\r\n\x00")) {
			t.Errorf("%q of %q", token, value)
		}
	})
}

func FuzzHeaderToken(f *testing.F) {
	for _, value := range []string{"a", " a ", "a b", "a,b", "\xff", ""} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if token, ok := agree(t, authmd.HeaderToken("X-T"), value); ok && (token != strings.TrimSpace(value) || strings.Contains(token, ",")) {
			t.Errorf("%q of %q", token, value)
		}
	})
}

func FuzzCookieHeader(f *testing.F) {
	for _, value := range []string{"a=b", " ", "a", ";"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if token, ok := agree(t, authmd.CookieHeader(), value); ok && token != strings.TrimSpace(value) {
			t.Errorf("%q of %q", token, value)
		}
	})
}

// FuzzCookie: wherever net/http accepts a line, it reads the same cookie.
func FuzzCookie(f *testing.F) {
	for _, value := range []string{"sid=a", "a=b; sid=c; sid=d", `sid="x"`, "__Host-sid=1; sid=2", "sid=;sid", "sid", "; ;sid=a"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if strings.ContainsAny(line, "\r\n\x00") {
			return // Header lets no such line through
		}
		token, _ := agree(t, authmd.Cookie("sid"), line)
		cookies, err := http.ParseCookie(line)
		if err != nil {
			return
		}
		for _, name := range []string{"__Host-sid", "__Secure-sid", "sid"} {
			for _, c := range cookies {
				if c.Name == name && c.Value != "" {
					if c.Value != token {
						t.Errorf("%q: %q, net/http reads %q", line, token, c.Value)
					}
					return
				}
			}
		}
		if token != "" {
			t.Errorf("%q: %q, net/http reads none", line, token)
		}
	})
}

func ExampleCookie() {
	header := http.Header{"Cookie": {"theme=dark; __Host-sid=abc"}}
	token, ok := authmd.Cookie("sid").Extract(header)
	fmt.Println(token, ok)
	// Output: abc true
}

func ExampleBearer() {
	token, ok := authmd.Bearer().Extract(http.Header{"Authorization": {"bearer abc"}})
	fmt.Println(token, ok)
	// Output: abc true
}

func ExampleExtractorFunc() {
	legacy := authmd.ExtractorFunc(func(header http.Header) (string, bool) {
		return strings.CutPrefix(header.Get("X-Legacy-Session"), "v1:")
	})
	token, ok := legacy.Extract(http.Header{"X-Legacy-Session": {"v1:abc"}})
	fmt.Println(token, ok)
	// Output: abc true
}
