package redisfleet

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
