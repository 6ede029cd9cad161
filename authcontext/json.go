package authcontext

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep claims may be nested.
const maxDepth = 32

var (
	errNotJSON = errors.New("not JSON")
	errTwice   = errors.New("a key that is there twice")
	errDepth   = errors.New("nested too deep")
	errNumber  = errors.New("a number that a float64 cannot hold")
	errText    = errors.New("text that was lost on the way")
)

func encodeRoles(roles []string) (string, error) {
	if len(roles) == 0 {
		return "", nil
	}
	if !areLines(roles) {
		return "", rolesField.errorf("a control character, or text that is not UTF-8")
	}
	value, err := marshal(roles)
	if err != nil {
		return "", rolesField.errorf("%w", err)
	}
	return ascii(value), nil
}

func decodeRoles(value string) ([]string, error) {
	decoded, err := unmarshal(value)
	if err != nil {
		return nil, rolesField.errorf("%w", err)
	}
	list, ok := decoded.([]any)
	if !ok {
		return nil, rolesField.errorf("not an array")
	}
	roles := make([]string, 0, len(list))
	for _, element := range list {
		role, ok := element.(string)
		if !ok {
			return nil, rolesField.errorf("a role that is no string")
		}
		roles = append(roles, role)
	}
	if !areLines(roles) {
		return nil, rolesField.errorf("a control character")
	}
	return roles, nil
}

func areLines(texts []string) bool {
	return !slices.ContainsFunc(texts, func(text string) bool { return !isLine(text) })
}

func encodeClaims(claims map[string]any, names []string) (string, error) {
	picked := map[string]json.RawMessage{}
	for _, name := range names {
		claim, ok := claims[name]
		if !ok {
			continue
		}
		value, err := marshal(claim)
		if err != nil { // its text may quote the claim
			return "", claimsField.errorf("%q, a %T, cannot be written as JSON", name, claim)
		}
		picked[name] = value
	}
	if len(picked) == 0 {
		return "", nil
	}
	value, err := marshal(picked)
	if err != nil {
		return "", claimsField.errorf("%w", errNotJSON)
	}
	encoded := ascii(value)
	if len(encoded) > claimsField.max {
		return encoded, nil // which is refused for that
	}
	_, err = decodeClaims(encoded) // what its reader refuses is not sent
	return encoded, err
}

func decodeClaims(value string) (map[string]any, error) {
	decoded, err := unmarshal(value)
	if err != nil {
		return nil, claimsField.errorf("%w", err)
	}
	claims, ok := decoded.(map[string]any)
	if !ok {
		return nil, claimsField.errorf("not an object")
	}
	return claims, nil
}

// marshal is json.Marshal without \u003c for "<", which is for web pages.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// ascii escapes what of a JSON text is not visible ASCII, which is all in strings.
func ascii(value []byte) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	escape := func(unit rune) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hex[unit>>shift&0xf])
		}
	}
	for _, r := range string(value) {
		switch high, low := utf16.EncodeRune(r); {
		case r < 0x7f:
			b.WriteRune(r)
		case high == utf8.RuneError: // one unit is enough
			escape(r)
		default:
			escape(high)
			escape(low)
		}
	}
	return b.String()
}

// unmarshal is json.Unmarshal for one value that two parties cannot read as two
// different ones.
func unmarshal(text string) (any, error) {
	if !json.Valid([]byte(text)) {
		return nil, errNotJSON
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return readValue(d, 0)
}

func readValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	switch {
	case err != nil:
		return nil, errNotJSON
	case depth > maxDepth:
		return nil, errDepth
	}
	switch token := token.(type) {
	case json.Delim:
		if token == '[' {
			return readArray(d, depth)
		}
		return readObject(d, depth)
	case string:
		if !isText(token) {
			return nil, errText
		}
		return token, nil
	case json.Number:
		number, err := token.Float64()
		integer := !strings.ContainsAny(token.String(), ".eE")
		if err != nil || integer && strconv.FormatFloat(number, 'f', -1, 64) != token.String() {
			return nil, errNumber
		}
		return number, nil
	}
	return token, nil // a bool or nil
}

func readArray(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		element, err := readValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, element)
	}
	_, err := d.Token()
	return list, err
}

func readObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		key, err := readValue(d, depth)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errNotJSON
		}
		if _, twice := object[name]; twice {
			return nil, errTwice
		}
		if object[name], err = readValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, err
}
