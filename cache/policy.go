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
	// RefreshAfter is the age from which a hit also starts a load in the background,
	// so that a key in steady use never waits. A load that is refused drops the
	// value at once; one that fails leaves it for the rest of its TTL. Less than TTL.
	// By default, 0, never.
	RefreshAfter time.Duration
	// StaleIfError is how long past its TTL, but never past its own expiry, a value
	// is still served while loads fail with ErrUnavailable or take too long. By
	// default, 0, not at all.
	StaleIfError time.Duration
	// VerifyTimeout bounds one load, whoever waits for it. By default
	// DefaultVerifyTimeout.
	VerifyTimeout time.Duration
	// MaxEntries bounds the values kept at once and, separately, the refusals. At
	// the bound, one that has not been used for long makes room. By default
	// DefaultMaxEntries.
	MaxEntries int
	// MaxVerifies bounds the loads in flight at once, those that were abandoned but
	// still run included: beyond it a call that needs one gets ErrBusy, or a stale
	// value, at once. Values in memory are served all the same. By default, 0, there
	// is no bound.
	MaxVerifies int
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
	if p.RefreshAfter < 0 || p.RefreshAfter > 0 && p.RefreshAfter >= p.TTL {
		errs = append(errs, fmt.Errorf("cache: RefreshAfter must be less than TTL and not negative, got %v with a TTL of %v",
			p.RefreshAfter, p.TTL))
	}
	if p.StaleIfError < 0 {
		errs = append(errs, fmt.Errorf("cache: StaleIfError must not be negative, got %v", p.StaleIfError))
	}
	if p.MaxVerifies < 0 {
		errs = append(errs, fmt.Errorf("cache: MaxVerifies must not be negative, got %d", p.MaxVerifies))
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
