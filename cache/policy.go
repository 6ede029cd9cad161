package cache

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultVerifyTimeout bounds one load where [Policy] names no bound.
	DefaultVerifyTimeout = 5 * time.Second
	// DefaultPatience is how long a caller waits where a stale value is allowed.
	DefaultPatience = 250 * time.Millisecond
	// DefaultMaxEntries bounds a cache where [Policy] names no bound.
	DefaultMaxEntries = 100_000
	// DefaultMaxVerifies bounds the loads in flight where [Policy] names no bound.
	DefaultMaxVerifies = 256
)

// Policy says what a [Cache] keeps, and for how long. The zero value is not
// valid: TTL must be set, since it is also how long a session that was signed out
// elsewhere may still be served.
type Policy struct {
	// TTL is how long a loaded value is served without loading it again; > 0. A
	// value that expires earlier is served until then, and a hit extends nothing.
	TTL time.Duration
	// NegativeTTL is how long a key whose load found nothing is refused from
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
	// Patience is how long a caller waits for a load when a stale value could be
	// served, which it gets then, while the load goes on. By default DefaultPatience.
	Patience time.Duration
	// VerifyTimeout bounds one load, whoever waits for it. By default
	// DefaultVerifyTimeout.
	VerifyTimeout time.Duration
	// MaxEntries bounds the values kept at once and, separately, the refusals. At
	// the bound, one that has not been used for long makes room. By default
	// DefaultMaxEntries.
	MaxEntries int
	// MaxPerSubject bounds the values of one holder ([Tagged]; the interceptor's is the
	// subject), so that one who varies what it sends displaces nobody. Beyond it, a
	// value is served and not kept. Holders are told apart by a digest, so it may be a
	// few less for some. By default a hundredth of MaxEntries, but 32 at least: room
	// for the tokens of a service account.
	MaxPerSubject int
	// MaxVerifies bounds the loads in flight at once, those that were abandoned but
	// still run included; [Cache.Recheck] has a quarter as many on top. Beyond it a
	// call that needs one waits for VerifyTimeout, as all do who come at once after a
	// deploy, and then gets ErrBusy; at once if 40 for each of them wait already. If it has
	// a stale value, it waits for Patience and may take one of Recheck's; then it gets
	// ErrBusy, too, unless the owner is known to be away: having too much to do is no
	// reason to serve what may have ended. Values within their TTL are served all the same. By default
	// DefaultMaxVerifies.
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
	if p.MaxPerSubject < 0 {
		errs = append(errs, fmt.Errorf("cache: MaxPerSubject must not be negative, got %d", p.MaxPerSubject))
	}
	if p.Patience < 0 {
		errs = append(errs, fmt.Errorf("cache: Patience must not be negative, got %v", p.Patience))
	}
	if p.VerifyTimeout < 0 {
		errs = append(errs, fmt.Errorf("cache: VerifyTimeout must not be negative, got %v", p.VerifyTimeout))
	}
	if p.MaxEntries < 0 {
		errs = append(errs, fmt.Errorf("cache: MaxEntries must not be negative, got %d", p.MaxEntries))
	}
	p.VerifyTimeout = cmp.Or(p.VerifyTimeout, DefaultVerifyTimeout)
	p.Patience = cmp.Or(p.Patience, DefaultPatience)
	p.MaxEntries = cmp.Or(p.MaxEntries, DefaultMaxEntries)
	p.MaxVerifies = cmp.Or(p.MaxVerifies, DefaultMaxVerifies)
	p.MaxPerSubject = cmp.Or(p.MaxPerSubject, max(p.MaxEntries/100, 32))
	return p, errors.Join(errs...)
}
