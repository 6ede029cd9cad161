package forget

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"slices"
)

// Tagger makes the tags by which sessions are forgotten: digests under a key that others
// do not know, so that nobody can aim at a tag or guess what is behind one.
type Tagger [sha256.Size]byte

// The kinds of name that a session can be forgotten by.
const (
	TokenName   = 't'
	SessionName = 'i'
	SubjectName = 's'
)

// Tag returns the tag of a name of a kind.
func (k *Tagger) Tag(kind byte, name string) Tag {
	buf := make([]byte, 0, len(k)+1+len(name))
	buf = append(append(append(buf, k[:]...), kind), name...)
	digest := sha256.Sum256(buf)
	return Tag(digest[:len(Tag{})])
}

// NewTaggers returns taggers with the keys of all that share these secrets; without any, one
// with a key of this process.
func NewTaggers(secrets []string) ([]Tagger, error) {
	taggers := make([]Tagger, max(1, len(secrets)))
	if len(secrets) == 0 {
		_, err := rand.Read(taggers[0][:])
		return taggers, err
	}
	for i, secret := range secrets {
		derived, err := hkdf.Key(sha256.New, []byte(secret), nil, "sessionauth tags", len(taggers[i]))
		if err != nil {
			return nil, err
		}
		copy(taggers[i][:], derived)
	}
	return taggers, nil
}

// Tags returns the tags of the names of a token, which it sorts.
func (k *Tagger) Tags(names []string) []Tag {
	slices.Sort(names)
	names = slices.Compact(names)
	tags := make([]Tag, 0, len(names)+2) // a session and a subject may follow
	for _, name := range names {
		if name != "" {
			tags = append(tags, k.Tag(TokenName, name))
		}
	}
	return tags
}
