package cache

import "github.com/grpc-sessionauth/sessionauth/internal/forget"

// maxMarks is how many Forgets are remembered one by one: 100 MB at most, and only
// if there are so many while answers from before them may still be in use. Beyond
// it, strangers may be forgotten with them, none is missed.
const maxMarks = 1 << 20

// Tag is what an answer can be forgotten by: a digest of a name, 16 bytes. Key it
// with a secret of the process: who can compute tags can find two that share a
// place, and have one forgotten by the other. It formats as a fixed text.
type Tag = forget.Tag

// Tagged is implemented by values that know more about themselves than the caller
// of [Cache.Do]. Its methods are called once for each load, with the load's bounds: a
// value whose methods panic, such as a nil pointer, is not served.
type Tagged interface {
	// Tags returns tags by which the value can be forgotten beside those that Do
	// was called with: what only the load could know. It is not modified.
	Tags() []Tag
	// Holder returns whose share of Policy.MaxEntries the value takes; the zero Tag
	// is nobody's. See Policy.MaxPerSubject.
	Holder() Tag
}

// Forget makes the cache forget every answer with this tag. After it returns no
// call of [Cache.Do], [Cache.Recheck] or [Cache.Get] is answered by a load that
// began before it, be the answer a value, a refusal or an error: a load in flight
// stores nothing, and those who wait for it get a new one, three times at most. It
// takes the same short time whatever the cache holds, and a tag that was never seen
// is fine.
func (c *Cache[V]) Forget(tag Tag) { c.forgets.Mark(tag) }

// ForgetAll is [Cache.Forget] for every answer there is.
func (c *Cache[V]) ForgetAll() { c.forgets.MarkAll() }

// Clock returns the time by a clock that only Forgets move. It is for callers that
// keep answers of their own: see [Cache.ForgottenSince].
func (c *Cache[V]) Clock() uint64 { return c.forgets.Clock() }

// ForgottenSince reports whether any of tags, or everything, was forgotten after
// [Cache.Clock] returned began. A Forget that is under way counts. For a began of
// longer ago than an answer can be in use it may be true without reason, never
// false without.
func (c *Cache[V]) ForgottenSince(began uint64, tags ...Tag) bool {
	return c.forgets.Since(began, tags...)
}
