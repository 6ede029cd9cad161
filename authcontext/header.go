package authcontext

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// TypeGateway is the Type of an [AuthContext] that came in identity headers which
// named no other.
const TypeGateway = "gateway"

var (
	// ErrNoIdentity says that a header has none of the identity headers, or that
	// there is no identity to encode.
	ErrNoIdentity = errors.New("authcontext: no identity")
	// ErrExpired says that the identity in a header was good until a time that has
	// passed.
	ErrExpired = errors.New("authcontext: the identity has expired")
)

// field is one of the identity headers and how many bytes its value may have. The
// bounds are Connectum's, which leaves out what is longer, but cuts off a subject, a
// type and a name: what is as long as that may have been cut, and is refused.
type field struct {
	name string
	max  int
}

var (
	subjectField = field{"x-auth-subject", 511}
	typeField    = field{"x-auth-type", 127}
	nameField    = field{"x-auth-name", len(extended) + 9*maxName} // three bytes a character, each as %XX
	rolesField   = field{"x-auth-roles", 8192}
	scopesField  = field{"x-auth-scopes", 8192}
	claimsField  = field{"x-auth-claims", 8192}
	expiresField = field{"x-auth-expires-at", 64}
)

// EncodeHeader returns ac as identity headers, by names in lower case: ready for
// metadata.New of grpc-go, or to be Set one by one on an [http.Header]. They are
// those of Connectum:
//
//   - x-auth-subject, and, where they are not empty, x-auth-type and x-auth-name
//   - x-auth-roles, a JSON array, and x-auth-claims, a JSON object, in ASCII
//   - x-auth-scopes, separated by single spaces
//   - x-auth-expires-at, as of RFC 3339, which Connectum does not know of
//
// Claims may hold a token, so none is sent but those whose names are given; a name
// that ac has no claim of is no error. They are written as encoding/json does.
//
// Connectum writes letters beyond ASCII as bytes of ISO 8859-1, which gRPC metadata of
// Go cannot hold. In roles and claims they are escaped as JSON has it, which Connectum
// reads as the same. A name with any, or with a comma, is sent as RFC 8187 has it, and
// Connectum shows it as it is sent:
//
//	x-auth-name: UTF-8''Jos%C3%A9
//
// What the headers cannot hold is an error, and nothing is cut off or left out: a
// subject, type or scope beyond ASCII; a comma in a type or scope, or in a subject that
// is no distinguished name (RFC 4514, without spaces between its parts, and with nothing
// behind its domain components), since proxies join repeated headers by commas; a scope
// with a space; control characters; text that is not UTF-8; a claim that is no JSON, or
// an integer too large for a float64, which the receiver would read as another one; more
// than 511 bytes of subject, 127 of type, 255 UTF-16 code units of name, or 8 KiB of
// roles, scopes or claims. The error names every header that is concerned, and holds no
// value. It is ErrNoIdentity when ac is nil or has no Subject.
//
// SessionID is never sent.
func EncodeHeader(ac *AuthContext, claims ...string) (map[string]string, error) {
	if ac == nil || ac.Subject == "" {
		return nil, ErrNoIdentity
	}
	header := make(map[string]string, 7)
	var errs []error
	set := func(f field, value string, err error) {
		if err == nil && value != "" {
			err = f.check(value)
		}
		if err != nil {
			errs = append(errs, err)
		} else if value != "" {
			header[f.name] = value
		}
	}
	set(subjectField, ac.Subject, checkSubject(ac.Subject))
	set(typeField, ac.Type, typeField.single(ac.Type))
	name, err := encodeName(ac.Name)
	set(nameField, name, err)
	roles, err := encodeRoles(ac.Roles)
	set(rolesField, roles, err)
	set(scopesField, strings.Join(ac.Scopes, " "), checkScopes(ac.Scopes))
	picked, err := encodeClaims(ac.Claims, claims)
	set(claimsField, picked, err)
	if !ac.ExpiresAt.IsZero() {
		at, err := ac.ExpiresAt.UTC().MarshalText()
		if err != nil {
			err = expiresField.errorf("a time that RFC 3339 cannot hold")
		}
		set(expiresField, string(at), err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return header, nil
}

// DecodeHeader returns the identity that identity headers tell. It is no proof of
// anything: call it only where the sender is known to be one that may tell
// identities, as interceptor.NewGatewayAuth does.
//
// header is gRPC metadata or an [http.Header], in any case. Aliases, with "_" or "."
// for "-", are not read. Bytes beyond ASCII are read as ISO 8859-1, as Connectum writes
// them, unless the value is UTF-8 as well: what two parties could read as two identities
// is refused.
//
// The identity is whole or there is none: a header that is there twice, or could have
// been joined of two by a comma, that is longer than [EncodeHeader] allows, holds a
// control character, malformed JSON, a JSON key twice, or anything but what is described
// there is an error. So is a name with a comma, unless it is in the form of RFC 8187. It
// is ErrNoIdentity when none of the headers is there, and wraps ErrExpired when
// x-auth-expires-at has passed. No error holds a value.
//
// Type is empty when the header names none. Numbers among the claims are float64.
func DecodeHeader(header map[string][]string) (*AuthContext, error) {
	values, err := identityValues(header)
	switch {
	case err != nil:
		return nil, err
	case len(values) == 0:
		return nil, ErrNoIdentity
	case values[subjectField.name] == "":
		return nil, subjectField.errorf("missing")
	}
	ac := &AuthContext{Subject: values[subjectField.name], Type: values[typeField.name]}
	var errs [7]error
	errs[0] = checkSubject(ac.Subject)
	errs[1] = typeField.single(ac.Type)
	ac.Name, errs[2] = decodeName(values[nameField.name])
	if value, ok := values[rolesField.name]; ok {
		ac.Roles, errs[3] = decodeRoles(value)
	}
	if value := values[scopesField.name]; value != "" {
		ac.Scopes = strings.Split(value, " ")
		errs[4] = checkScopes(ac.Scopes)
	}
	if value, ok := values[claimsField.name]; ok {
		ac.Claims, errs[5] = decodeClaims(value)
	}
	if value, ok := values[expiresField.name]; ok {
		ac.ExpiresAt, errs[6] = decodeExpiry(value)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return ac, nil
}

// identityValues picks the identity headers, each of which must be there once.
func identityValues(header map[string][]string) (map[string]string, error) {
	values := map[string]string{}
	for key, all := range header {
		const prefix = "x-auth-"
		if len(key) <= len(prefix) || key[0]|0x20 != 'x' || len(all) == 0 {
			continue
		}
		name := strings.ToLower(key)
		for _, f := range []field{subjectField, typeField, nameField, rolesField, scopesField, claimsField, expiresField} {
			if f.name != name {
				continue
			}
			if _, twice := values[name]; twice || len(all) > 1 {
				return nil, f.errorf("repeated")
			}
			value, err := f.read(all[0])
			if err != nil {
				return nil, err
			}
			values[name] = value
		}
	}
	return values, nil
}

func checkScopes(scopes []string) error {
	if slices.ContainsFunc(scopes, func(scope string) bool { return scope == "" || strings.ContainsAny(scope, " ,") }) {
		return scopesField.errorf("a scope that is empty or holds a space or a comma")
	}
	return nil
}

func decodeExpiry(value string) (time.Time, error) {
	var at time.Time
	if err := at.UnmarshalText([]byte(value)); err != nil || strings.Contains(value, ",") { // which Go reads as a point
		return time.Time{}, expiresField.errorf("not a time as of RFC 3339")
	}
	if !at.After(time.Now()) {
		return time.Time{}, expiresField.errorf("%w", ErrExpired)
	}
	return at.UTC(), nil
}
