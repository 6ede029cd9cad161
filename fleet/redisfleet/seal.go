package redisfleet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

const (
	valueFormat = 1
	// maxValue bounds what is read or written of one key, in bytes.
	maxValue = 80 << 10
)

var errValue = errors.New("redisfleet: not a value of this key")

// sealer keeps records from those who do not have the credential.
type sealer struct {
	names  []byte // the key of the names of keys
	values []byte // with the credential, what the keys of values are derived from
	prefix string
}

// name is where in Redis the record of a key is.
func (s *sealer) name(key cache.Key) string {
	h := hmac.New(sha256.New, s.names)
	h.Write(key[:])
	return s.prefix + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// aead is for the record of one key alone: its key cannot be had without the credential, of
// which the cache's key is a digest.
func (s *sealer) aead(key cache.Key) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, s.values, key[:], "sessionauth redisfleet value", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts a record, bound to the name of its key and to the format.
func (s *sealer) seal(key cache.Key, name string, record []byte) ([]byte, error) {
	aead, err := s.aead(key)
	if err != nil {
		return nil, err
	}
	data := make([]byte, 1+aead.NonceSize(), 1+aead.NonceSize()+len(record)+aead.Overhead())
	data[0] = valueFormat
	if _, err := rand.Read(data[1:]); err != nil {
		return nil, err
	}
	return aead.Seal(data, data[1:], record, bound(name)), nil //nolint:gosec // the nonce is random
}

// open decrypts what seal made of a record of the same key.
func (s *sealer) open(key cache.Key, name string, data []byte) ([]byte, error) {
	if len(data) > maxValue || len(data) < 1 || data[0] != valueFormat {
		return nil, errValue
	}
	aead, err := s.aead(key)
	if err != nil {
		return nil, err
	}
	if len(data) < 1+aead.NonceSize() {
		return nil, errValue
	}
	nonce, sealed := data[1:1+aead.NonceSize()], data[1+aead.NonceSize():]
	record, err := aead.Open(nil, nonce, sealed, bound(name))
	if err != nil {
		return nil, errValue
	}
	return record, nil
}

// bound is what a value is valid with.
func bound(name string) []byte { return append([]byte{valueFormat}, name...) }
