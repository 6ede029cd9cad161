package member_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/member"
)

// maxRecord is how many bytes are shared of one session at most.
const maxRecord = 64 << 10

func recordOf(auth authcontext.AuthContext) *member.Record {
	p := member.Plain(auth)
	return &member.Record{At: at(7), Verified: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Auth: &p, Session: []byte{0, 1}, Whole: true}
}

// TestARecordIsReadAsItWasOrNotWritten, since an identity that differs decides otherwise.
func TestARecordIsReadAsItWasOrNotWritten(t *testing.T) {
	in := time.FixedZone("east", 3600)
	for name, test := range map[string]struct {
		auth  authcontext.AuthContext
		wants bool
	}{
		"a subject alone":         {authcontext.AuthContext{}, true},
		"a time of another zone":  {authcontext.AuthContext{ExpiresAt: time.Date(2026, 5, 6, 7, 8, 9, 10, in)}, true},
		"a time of this process":  {authcontext.AuthContext{ExpiresAt: time.Now()}, true},
		"a year of five digits":   {authcontext.AuthContext{ExpiresAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}, false},
		"no roles, and none":      {authcontext.AuthContext{Roles: []string{}, Scopes: nil, Claims: map[string]any{}}, true},
		"claims that JSON knows":  {authcontext.AuthContext{Claims: map[string]any{"a": []any{"<&>", 1e300, nil, false, map[string]any{}}}}, true},
		"an int":                  {authcontext.AuthContext{Claims: map[string]any{"a": 1}}, false},
		"a nested int":            {authcontext.AuthContext{Claims: map[string]any{"a": map[string]any{"b": []any{1}}}}, false},
		"a time as a claim":       {authcontext.AuthContext{Claims: map[string]any{"a": time.Now()}}, false},
		"bytes":                   {authcontext.AuthContext{Claims: map[string]any{"a": []byte("x")}}, false},
		"a channel":               {authcontext.AuthContext{Claims: map[string]any{"a": make(chan int)}}, false},
		"a role that is not text": {authcontext.AuthContext{Roles: []string{"\xc0"}}, false},
	} {
		test.auth.Subject = "ada"
		r := recordOf(test.auth)
		data, err := r.Encode()
		if (err == nil) != test.wants {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		read, err := member.Decode(data)
		if err != nil || read.At != r.At || !read.Verified.Equal(r.Verified) || string(read.Session) != string(r.Session) || !read.Whole ||
			read.Auth.Subject != "ada" || !read.Auth.ExpiresAt.Equal(test.auth.ExpiresAt) {
			t.Errorf("%s: %+v, %v", name, read, err)
		}
	}
	refused := member.Record{At: at(7), Verified: time.Unix(1, 0)}
	data, err := refused.Encode()
	if read, failed := member.Decode(data); err != nil || failed != nil || read.Auth != nil || read.Whole {
		t.Errorf("a refusal: %v, %v", err, failed)
	}
}

func TestARecordOfAnotherFormatOrLengthIsNone(t *testing.T) {
	padded := func(size int) *member.Record {
		empty, err := recordOf(authcontext.AuthContext{Subject: "ada", Name: "x"}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		return recordOf(authcontext.AuthContext{Subject: "ada", Name: strings.Repeat("x", 1+size-len(empty))})
	}
	longest, err := padded(maxRecord).Encode()
	if err != nil || len(longest) != maxRecord {
		t.Errorf("the longest: %d bytes, %v", len(longest), err)
	}
	if data, err := padded(maxRecord + 1).Encode(); err == nil {
		t.Errorf("one byte too many: %d", len(data))
	}
	if data, err := recordOf(authcontext.AuthContext{}).Encode(); err == nil {
		t.Errorf("without a subject: %d bytes", len(data))
	}
	good := string(longest)
	for name, data := range map[string]string{
		"nothing":            "",
		"the format alone":   good[:1],
		"another format":     "\x02" + good[1:],
		"format 0":           "\x00" + good[1:],
		"a byte too few":     good[:len(good)-1],
		"a byte too many":    good + " ",
		"more after the end": "\x01{}{}",
		"another type":       "\x01[]",
		"no subject":         "\x01" + `{"Auth":{"Subject":""}}`,
	} {
		if r, err := member.Decode([]byte(data)); err == nil || r.Auth != nil || r.Session != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
