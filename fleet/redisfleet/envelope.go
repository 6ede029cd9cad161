package redisfleet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

const (
	envelopeFormat = 1
	envelopeHead   = 1 + 1 + 3*8
	macLength      = 16
	pulseLength    = 8 + 8
	// maxEnvelope bounds what is read of the bus, in bytes.
	maxEnvelope = 1024
)

// kind is what an envelope holds.
type kind byte

const (
	message kind = 'm' // something is forgotten
	pulse   kind = 'p' // how far its publisher is, the epoch that it knows, and when it was sent
	bye     kind = 'b' // its publisher sends no more
)

// envelope is what is on the bus.
type envelope struct {
	kind      kind
	publisher uint64 // random, of one Bus
	number    uint64 // of the messages of the publisher, this one included
	pulse     uint64 // of its pulses
	payload   []byte
}

var errEnvelope = errors.New("redisfleet: not an envelope of this fleet")

// seal encodes e and authenticates it.
func (e *envelope) seal(key []byte) []byte {
	data := append(make([]byte, 0, envelopeHead+len(e.payload)+macLength), envelopeFormat, byte(e.kind))
	for _, n := range [...]uint64{e.publisher, e.number, e.pulse} {
		data = binary.BigEndian.AppendUint64(data, n)
	}
	data = append(data, e.payload...)
	return append(data, mac(key, data)...)
}

func mac(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)[:macLength]
}

// open decodes what was sealed under one of keys.
func open(keys [][]byte, data []byte) (envelope, error) {
	if len(data) < envelopeHead+macLength || len(data) > maxEnvelope || data[0] != envelopeFormat {
		return envelope{}, errEnvelope
	}
	body, sum := data[:len(data)-macLength], data[len(data)-macLength:]
	for _, key := range keys {
		if hmac.Equal(mac(key, body), sum) {
			return envelope{
				kind: kind(body[1]), publisher: binary.BigEndian.Uint64(body[2:]), number: binary.BigEndian.Uint64(body[10:]),
				pulse: binary.BigEndian.Uint64(body[18:]), payload: body[envelopeHead:],
			}, nil
		}
	}
	return envelope{}, errEnvelope
}
