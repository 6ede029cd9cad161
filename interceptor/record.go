package interceptor

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
)

// recordFormat is the first byte of a record.
const recordFormat = 1

// record is what one verification found out, as others read it.
type record struct {
	At       Position  // that it began after
	Verified time.Time // when it began, by the wall clock of who verified
	Auth     *plain    `json:",omitempty"` // nil: there is no such session
	Session  []byte    `json:",omitempty"`
	Whole    bool      `json:",omitempty"` // the session is there
}

// plain is an AuthContext that marshals whole.
type plain authcontext.AuthContext

var errRecord = errors.New("interceptor: not a record of this version")

// recordOf returns what others may use of what a verification that began after a position has
// found out, and for how long; nil for nothing.
func (a *Authenticator) recordOf(id *identity, err error, at Position, began time.Time) ([]byte, time.Duration) {
	r, keep := record{At: at, Verified: began.Round(0)}, a.policy.NegativeTTL
	switch {
	case err == nil:
		auth := id.AuthContext()
		keep = a.policy.TTL
		if !auth.ExpiresAt.IsZero() {
			keep = min(keep, time.Until(auth.ExpiresAt))
		}
		p := plain(*auth)
		r.Auth = &p
		if a.codec != nil {
			if r.Session, err = a.codec.Encode(id.Session()); err != nil {
				return nil, 0
			}
			r.Whole = true
		}
	case !errors.Is(err, cache.ErrNotFound):
		return nil, 0
	}
	if keep -= time.Since(began); keep <= 0 {
		return nil, 0
	}
	data, err := encodeRecord(r)
	if err != nil {
		return nil, 0
	}
	return data, keep
}

// encodeRecord fails for an identity that would not be the same when it is read: one with
// claims of types that JSON does not know, or text that is not UTF-8.
func encodeRecord(r record) ([]byte, error) {
	text, err := json.Marshal(r) //nolint:musttag // read and written here alone
	if err != nil {
		return nil, err
	}
	data := append([]byte{recordFormat}, text...)
	read, err := decodeRecord(data)
	if err != nil {
		return nil, err
	}
	if r.Auth != nil {
		was, is := *r.Auth, *read.Auth
		same := was.ExpiresAt.Equal(is.ExpiresAt)
		was.ExpiresAt, is.ExpiresAt = time.Time{}, time.Time{}
		if !same || !reflect.DeepEqual(was, is) {
			return nil, errors.New("interceptor: an identity that JSON cannot hold")
		}
	}
	return data, nil
}

// decodeRecord reads what encodeRecord wrote.
func decodeRecord(data []byte) (record, error) {
	var r record
	if len(data) < 1 || len(data) > maxRecord || data[0] != recordFormat {
		return record{}, errRecord
	}
	if err := json.Unmarshal(data[1:], &r); err != nil || r.Auth != nil && r.Auth.Subject == "" { //nolint:musttag // read and written here alone
		return record{}, errRecord
	}
	return r, nil
}

// judge reads a record and reports whether it may be used for a request with these tags: the
// identity is nil for a refusal. at is when it was found out, by the clock of this process.
func (a *Authenticator) judge(data []byte, tags []cache.Tag) (id *identity, at time.Time, ok bool) {
	r, err := decodeRecord(data)
	if err != nil {
		return nil, at, false
	}
	now := time.Now()
	age := now.Round(0).Sub(r.Verified)
	limit := a.policy.TTL
	switch {
	case r.Auth == nil:
		limit = a.policy.NegativeTTL
	case a.policy.RefreshAfter > 0:
		limit = a.policy.RefreshAfter // older ones are verified anew
	}
	if age >= limit || age < -clocksApart {
		return nil, at, false
	}
	at = now.Add(-max(0, age))
	if r.Auth != nil {
		if id, ok = a.identityOf(&r, at); !ok {
			return nil, at, false
		}
		tags = append(slices.Clip(tags), id.Tags()...)
	}
	return id, at, a.member.stands(r.At, tags)
}

// identityOf is the identity of a record, as it would be after a verification here.
func (a *Authenticator) identityOf(r *record, at time.Time) (*identity, bool) {
	auth := authcontext.AuthContext(*r.Auth)
	if !auth.ExpiresAt.IsZero() && !auth.ExpiresAt.After(time.Now()) {
		return nil, false
	}
	var session any
	if a.codec != nil {
		var err error
		if !r.Whole {
			return nil, false
		}
		if session, err = a.codec.Decode(r.Session); err != nil || isNil(session) {
			return nil, false
		}
	}
	id := a.newIdentity(&auth, session)
	id.verified = &at
	return id, true
}
