package authcontext_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
)

// in2100 is when these identities end. Bubbles of synctest begin in 2000.
var in2100 = time.Date(2100, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// deep is an array in an array, and so on.
func deep(levels int) any {
	var v any = true
	for range levels {
		v = []any{v}
	}
	return v
}

func TestHeadersOfAnIdentity(t *testing.T) {
	tests := map[string]struct {
		ac     authcontext.AuthContext
		claims []string
		want   map[string]string
		back   *authcontext.AuthContext // nil: ac itself
	}{
		"a subject alone": {
			ac: authcontext.AuthContext{Subject: "user-1"}, want: map[string]string{"x-auth-subject": "user-1"},
		},
		"everything, as Connectum writes it": {
			ac: authcontext.AuthContext{
				Subject: "user-1", Name: "John Doe", Type: "session", Roles: []string{"admin", "editor"}, Scopes: []string{"read", "write"},
				Claims: map[string]any{"tenant": "acme", "level": 5.0, "secret": "password"}, ExpiresAt: in2100,
			},
			claims: []string{"tenant", "level", "absent", "tenant"},
			want: map[string]string{
				"x-auth-subject": "user-1", "x-auth-name": "John Doe", "x-auth-type": "session", "x-auth-roles": `["admin","editor"]`,
				"x-auth-scopes": "read write", "x-auth-claims": `{"level":5,"tenant":"acme"}`, "x-auth-expires-at": "2100-01-02T03:04:05.678Z",
			},
			back: &authcontext.AuthContext{
				Subject: "user-1", Name: "John Doe", Type: "session", Roles: []string{"admin", "editor"}, Scopes: []string{"read", "write"},
				Claims: map[string]any{"tenant": "acme", "level": 5.0}, ExpiresAt: in2100,
			},
		},
		"no claim without its name": {
			ac:   authcontext.AuthContext{Subject: "u", Claims: map[string]any{"token": "t"}},
			want: map[string]string{"x-auth-subject": "u"}, back: &authcontext.AuthContext{Subject: "u"},
		},
		"roles that hold separators, quotes and umlauts": {
			ac: authcontext.AuthContext{Subject: "u", Roles: []string{"a,b", "c d", `e"]`, `f\`, "größe", "😀", "", "<&>", "\u2028"}},
			want: map[string]string{
				"x-auth-subject": "u", "x-auth-roles": `["a,b","c d","e\"]","f\\","gr\u00f6\u00dfe","\ud83d\ude00","","<&>","\u2028"]`,
			},
		},
		"a name that is not ASCII": {
			ac:   authcontext.AuthContext{Subject: "u", Name: "José +50% Łódź"},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": "UTF-8''Jos%C3%A9%20%2B50%25%20%C5%81%C3%B3d%C5%BA"},
		},
		"a name with a comma": {
			ac:   authcontext.AuthContext{Subject: "u", Name: "Lovelace, Ada"},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": "UTF-8''Lovelace%2C%20Ada"},
		},
		"a name that looks encoded": {
			ac:   authcontext.AuthContext{Subject: "u", Name: "UTF-8''x"},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": "UTF-8''UTF-8%27%27x"},
		},
		"a name with a space at its end": {
			ac:   authcontext.AuthContext{Subject: "u", Name: "Ada "},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": "UTF-8''Ada%20"},
		},
		"the longest name": {
			ac:   authcontext.AuthContext{Subject: "u", Name: strings.Repeat("\uffef", 255)},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": "UTF-8''" + strings.Repeat("%EF%BF%AF", 255)},
		},
		"the longest name of pairs": {
			ac:   authcontext.AuthContext{Subject: "u", Name: strings.Repeat("😀", 127)},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": "UTF-8''" + strings.Repeat("%F0%9F%98%80", 127)},
		},
		"the longest plain name and type": {
			ac:   authcontext.AuthContext{Subject: "u", Name: strings.Repeat("n", 255), Type: strings.Repeat("t", 127)},
			want: map[string]string{"x-auth-subject": "u", "x-auth-name": strings.Repeat("n", 255), "x-auth-type": strings.Repeat("t", 127)},
		},
		"subjects of an LDAP directory": {
			ac:   authcontext.AuthContext{Subject: `CN=Ann \2B Co\, Ltd,OU=Eng Dept,2.5.4.10=x,dc=corp,DC=example`},
			want: map[string]string{"x-auth-subject": `CN=Ann \2B Co\, Ltd,OU=Eng Dept,2.5.4.10=x,dc=corp,DC=example`},
		},
		"the longest subject": {
			ac:   authcontext.AuthContext{Subject: strings.Repeat("u", 511)},
			want: map[string]string{"x-auth-subject": strings.Repeat("u", 511)},
		},
		"claims of every kind": {
			ac: authcontext.AuthContext{Subject: "u", Claims: map[string]any{
				"list": []any{"a\r\nb\x7f\u0085", 1.5, true, nil, map[string]any{}}, "größe": 0.0, "big": float64(1 << 60), "deep": deep(31),
			}},
			claims: []string{"list", "größe", "big", "deep"},
			want: map[string]string{
				"x-auth-subject": "u",
				"x-auth-claims": `{"big":1152921504606847000,"deep":` + strings.Repeat("[", 31) + "true" + strings.Repeat("]", 31) +
					`,"gr\u00f6\u00dfe":0,"list":["a\r\nb\u007f\u0085",1.5,true,null,{}]}`,
			},
		},
		"an expiry in another zone": {
			ac:   authcontext.AuthContext{Subject: "u", ExpiresAt: in2100.In(time.FixedZone("", 3600))},
			want: map[string]string{"x-auth-subject": "u", "x-auth-expires-at": "2100-01-02T03:04:05.678Z"},
			back: &authcontext.AuthContext{Subject: "u", ExpiresAt: in2100},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := authcontext.EncodeHeader(&test.ac, test.claims...)
			if err != nil || !maps.Equal(got, test.want) {
				t.Fatalf("EncodeHeader = %q, %v\nwant %q", got, err, test.want)
			}
			back := test.back
			if back == nil {
				back = &test.ac
			}
			httpHeader := http.Header{}
			for name, value := range got {
				httpHeader.Set(name, value)
			}
			for _, header := range []map[string][]string{grpcmd.New(got), httpHeader} {
				decoded, err := authcontext.DecodeHeader(header)
				if err != nil || !reflect.DeepEqual(decoded, back) {
					t.Errorf("DecodeHeader = %+v, %v\nwant %+v", decoded, err, back)
				}
			}
		})
	}
}

func TestWhatHeadersCannotHoldIsAnError(t *testing.T) {
	tests := map[string]struct {
		ac   authcontext.AuthContext
		want string
	}{
		"no subject":                         {authcontext.AuthContext{Name: "Ada"}, "authcontext: no identity"},
		"a subject beyond ASCII":             {authcontext.AuthContext{Subject: "josé"}, "authcontext: x-auth-subject: a byte that is not visible ASCII"},
		"a subject of two lines":             {authcontext.AuthContext{Subject: "a\r\nx-auth-roles: [\"admin\"]"}, "authcontext: x-auth-subject: a byte that is not visible ASCII"},
		"a subject with NUL":                 {authcontext.AuthContext{Subject: "a\x00"}, "authcontext: x-auth-subject: a byte that is not visible ASCII"},
		"a subject with a comma":             {authcontext.AuthContext{Subject: "a,b"}, "authcontext: x-auth-subject: a comma"},
		"a subject with a space after":       {authcontext.AuthContext{Subject: "a "}, "authcontext: x-auth-subject: a space at its beginning or end"},
		"a long subject":                     {authcontext.AuthContext{Subject: strings.Repeat("u", 512)}, "authcontext: x-auth-subject: 512 bytes, at most 511"},
		"a type with a comma":                {authcontext.AuthContext{Subject: "u", Type: "a,b"}, "authcontext: x-auth-type: a comma"},
		"a long type":                        {authcontext.AuthContext{Subject: "u", Type: strings.Repeat("t", 128)}, "authcontext: x-auth-type: 128 bytes, at most 127"},
		"a long name":                        {authcontext.AuthContext{Subject: "u", Name: strings.Repeat("n", 256)}, "authcontext: x-auth-name: 256 characters, at most 255"},
		"a long name of pairs":               {authcontext.AuthContext{Subject: "u", Name: strings.Repeat("😀", 128)}, "authcontext: x-auth-name: 256 characters, at most 255"},
		"a name with a C1 control":           {authcontext.AuthContext{Subject: "u", Name: "a\u0085b"}, "authcontext: x-auth-name: a control character, or text that is not UTF-8"},
		"a role with a C1 control":           {authcontext.AuthContext{Subject: "u", Roles: []string{"a\u009bb"}}, "authcontext: x-auth-roles: a control character, or text that is not UTF-8"},
		"a subject with a C1 control":        {authcontext.AuthContext{Subject: "a\u0085"}, "authcontext: x-auth-subject: a byte that is not visible ASCII"},
		"a subject with DEL":                 {authcontext.AuthContext{Subject: "a\x7fb"}, "authcontext: x-auth-subject: a byte that is not visible ASCII"},
		"a name with DEL":                    {authcontext.AuthContext{Subject: "u", Name: "a\x7f"}, "authcontext: x-auth-name: a control character, or text that is not UTF-8"},
		"a name that was lost":               {authcontext.AuthContext{Subject: "u", Name: "a\ufffd"}, "authcontext: x-auth-name: a control character, or text that is not UTF-8"},
		"a subject like two directory names": {authcontext.AuthContext{Subject: "CN=a,DC=x,CN=b,DC=x"}, "authcontext: x-auth-subject: a comma"},
		"a name of two lines":                {authcontext.AuthContext{Subject: "u", Name: "a\nb"}, "authcontext: x-auth-name: a control character, or text that is not UTF-8"},
		"a name that is not UTF-8":           {authcontext.AuthContext{Subject: "u", Name: "Jos\xe9"}, "authcontext: x-auth-name: a control character, or text that is not UTF-8"},
		"a role of two lines":                {authcontext.AuthContext{Subject: "u", Roles: []string{"a\r\nb"}}, "authcontext: x-auth-roles: a control character, or text that is not UTF-8"},
		"a role that is not UTF-8":           {authcontext.AuthContext{Subject: "u", Roles: []string{"\xff"}}, "authcontext: x-auth-roles: a control character, or text that is not UTF-8"},
		"too many roles":                     {authcontext.AuthContext{Subject: "u", Roles: make([]string, 2731)}, "authcontext: x-auth-roles: 8194 bytes, at most 8192"},
		"a scope with a space":               {authcontext.AuthContext{Subject: "u", Scopes: []string{"read write"}}, "authcontext: x-auth-scopes: a scope that is empty or holds a space or a comma"},
		"a scope with a comma":               {authcontext.AuthContext{Subject: "u", Scopes: []string{"read,write"}}, "authcontext: x-auth-scopes: a scope that is empty or holds a space or a comma"},
		"an empty scope":                     {authcontext.AuthContext{Subject: "u", Scopes: []string{""}}, "authcontext: x-auth-scopes: a scope that is empty or holds a space or a comma"},
		"a scope beyond ASCII":               {authcontext.AuthContext{Subject: "u", Scopes: []string{"größe"}}, "authcontext: x-auth-scopes: a byte that is not visible ASCII"},
		"too many scopes":                    {authcontext.AuthContext{Subject: "u", Scopes: slices.Repeat([]string{"s"}, 4097)}, "authcontext: x-auth-scopes: 8193 bytes, at most 8192"},
		"a claim of 1 MiB":                   {authcontext.AuthContext{Subject: "u", Claims: map[string]any{"c": strings.Repeat("x", 1<<20)}}, "authcontext: x-auth-claims: 1048584 bytes, at most 8192"},
		"a claim that is no JSON":            {authcontext.AuthContext{Subject: "u", Claims: map[string]any{"c": math.NaN()}}, `authcontext: x-auth-claims: "c", a float64, cannot be written as JSON`},
		"a claim that is not UTF-8":          {authcontext.AuthContext{Subject: "u", Claims: map[string]any{"c": "\xff"}}, "authcontext: x-auth-claims: text that was lost on the way"},
		"a claim with a key twice":           {authcontext.AuthContext{Subject: "u", Claims: map[string]any{"c": json.RawMessage(`{"a":1,"a":2}`)}}, "authcontext: x-auth-claims: a key that is there twice"},
		"a claim that loses digits":          {authcontext.AuthContext{Subject: "u", Claims: map[string]any{"c": int64(1<<53 + 1)}}, "authcontext: x-auth-claims: a number that a float64 cannot hold"},
		"a claim that is too deep":           {authcontext.AuthContext{Subject: "u", Claims: map[string]any{"c": deep(32)}}, "authcontext: x-auth-claims: nested too deep"},
		"an expiry beyond RFC 3339":          {authcontext.AuthContext{Subject: "u", ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, "authcontext: x-auth-expires-at: a time that RFC 3339 cannot hold"},
		"several, each of which is named": {
			authcontext.AuthContext{Subject: "a,b", Type: "ü"},
			"authcontext: x-auth-subject: a comma\nauthcontext: x-auth-type: a byte that is not visible ASCII",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := authcontext.EncodeHeader(&test.ac, "c")
			if got != nil || err == nil || err.Error() != test.want {
				t.Errorf("EncodeHeader = %q, %v\nwant %s", got, err, test.want)
			}
		})
	}
	if _, err := authcontext.EncodeHeader(nil); !errors.Is(err, authcontext.ErrNoIdentity) {
		t.Errorf("of nil: %v", err)
	}
}

func TestMalformedHeadersAreNoIdentity(t *testing.T) {
	good := map[string][]string{
		"x-auth-subject": {"ada"}, "x-auth-roles": {`["reader"]`}, "x-auth-scopes": {"read"}, "x-auth-claims": {`{"a":1}`},
		"x-auth-name": {"Ada"}, "x-auth-type": {"session"}, "x-auth-expires-at": {"2100-01-01T00:00:00Z"},
	}
	if _, err := authcontext.DecodeHeader(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change map[string][]string
		want   string
	}{
		"no subject":                     {map[string][]string{"x-auth-subject": nil}, "x-auth-subject: missing"},
		"an empty subject":               {map[string][]string{"x-auth-subject": {""}}, "x-auth-subject: missing"},
		"a subject of spaces":            {map[string][]string{"x-auth-subject": {" "}}, "x-auth-subject: a space at its beginning or end"},
		"two subjects":                   {map[string][]string{"x-auth-subject": {"ada", "root"}}, "x-auth-subject: repeated"},
		"the same subject twice":         {map[string][]string{"x-auth-subject": {"ada", "ada"}}, "x-auth-subject: repeated"},
		"a subject in two cases":         {map[string][]string{"X-Auth-Subject": {"root"}}, "x-auth-subject: repeated"},
		"two subjects joined":            {map[string][]string{"x-auth-subject": {"ada, root"}}, "x-auth-subject: a comma"},
		"two joined that are no DN":      {map[string][]string{"x-auth-subject": {"CN=ada,root"}}, "x-auth-subject: a comma"},
		"another and a DN joined":        {map[string][]string{"x-auth-subject": {"root,CN=ada"}}, "x-auth-subject: a comma"},
		"two DNs joined":                 {map[string][]string{"x-auth-subject": {"CN=ada,DC=x,CN=root,DC=x"}}, "x-auth-subject: a comma"},
		"two DNs joined, in lower case":  {map[string][]string{"x-auth-subject": {"cn=ada,dc=x,cn=root,dc=x"}}, "x-auth-subject: a comma"},
		"a DN with a semicolon":          {map[string][]string{"x-auth-subject": {"CN=ada;OU=b,C=d"}}, "x-auth-subject: a comma"},
		"two DNs joined by a space too":  {map[string][]string{"x-auth-subject": {"CN=ada, CN=root"}}, "x-auth-subject: a comma"},
		"a DN and nothing joined":        {map[string][]string{"x-auth-subject": {"CN=ada,"}}, "x-auth-subject: a comma"},
		"a DN with an empty part":        {map[string][]string{"x-auth-subject": {"CN=ada,,OU=x"}}, "x-auth-subject: a comma"},
		"a DN with an empty value":       {map[string][]string{"x-auth-subject": {"CN=,OU=x"}}, "x-auth-subject: a comma"},
		"a DN with a quoted value":       {map[string][]string{"x-auth-subject": {`CN="a,b",OU=x`}}, "x-auth-subject: a comma"},
		"a DN with a space before comma": {map[string][]string{"x-auth-subject": {"CN=ada ,OU=x"}}, "x-auth-subject: a comma"},
		"a DN with no type":              {map[string][]string{"x-auth-subject": {"=ada,OU=x"}}, "x-auth-subject: a comma"},
		"a DN with a type of digits":     {map[string][]string{"x-auth-subject": {"2=ada,OU=x"}}, "x-auth-subject: a comma"},
		"two types that look like a DN":  {map[string][]string{"x-auth-type": {"a=b,c=d"}}, "x-auth-type: a comma"},
		"two names joined":               {map[string][]string{"x-auth-name": {"Ada, Bob"}}, "x-auth-name: a comma"},
		"two encoded names joined":       {map[string][]string{"x-auth-name": {"UTF-8''Ada, UTF-8''Bob"}}, "x-auth-name: not a name as of RFC 8187"},
		"two encoded names, no space":    {map[string][]string{"x-auth-name": {"UTF-8''Ada,UTF-8''Bob"}}, "x-auth-name: not a name as of RFC 8187"},
		"a plain and an encoded name":    {map[string][]string{"x-auth-name": {"Ada,UTF-8''Bob"}}, "x-auth-name: a comma"},
		"an encoded name with a quote":   {map[string][]string{"x-auth-name": {"UTF-8''O'Brien"}}, "x-auth-name: not a name as of RFC 8187"},
		"an encoded name with a space":   {map[string][]string{"x-auth-name": {"UTF-8''Ada B"}}, "x-auth-name: not a name as of RFC 8187"},
		"an encoded name of 8 bits":      {map[string][]string{"x-auth-name": {"UTF-8''Jos\xe9"}}, "x-auth-name: not a name as of RFC 8187"},
		"a C1 control in a name":         {map[string][]string{"x-auth-name": {"a\x85b"}}, "x-auth-name: a control character"},
		"an escaped C1 control":          {map[string][]string{"x-auth-name": {"UTF-8''a%C2%85b"}}, "x-auth-name: not a name as of RFC 8187"},
		"a C1 control in UTF-8":          {map[string][]string{"x-auth-name": {"a\u0085b"}}, "x-auth-name: text that may be UTF-8 or ISO 8859-1"},
		"a C1 control in a subject":      {map[string][]string{"x-auth-subject": {"a\x9b"}}, "x-auth-subject: a control character"},
		"a C1 control in a role":         {map[string][]string{"x-auth-roles": {"[\"a\x9b\"]"}}, "x-auth-roles: a control character"},
		"a C1 control escaped in a role": {map[string][]string{"x-auth-roles": {`["a\u009b"]`}}, "x-auth-roles: a control character"},
		"DEL in a name":                  {map[string][]string{"x-auth-name": {"a\x7f"}}, "x-auth-name: a control character"},
		"a no-break space at the end":    {map[string][]string{"x-auth-name": {"a\xa0"}}, "x-auth-name: a space at its beginning or end"},
		"a subject of 8 bits":            {map[string][]string{"x-auth-subject": {"CN=jos\xe9,x"}}, "x-auth-subject: a comma"},
		"a subject in UTF-8":             {map[string][]string{"x-auth-subject": {"josé"}}, "x-auth-subject: text that may be UTF-8 or ISO 8859-1"},
		"a subject with CR and LF":       {map[string][]string{"x-auth-subject": {"ada\r\nx: y"}}, "x-auth-subject: a control character"},
		"a subject with a tab":           {map[string][]string{"x-auth-subject": {"a\tb"}}, "x-auth-subject: a control character"},
		"a long subject":                 {map[string][]string{"x-auth-subject": {strings.Repeat("u", 512)}}, "x-auth-subject: 512 bytes, at most 511"},
		"two types joined":               {map[string][]string{"x-auth-type": {"session,jwt"}}, "x-auth-type: a comma"},
		"two types":                      {map[string][]string{"x-auth-type": {"session", "jwt"}}, "x-auth-type: repeated"},
		"a long type":                    {map[string][]string{"x-auth-type": {strings.Repeat("t", 128)}}, "x-auth-type: 128 bytes, at most 127"},
		"a name in UTF-8":                {map[string][]string{"x-auth-name": {"José"}}, "x-auth-name: text that may be UTF-8 or ISO 8859-1"},
		"two names":                      {map[string][]string{"x-auth-name": {"Ada", "Bob"}}, "x-auth-name: repeated"},
		"a long name":                    {map[string][]string{"x-auth-name": {strings.Repeat("n", 256)}}, "x-auth-name: 256 characters, at most 255"},
		"an escape cut short":            {map[string][]string{"x-auth-name": {"UTF-8''%C"}}, "x-auth-name: not a name as of RFC 8187"},
		"an escape that is not UTF-8":    {map[string][]string{"x-auth-name": {"UTF-8''%E9"}}, "x-auth-name: not a name as of RFC 8187"},
		"an escaped line break":          {map[string][]string{"x-auth-name": {"UTF-8''a%0Ab"}}, "x-auth-name: not a name as of RFC 8187"},
		"an escaped name of nothing":     {map[string][]string{"x-auth-name": {"UTF-8''"}}, "x-auth-name: not a name as of RFC 8187"},
		"an escaped name that is long":   {map[string][]string{"x-auth-name": {"UTF-8''" + strings.Repeat("n", 256)}}, "x-auth-name: not a name as of RFC 8187"},
		"roles by comma":                 {map[string][]string{"x-auth-roles": {"reader,admin"}}, "x-auth-roles: not JSON"},
		"roles cut off":                  {map[string][]string{"x-auth-roles": {`["reader"`}}, "x-auth-roles: not JSON"},
		"no roles at all":                {map[string][]string{"x-auth-roles": {""}}, "x-auth-roles: not JSON"},
		"two lists of roles":             {map[string][]string{"x-auth-roles": {`["reader"]`, `["admin"]`}}, "x-auth-roles: repeated"},
		"two lists of roles joined":      {map[string][]string{"x-auth-roles": {`["reader"],["admin"]`}}, "x-auth-roles: not JSON"},
		"data after the roles":           {map[string][]string{"x-auth-roles": {`["reader"] x`}}, "x-auth-roles: not JSON"},
		"a comma after the last role":    {map[string][]string{"x-auth-roles": {`["reader",]`}}, "x-auth-roles: not JSON"},
		"null for roles":                 {map[string][]string{"x-auth-roles": {"null"}}, "x-auth-roles: not an array"},
		"a role that is not in a list":   {map[string][]string{"x-auth-roles": {`"admin"`}}, "x-auth-roles: not an array"},
		"roles as an object":             {map[string][]string{"x-auth-roles": {`{"admin":true}`}}, "x-auth-roles: not an array"},
		"a role that is a number":        {map[string][]string{"x-auth-roles": {`["reader",1]`}}, "x-auth-roles: a role that is no string"},
		"a role that is null":            {map[string][]string{"x-auth-roles": {`["reader",null]`}}, "x-auth-roles: a role that is no string"},
		"a role that is a list":          {map[string][]string{"x-auth-roles": {`["reader",["admin"]]`}}, "x-auth-roles: a role that is no string"},
		"a role of two lines":            {map[string][]string{"x-auth-roles": {`["a\r\nb"]`}}, "x-auth-roles: a control character"},
		"a role in UTF-8":                {map[string][]string{"x-auth-roles": {`["größe"]`}}, "x-auth-roles: text that may be UTF-8 or ISO 8859-1"},
		"a role that is half a rune":     {map[string][]string{"x-auth-roles": {`["\ud800"]`}}, "x-auth-roles: text that was lost on the way"},
		"too many roles":                 {map[string][]string{"x-auth-roles": {"[" + strings.Repeat(`"",`, 2730) + `""]`}}, "x-auth-roles: 8194 bytes, at most 8192"},
		"scopes by comma":                {map[string][]string{"x-auth-scopes": {"read,write"}}, "x-auth-scopes: a scope that is empty or holds a space or a comma"},
		"scopes joined":                  {map[string][]string{"x-auth-scopes": {"read, admin"}}, "x-auth-scopes: a scope that is empty or holds a space or a comma"},
		"an empty scope":                 {map[string][]string{"x-auth-scopes": {"read  write"}}, "x-auth-scopes: a scope that is empty or holds a space or a comma"},
		"two lists of scopes":            {map[string][]string{"x-auth-scopes": {"read", "admin"}}, "x-auth-scopes: repeated"},
		"claims of 1 MiB":                {map[string][]string{"x-auth-claims": {`{"c":"` + strings.Repeat("x", 1<<20) + `"}`}}, "x-auth-claims: 1048584 bytes, at most 8192"},
		"claims cut off":                 {map[string][]string{"x-auth-claims": {`{"a":`}}, "x-auth-claims: not JSON"},
		"claims as an array":             {map[string][]string{"x-auth-claims": {`[{"a":1}]`}}, "x-auth-claims: not an object"},
		"no claims at all":               {map[string][]string{"x-auth-claims": {""}}, "x-auth-claims: not JSON"},
		"null for claims":                {map[string][]string{"x-auth-claims": {"null"}}, "x-auth-claims: not an object"},
		"two claims joined":              {map[string][]string{"x-auth-claims": {`{"a":1},{"a":2}`}}, "x-auth-claims: not JSON"},
		"data after the claims":          {map[string][]string{"x-auth-claims": {`{"a":1}{"a":2}`}}, "x-auth-claims: not JSON"},
		"a claim twice":                  {map[string][]string{"x-auth-claims": {`{"a":1,"a":2}`}}, "x-auth-claims: a key that is there twice"},
		"a claim twice, once escaped":    {map[string][]string{"x-auth-claims": {`{"a":1,"\u0061":2}`}}, "x-auth-claims: a key that is there twice"},
		"a key twice inside a claim":     {map[string][]string{"x-auth-claims": {`{"a":[{"b":1,"b":1}]}`}}, "x-auth-claims: a key that is there twice"},
		"a claim nested too deep":        {map[string][]string{"x-auth-claims": {`{"a":` + strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + "}"}}, "x-auth-claims: nested too deep"},
		"a claim that loses digits":      {map[string][]string{"x-auth-claims": {`{"a":9007199254740993}`}}, "x-auth-claims: a number that a float64 cannot hold"},
		"a claim beyond all numbers":     {map[string][]string{"x-auth-claims": {`{"a":1e999}`}}, "x-auth-claims: a number that a float64 cannot hold"},
		"an expiry that is a number":     {map[string][]string{"x-auth-expires-at": {"4102444800"}}, "x-auth-expires-at: not a time as of RFC 3339"},
		"an expiry without a zone":       {map[string][]string{"x-auth-expires-at": {"2100-01-01T00:00:00"}}, "x-auth-expires-at: not a time as of RFC 3339"},
		"an expiry with a comma":         {map[string][]string{"x-auth-expires-at": {"2100-01-01T00:00:00,5Z"}}, "x-auth-expires-at: not a time as of RFC 3339"},
		"a long expiry":                  {map[string][]string{"x-auth-expires-at": {"2100-01-01T00:00:00." + strings.Repeat("0", 44) + "Z"}}, "x-auth-expires-at: 65 bytes, at most 64"},
		"no expiry at all":               {map[string][]string{"x-auth-expires-at": {""}}, "x-auth-expires-at: not a time as of RFC 3339"},
		"an expiry that is the zero one": {map[string][]string{"x-auth-expires-at": {"0001-01-01T00:00:00Z"}}, "x-auth-expires-at: authcontext: the identity has expired"},
		"an expiry that has passed":      {map[string][]string{"x-auth-expires-at": {"1999-12-31T23:59:59Z"}}, "x-auth-expires-at: authcontext: the identity has expired"},
		"an expiry that is now":          {map[string][]string{"x-auth-expires-at": {"2000-01-01T00:00:00Z"}}, "x-auth-expires-at: authcontext: the identity has expired"},
		"an alias does not count":        {map[string][]string{"x-auth-subject": nil, "x_auth_subject": {"ada"}, "x.auth.subject": {"ada"}, "x-auth-subject-bin": {"ada"}, "grpcgateway-x-auth-subject": {"ada"}}, "x-auth-subject: missing"},
		"a letter that only looks alike": {map[string][]string{"x-auth-subject": nil, "x-auth-ſubject": {"ada"}}, "x-auth-subject: missing"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				header := maps.Clone(good)
				maps.Copy(header, test.change)
				ac, err := authcontext.DecodeHeader(header)
				if ac != nil || err == nil || err.Error() != "authcontext: "+test.want {
					t.Errorf("DecodeHeader = %+v, %.200v\nwant %s", ac, err, test.want)
				}
				if want := strings.Contains(name, "expiry that is the zero") || strings.Contains(name, "has passed") || strings.Contains(name, "is now"); errors.Is(err, authcontext.ErrExpired) != want {
					t.Errorf("ErrExpired: %t", !want)
				}
			})
		})
	}
	for name, header := range map[string]map[string][]string{
		"nil": nil, "an empty key": {"": {"ada"}}, "others": {"x-auth-request-user": {"ada"}, "x-auth-": {"ada"}, "authorization": {"Bearer t"}}, "no values": {"x-auth-subject": nil},
	} {
		if ac, err := authcontext.DecodeHeader(header); ac != nil || !errors.Is(err, authcontext.ErrNoIdentity) {
			t.Errorf("%s: %v, %v", name, ac, err)
		}
	}
}

func TestWhatOthersMayWrite(t *testing.T) {
	got, err := authcontext.DecodeHeader(map[string][]string{
		"x-auth-subject": {"ada"}, "x-auth-name": {"UTF-8''a!#$&+-.^_`|~%c3%A9"}, "x-auth-roles": {`[ "a" ]`}, "x-auth-claims": {`{"a":[1E3,1.50,-0,2e0]}`},
	})
	want := &authcontext.AuthContext{
		Subject: "ada", Name: "a!#$&+-.^_`|~é", Roles: []string{"a"}, Claims: map[string]any{"a": []any{1000.0, 1.5, math.Copysign(0, -1), 2.0}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v, %v", got, got.Claims, err)
	}
}

func TestEmptyHeadersMeanWhatAbsentOnesMean(t *testing.T) {
	got, err := authcontext.DecodeHeader(map[string][]string{
		"x-auth-subject": {"ada"}, "x-auth-name": {""}, "x-auth-type": {""}, "x-auth-scopes": {""}, "x-auth-roles": {"[ ]"}, "x-auth-claims": {"{}"},
	})
	want := &authcontext.AuthContext{Subject: "ada", Roles: []string{}, Claims: map[string]any{}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whatever is read is written again as the same.
func FuzzDecodeHeader(f *testing.F) {
	f.Add("ada", "session", "UTF-8''Jos%C3%A9", `["a,b","\ud83d\ude00"]`, "read write", `{"a":[1e3,-0,"\u00e9"],"b":null}`, "2100-01-01T00:00:00.5+01:00")
	f.Add("CN=ada,OU=x,DC=y", "", "Jos\xe9", "[\"gr\xf6\xdfe\"]", "l\xe4sen", "{\"a\":\"\xfc\"}", "2100-01-01T00:00:00Z")
	f.Add("ada", "", "Ada, L", `[]`, "", `{}`, "2100-01-01T00:00:00Z")
	f.Add("a\r\nb", "t,u", "UTF-8''%0A", `["\ud800"]`, "a  b", `{"a":1,"a":2}`, "")
	f.Fuzz(func(t *testing.T, subject, kind, name, roles, scopes, claims, expires string) {
		if len(claims) > 1024 || len(roles) > 1024 {
			return // a number, or a letter beyond ASCII, may take more room when written again
		}
		header := map[string][]string{
			"x-auth-subject": {subject}, "x-auth-type": {kind}, "x-auth-name": {name}, "x-auth-roles": {roles},
			"x-auth-scopes": {scopes}, "x-auth-claims": {claims}, "x-auth-expires-at": {expires},
		}
		ac, err := authcontext.DecodeHeader(header)
		if err != nil {
			if ac != nil {
				t.Fatalf("half an identity: %+v", ac)
			}
			return
		}
		if isASCII(subject) && ac.Subject != subject || strings.ContainsAny(ac.Name+ac.Subject, "\r\n\x00") || !ac.ExpiresAt.After(time.Now()) {
			t.Fatalf("%+v", ac)
		}
		if !isASCII(subject + kind + scopes) {
			return // which gRPC metadata cannot hold
		}
		again, err := authcontext.EncodeHeader(ac, slices.Collect(maps.Keys(ac.Claims))...)
		if err != nil {
			t.Fatalf("%+v: %v", ac, err)
		}
		same, err := authcontext.DecodeHeader(grpcmd.New(again))
		if err != nil || !equal(same, ac) {
			t.Fatalf("%+v %v\n%+v %v: %v", ac, ac.Claims, same, same.Claims, err)
		}
	})
}

// Whatever is written is visible ASCII, and is read as the same.
func FuzzEncodeHeader(f *testing.F) {
	f.Add("ada", "session", "José", "a,b", "größe", "read", "claim", "text", int64(1)<<53, 1.5, int64(4102444800))
	f.Add("a,b", "ü", "\xff", "\r\n", "", "a b", "\x7f", "\u2028", int64(-1), math.Inf(1), int64(0))
	f.Fuzz(func(t *testing.T, subject, kind, name, role1, role2, scope, claim, text string, whole int64, half float64, expires int64) {
		ac := &authcontext.AuthContext{
			Subject: subject, Type: kind, Name: name, Roles: []string{role1, role2}, Scopes: []string{scope, "x"},
			Claims:    map[string]any{claim: map[string]any{text: []any{text, whole, half}}},
			ExpiresAt: time.Unix(expires, 0).UTC(),
		}
		header, err := authcontext.EncodeHeader(ac, claim)
		if err != nil {
			if header != nil {
				t.Fatalf("half a header: %q", header)
			}
			return
		}
		for name, value := range header {
			if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("%s: %q", name, value)
			}
		}
		got, err := authcontext.DecodeHeader(grpcmd.New(header))
		if errors.Is(err, authcontext.ErrExpired) && !ac.ExpiresAt.After(time.Now()) {
			return
		}
		ac.Claims = map[string]any{claim: map[string]any{text: []any{text, float64(whole), half}}}
		if err != nil || !equal(got, ac) {
			t.Fatalf("%+v %v\n%+v: %v", ac, ac.Claims, got, err)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

func equal(a, b *authcontext.AuthContext) bool {
	if len(a.Roles) != len(b.Roles) || len(a.Claims) != len(b.Claims) {
		return false
	}
	c, d := a.Clone(), b.Clone()
	for _, ac := range []*authcontext.AuthContext{c, d} { // nil and empty are the same
		ac.Roles = append([]string{}, ac.Roles...)
		if len(ac.Claims) == 0 {
			ac.Claims = nil
		}
	}
	return reflect.DeepEqual(c, d)
}

func ExampleEncodeHeader() {
	ac := &authcontext.AuthContext{
		Subject: "ada", Name: "José", Roles: []string{"admin"},
		Claims: map[string]any{"tenant": "acme", "token": "secret"},
	}
	header, err := authcontext.EncodeHeader(ac, "tenant")
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Println(name+":", header[name])
	}
	_, tooLong := authcontext.EncodeHeader(&authcontext.AuthContext{Subject: strings.Repeat("a", 600)})
	fmt.Println(err, tooLong)
	// Output:
	// x-auth-claims: {"tenant":"acme"}
	// x-auth-name: UTF-8''Jos%C3%A9
	// x-auth-roles: ["admin"]
	// x-auth-subject: ada
	// <nil> authcontext: x-auth-subject: 600 bytes, at most 511
}

func ExampleDecodeHeader() {
	header := http.Header{"X-Auth-Subject": {"ada"}, "X-Auth-Roles": {`["admin"]`}}
	ac, err := authcontext.DecodeHeader(header)
	fmt.Println(ac.Subject, ac.Roles, err)
	header.Add("X-Auth-Subject", "root")
	_, err = authcontext.DecodeHeader(header)
	fmt.Println(err)
	// Output:
	// ada [admin] <nil>
	// authcontext: x-auth-subject: repeated
}
