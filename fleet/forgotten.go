package fleet

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// Forgotten is what an Authenticator was told to forget. It holds digests that are
// keyed by the secret of interceptor.WithBus, never a token or a subject, so it can be sent to
// others: it marshals to a few dozen bytes. It does not say so by itself that it is
// authentic: who can write to the bus can forge one, unless the [Bus] sees to it.
type Forgotten struct {
	By     uint64      // who was told: random, of one Authenticator
	Number uint64      // of those that it was told, from 1
	All    bool        // everything; there are no Tags
	Tags   []cache.Tag // not modified
}

// MaxTags bounds the tags of one message: the names that a Forget goes by, under each secret.
const MaxTags = 30

var (
	_ encoding.BinaryMarshaler   = Forgotten{}
	_ encoding.BinaryUnmarshaler = (*Forgotten)(nil)
)

const (
	formatTags byte = 3 + iota // 1 and 2 were without a publisher
	formatAll

	headLength = 1 + 8 + 8
)

// MarshalBinary encodes f for UnmarshalBinary. The error says that it is empty or too long.
func (f Forgotten) MarshalBinary() ([]byte, error) {
	if !f.All && (len(f.Tags) == 0 || len(f.Tags) > MaxTags) {
		return nil, fmt.Errorf("fleet: a Forgotten of %d names cannot be marshalled", len(f.Tags))
	}
	data := []byte{formatTags}
	if f.All {
		data[0] = formatAll
	}
	data = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(data, f.By), f.Number)
	for _, tag := range f.Tags {
		data = append(data, tag[:]...)
	}
	return data, nil
}

// UnmarshalBinary decodes what MarshalBinary encoded. It leaves f alone when data
// is anything else, and does not retain it.
func (f *Forgotten) UnmarshalBinary(data []byte) error {
	const size = len(cache.Tag{})
	names := len(data) - headLength
	switch {
	case names < 0 || data[0] != formatTags && data[0] != formatAll,
		data[0] == formatAll && names != 0,
		data[0] == formatTags && (names == 0 || names > MaxTags*size || names%size != 0):
		return errors.New("fleet: not a Forgotten")
	}
	read := Forgotten{By: binary.BigEndian.Uint64(data[1:]), Number: binary.BigEndian.Uint64(data[9:]), All: data[0] == formatAll}
	for rest := data[headLength:]; len(rest) > 0; rest = rest[size:] {
		read.Tags = append(read.Tags, cache.Tag(rest[:size]))
	}
	*f = read
	return nil
}

// Format implements [fmt.Formatter]: a fixed text.
func (Forgotten) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Forgotten")) }
