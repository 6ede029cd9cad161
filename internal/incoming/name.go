package incoming

import (
	"net/textproto"
	"strings"
)

// Name is a header in the two forms it is looked up by.
type Name struct {
	Canonical, Key string
	Is             WellKnown // to be compared instead of the texts, on every call
}

// WellKnown are the headers that are treated like no others.
type WellKnown uint8

// Which header it is.
const (
	other WellKnown = iota
	IsAuthorization
	IsCookie
	IsHost
)

const (
	authorizationKey = "authorization"
	cookieKey        = "cookie"
	connectionKey    = "connection"

	acceptEncodingKey = "grpc-accept-encoding"
)

var wellKnowns = map[string]WellKnown{authorizationKey: IsAuthorization, cookieKey: IsCookie, "host": IsHost}

// NewName returns the header with this name, in any case.
func NewName(name string) Name {
	key := strings.ToLower(name)
	return Name{textproto.CanonicalMIMEHeaderKey(name), key, wellKnowns[key]}
}

// The headers that are looked for by name.
var (
	Authorization        = NewName(authorizationKey)
	Cookie               = NewName(cookieKey)
	Host                 = NewName("host")
	Connection           = NewName(connectionKey)
	GatewayAuthorization = NewName("grpcgateway-authorization")
	GatewayCookie        = NewName("grpcgateway-cookie")
)
