package authz

import (
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// authOptions are the options of connectum.auth.v1 as one method or service has them.
type authOptions struct {
	public, internal *bool // nil: not said
	required         bool  // there are requirements, if only empty ones
	needs            requirement
	policy           Effect // 0: not said
}

// optionFields are the numbers of connectum/auth/v1/options.proto: of the extension, and
// of the fields that MethodAuth and ServiceAuth number in different ways.
type optionFields struct {
	extension                protowire.Number
	public, requires, policy int
}

var (
	methodOptions  = optionFields{extension: 50100, public: 1, requires: 2, policy: 3}
	serviceOptions = optionFields{extension: 50101, public: 3, requires: 2, policy: 1}
)

// The numbers that both share, and those of AuthRequirements.
const (
	internalField = 4
	rolesField    = 1
	scopesField   = 2
)

var errWire = errors.New("not a protocol buffer message of this kind")

// parseOptions reads the wire form of google.protobuf.MethodOptions or ServiceOptions. A
// message whose parts are scattered is the same as one in which they follow each other.
func parseOptions(raw []byte, f optionFields) (authOptions, error) {
	var own []byte
	err := eachField(raw, func(number protowire.Number, kind protowire.Type, value []byte) error {
		if number != f.extension {
			return nil
		}
		if kind != protowire.BytesType {
			return errWire
		}
		own = append(own, value...)
		return nil
	})
	if err != nil {
		return authOptions{}, err
	}
	var o authOptions
	var requires []byte
	var policy string
	err = eachField(own, func(number protowire.Number, kind protowire.Type, value []byte) error {
		switch int(number) {
		case f.public:
			return readBool(&o.public, kind, value)
		case internalField:
			return readBool(&o.internal, kind, value)
		case f.policy:
			policy = string(value)
		case f.requires:
			o.required = true
			requires = append(requires, value...)
		default:
			// It may restrict: what a newer version says is not to be guessed.
			return fmt.Errorf("field %d is not known to this version", number)
		}
		if kind != protowire.BytesType {
			return errWire
		}
		return nil
	})
	if err != nil {
		return authOptions{}, err
	}
	switch policy {
	case "":
	case "allow":
		o.policy = Allow
	case "deny":
		o.policy = Deny
	default:
		return authOptions{}, fmt.Errorf(`policy %q: want "allow" or "deny"`, policy)
	}
	return o, readRequirements(&o, requires)
}

func readRequirements(o *authOptions, raw []byte) error {
	err := eachField(raw, func(number protowire.Number, kind protowire.Type, value []byte) error {
		switch int(number) {
		case rolesField:
			o.needs.roles = append(o.needs.roles, string(value))
		case scopesField:
			o.needs.scopes = append(o.needs.scopes, string(value))
		default:
			return fmt.Errorf("field %d of requirements is not known to this version", number)
		}
		if kind != protowire.BytesType {
			return errWire
		}
		return nil
	})
	if err == nil && (slices.Contains(o.needs.roles, "") || slices.Contains(o.needs.scopes, "")) {
		err = errors.New("a role or scope is empty")
	}
	return err
}

func readBool(b **bool, kind protowire.Type, value []byte) error {
	n, size := protowire.ConsumeVarint(value)
	if kind != protowire.VarintType || size < 0 {
		return errWire
	}
	decoded := protowire.DecodeBool(n)
	*b = &decoded
	return nil
}

// eachField calls f with every field of a message in turn. value is the content of a
// field of bytes, and the wire form of any other.
func eachField(raw []byte, f func(protowire.Number, protowire.Type, []byte) error) error {
	for len(raw) > 0 {
		number, kind, size := protowire.ConsumeTag(raw)
		if size < 0 {
			return errWire
		}
		raw = raw[size:]
		size = protowire.ConsumeFieldValue(number, kind, raw)
		if size < 0 {
			return errWire
		}
		value := raw[:size]
		if kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		if err := f(number, kind, value); err != nil {
			return err
		}
		raw = raw[size:]
	}
	return nil
}
