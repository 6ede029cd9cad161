package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Key identifies what a cached value was loaded for. It is a digest, so that the
// cache holds no credential. It formats as a fixed text: a digest of a credential
// that can be guessed is as good as the credential.
type Key [sha256.Size]byte

// NewKey returns the SHA-256 of parts, each with its length in front. Two calls
// return the same key only for the same parts in the same order: {"a", "bc"} and
// {"ab", "c"} differ. parts is not retained.
func NewKey(parts ...string) Key {
	var space [512]byte // an ordinary request's parts fit, and nothing is allocated
	buf := space[:0]
	for _, part := range parts {
		buf = binary.AppendUvarint(buf, uint64(len(part)))
		buf = append(buf, part...)
	}
	return sha256.Sum256(buf)
}

// Format implements [fmt.Formatter] and never prints the key.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Key[redacted]")) }
