package metadata_test

import (
	"net/http"
	"strings"
	"testing"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// TestEveryByteOfATokenIsLookedAt: whatever it is, wherever it stands.
func TestEveryByteOfATokenIsLookedAt(t *testing.T) {
	for length := range 40 {
		for at := range length {
			for c := range 256 {
				token := strings.Repeat("!", at) + string([]byte{byte(c)}) + strings.Repeat("~", length-at-1)
				_, ok := authmd.HeaderToken("X-Token").Extract(http.Header{"X-Token": {token}})
				if visible := c > ' ' && c < 0x7f && c != ','; ok != visible && (c != ' ' && c != '\t' && c != '\n' && c != '\v' && c != '\f' && c != '\r' || at != 0 && at != length-1) {
					t.Fatalf("byte %#x at %d of %d: %t", c, at, length, ok)
				}
			}
		}
	}
}
