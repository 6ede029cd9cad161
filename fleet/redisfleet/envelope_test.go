package redisfleet_test

import (
	"testing"

	"github.com/grpc-sessionauth/sessionauth/fleet/redisfleet"
)

// FuzzEnvelope: whatever is on the bus, it is refused or is what was sealed.
func FuzzEnvelope(f *testing.F) {
	key := []byte("key")
	f.Add([]byte(nil), []byte("payload"))
	f.Add([]byte{1, 'm'}, make([]byte, 600))
	f.Fuzz(func(t *testing.T, data, payload []byte) {
		if redisfleet.Authentic(key, data) {
			t.Errorf("%x is taken for authentic", data)
		}
		ok, length := redisfleet.SealAndOpen(key, payload, func([]byte) {})
		if ok != (length <= 1024) {
			t.Errorf("%d bytes: %t", length, ok)
		}
		for i := range min(length, 1024) {
			if ok, _ := redisfleet.SealAndOpen(key, payload, func(sealed []byte) { sealed[i] ^= 1 }); ok {
				t.Errorf("byte %d is not authenticated", i)
			}
		}
	})
}
