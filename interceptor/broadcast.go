package interceptor

import (
	"context"
	"encoding"
	"errors"
	"fmt"

	"github.com/grpc-sessionauth/sessionauth/cache"
)

// Broadcast carries what one [Authenticator] forgets to others, such as those of
// other replicas; see [WithBroadcast]. Implementations must be safe to call
// concurrently.
type Broadcast interface {
	// Publish tells the others. It is called by Forget and its like, after this
	// Authenticator has forgotten, and with their context. An error says that the others
	// may not have been told; it is what Forget returns.
	Publish(ctx context.Context, f Forgotten) error
	// Subscribe is called once, by [NewSessionAuth]. From then on the
	// implementation calls apply with what others publish. Hearing one's own
	// messages, or one twice, does no harm. apply does not block.
	Subscribe(apply func(f Forgotten))
}

// Forgotten is what an [Authenticator] was told to forget. It holds digests that are
// keyed by the secret of [WithBroadcast], never a token or a subject, so it can be sent to
// others: it marshals to a few dozen bytes.
type Forgotten struct {
	all  bool
	tags []cache.Tag // not modified
}

var (
	_ encoding.BinaryMarshaler   = Forgotten{}
	_ encoding.BinaryUnmarshaler = (*Forgotten)(nil)
)

const (
	formatTags byte = 1 + iota
	formatAll

	// maxForgotten bounds the tags of one message: the names that Forget goes by.
	maxForgotten = 2 + maxExtractors
)

// ForgottenAll is what [Authenticator.ForgetAll] tells others. A [Broadcast] that
// may have lost messages applies it to be safe.
func ForgottenAll() Forgotten { return Forgotten{all: true} }

// MarshalBinary encodes f for UnmarshalBinary. The error says that it is empty or too long.
func (f Forgotten) MarshalBinary() ([]byte, error) {
	switch {
	case f.all:
		return []byte{formatAll}, nil
	case len(f.tags) == 0 || len(f.tags) > maxForgotten:
		return nil, fmt.Errorf("interceptor: a Forgotten of %d names cannot be marshalled", len(f.tags))
	}
	data := []byte{formatTags}
	for _, tag := range f.tags {
		data = append(data, tag[:]...)
	}
	return data, nil
}

// UnmarshalBinary decodes what MarshalBinary encoded. It leaves f alone when data
// is anything else.
func (f *Forgotten) UnmarshalBinary(data []byte) error {
	const size = len(cache.Tag{})
	switch {
	case len(data) == 1 && data[0] == formatAll:
		*f = ForgottenAll()
		return nil
	case len(data) <= 1 || len(data) > 1+maxForgotten*size || (len(data)-1)%size != 0 || data[0] != formatTags:
		return errors.New("interceptor: not a Forgotten")
	}
	tags := make([]cache.Tag, 0, (len(data)-1)/size)
	for rest := data[1:]; len(rest) > 0; rest = rest[size:] {
		tags = append(tags, cache.Tag(rest[:size]))
	}
	*f = Forgotten{tags: tags}
	return nil
}

// Format implements [fmt.Formatter]: a fixed text.
func (Forgotten) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("Forgotten")) }
