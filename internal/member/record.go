package member

import (
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/fleet"
)

// maxRecord bounds what is shared of one session, in bytes.
const maxRecord = 64 << 10

// recordFormat is the first byte of a record.
const recordFormat = 1

// Record is what one verification found out, as others read it.
type Record struct {
	At       fleet.Position // that it began after
	Verified time.Time      // when it began, by the wall clock of who verified
	Auth     *Plain         `json:",omitempty"` // nil: there is no such session
	Session  []byte         `json:",omitempty"`
	Whole    bool           `json:",omitempty"` // the session is there
}

// Plain is an AuthContext that marshals whole.
type Plain authcontext.AuthContext

var errRecord = errors.New("member: not a record of this version")

// Encode fails for an identity that would not be the same when it is read: one with
// claims of types that JSON does not know, or text that is not UTF-8.
func (r *Record) Encode() ([]byte, error) {
	text, err := json.Marshal(r) //nolint:musttag // read and written here alone
	if err != nil {
		return nil, err
	}
	data := append([]byte{recordFormat}, text...)
	read, err := Decode(data)
	if err != nil {
		return nil, err
	}
	if r.Auth != nil {
		was, is := *r.Auth, *read.Auth
		same := was.ExpiresAt.Equal(is.ExpiresAt)
		was.ExpiresAt, is.ExpiresAt = time.Time{}, time.Time{}
		if !same || !reflect.DeepEqual(was, is) {
			return nil, errors.New("member: an identity that JSON cannot hold")
		}
	}
	return data, nil
}

// Decode reads what Encode wrote.
func Decode(data []byte) (Record, error) {
	var r Record
	if len(data) < 1 || len(data) > maxRecord || data[0] != recordFormat {
		return Record{}, errRecord
	}
	if err := json.Unmarshal(data[1:], &r); err != nil || r.Auth != nil && r.Auth.Subject == "" { //nolint:musttag // read and written here alone
		return Record{}, errRecord
	}
	return r, nil
}
