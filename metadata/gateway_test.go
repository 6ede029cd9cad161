package metadata_test

import (
	"testing"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

func TestGatewayHeaders(t *testing.T) {
	type answer struct {
		name string
		ok   bool
	}
	for _, row := range []struct {
		matcher func(string) (string, bool)
		given   string
		want    answer
	}{
		{authmd.GatewayIncomingHeader, "Cookie", answer{"cookie", true}},
		{authmd.GatewayIncomingHeader, "ORIGIN", answer{"origin", true}},
		{authmd.GatewayIncomingHeader, "Grpc-Metadata-X-Auth-Subject", answer{}},
		{authmd.GatewayIncomingHeader, "X-Auth-Subject", answer{}},
		{authmd.GatewayIncomingHeader, "Authorization", answer{}},
		{authmd.GatewayOutgoingHeader, "set-cookie", answer{"Set-Cookie", true}},
		{authmd.GatewayOutgoingHeader, "x-request-id", answer{"Grpc-Metadata-x-request-id", true}},
	} {
		name, ok := row.matcher(row.given)
		if got := (answer{name, ok}); got != row.want {
			t.Errorf("%q: got %+v, want %+v", row.given, got, row.want)
		}
	}
}
