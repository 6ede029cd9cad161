package redisfleet

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// SealAndOpen seals a message under a key and opens what change makes of it. It reports whether that was
// taken for authentic, and unchanged, and how long it is.
func SealAndOpen(key, payload []byte, change func([]byte)) (ok bool, length int) {
	e := envelope{kind: message, publisher: 1, number: 2, pulse: 3, payload: payload}
	sealed := e.seal(key)
	change(sealed)
	read, err := open([][]byte{[]byte("another"), key}, sealed)
	return err == nil && read.kind == e.kind && read.publisher == 1 && read.number == 2 && read.pulse == 3 && string(read.payload) == string(payload), len(sealed)
}

// Authentic reports whether data is taken for an envelope under a key.
func Authentic(key, data []byte) bool {
	_, err := open([][]byte{key}, data)
	return err == nil
}

var fuzzed = sealer{names: []byte("names"), values: []byte("values"), prefix: "p:"}

// OpensValue reports whether data is taken for a value.
func OpensValue(data []byte) bool {
	key := cache.NewKey("x")
	_, err := fuzzed.open(key, fuzzed.name(key), data)
	return err == nil
}

// SealsValue seals a record and opens it again: with the right key alone, unless it is changed.
func SealsValue(record []byte) error {
	key, other := cache.NewKey("x"), cache.NewKey("y")
	data, err := fuzzed.seal(key, fuzzed.name(key), record)
	if err != nil {
		return err
	}
	if read, err := fuzzed.open(key, fuzzed.name(key), data); len(data) <= maxValue && (err != nil || !bytes.Equal(read, record)) {
		return fmt.Errorf("it does not come back: %w", err)
	}
	if _, err := fuzzed.open(other, fuzzed.name(other), data); err == nil {
		return errors.New("it opens under another key")
	}
	if _, err := fuzzed.open(other, fuzzed.name(key), data); err == nil {
		return errors.New("it opens without the credential")
	}
	if _, err := fuzzed.open(key, fuzzed.name(other), data); err == nil {
		return errors.New("it opens under another name")
	}
	for i := range min(len(data), 200) {
		data[i] ^= 1
		if _, err := fuzzed.open(key, fuzzed.name(key), data); err == nil {
			return fmt.Errorf("byte %d is not authenticated", i)
		}
		data[i] ^= 1
	}
	return nil
}
