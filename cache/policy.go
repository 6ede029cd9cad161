package cache

import (
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultVerifyTimeout bounds one load where [Policy] names no bound.
	DefaultVerifyTimeout = 5 * time.Second
	// DefaultMaxEntries bounds a cache where [Policy] names no bound.
	DefaultMaxEntries = 100_000
)

// Policy says what a [Cache] keeps, and for how long. The zero value is not
// valid: TTL must be set, since it is also how long a session that was signed out
// elsewhere may still be served.
type Policy struct {
	// TTL is how long a loaded value is served without loading it again; > 0. A
	// value that expires earlier is served until then, and a hit extends nothing.
	TTL time.Duration
	// NegativeTTL is how long a key whose load was rejected is refused from
	// memory. By default, 0, not at all.
	NegativeTTL time.Duration
	// VerifyTimeout bounds one load, whoever waits for it. By default
	// DefaultVerifyTimeout.
	VerifyTimeout time.Duration
	// MaxEntries bounds the values kept at once and, separately, the refusals. At
	// the bound, one that has not been used for long makes room. By default
	// DefaultMaxEntries.
	MaxEntries int
}

// withDefaults validates p and fills in the defaults.
func (p Policy) withDefaults() (Policy, error) {
	var errs []error
	if p.TTL <= 0 {
		errs = append(errs, fmt.Errorf("cache: TTL must be positive, got %v", p.TTL))
	}
	if p.NegativeTTL < 0 {
		errs = append(errs, fmt.Errorf("cache: NegativeTTL must not be negative, got %v", p.NegativeTTL))
	}
	if p.VerifyTimeout < 0 {
		errs = append(errs, fmt.Errorf("cache: VerifyTimeout must not be negative, got %v", p.VerifyTimeout))
	}
	if p.MaxEntries < 0 {
		errs = append(errs, fmt.Errorf("cache: MaxEntries must not be negative, got %d", p.MaxEntries))
	}
	if p.VerifyTimeout == 0 {
		p.VerifyTimeout = DefaultVerifyTimeout
	}
	if p.MaxEntries == 0 {
		p.MaxEntries = DefaultMaxEntries
	}
	return p, errors.Join(errs...)
}
