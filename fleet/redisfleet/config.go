package redisfleet

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"
	"go.opentelemetry.io/otel/metric"
)

const (
	minSecret  = 32 // what 128 random bits take in hexadecimal
	maxSecrets = 3
	maxName    = 64

	nameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

	// What is set in rueidis.ClientOption where it says nothing: with its own defaults a
	// frozen server is noticed after 10 s.
	dialTimeout  = 500 * time.Millisecond
	keepAlive    = 100 * time.Millisecond
	writeTimeout = 250 * time.Millisecond
	// More of them are made when they are first used, by a call that would wait for it.
	oneConnection = -1
)

// Config says where Redis is and what keeps the fleets in it apart.
type Config struct {
	// Redis says how to connect: addresses, TLS, the user of an ACL, sentinels, a cluster. All
	// of it is passed to rueidis, but for retries and client-side caching, which are off, and
	// for what is zero: Dialer.Timeout is then 500 ms, Dialer.KeepAlive
	// 100 ms, ConnWriteTimeout 250 ms, PipelineMultiplex -1, which is one connection to a server. Nothing connects before it is needed, and the
	// constructors do not fail because Redis is down.
	Redis rueidis.ClientOption
	// Name names the service whose replicas these are: 1 to 64 letters, digits, "-", "_" and
	// ".". The keys of a bus in Redis begin "sessionauth:{Name}:". Replicas share nothing with those of
	// another name. Another name is also what a change of the callbacks needs that makes other
	// identities of the same sessions.
	Name string
	// Secrets are what the replicas know and Redis does not: at least 32 bytes each, random
	// ones. The first is used and all are accepted, at most three: to replace one without an outage,
	// append the new one everywhere, then put it first everywhere, then drop the old one.
	Secrets []string
	// Retention is how long what was forgotten is kept on the bus, so that a replica that
	// starts knows it. By default 5 minutes.
	Retention time.Duration
	// Wait is how long a call of a [Store] waits for another replica which verifies the same
	// credential, before it verifies by itself: more than three times the Budget. By default 500 ms.
	Wait time.Duration
	// Budget is how long Redis may hold up a call that finds nothing in a Store, which takes
	// three round trips: when four in a row have taken more than a third of it, or one takes
	// three times as long as it, Redis is not asked for a while. By default 5 ms.
	Budget time.Duration
	// Meters says where the metrics go. By default, nil, to the global provider.
	Meters metric.MeterProvider
}

// check validates c and fills in the defaults. The errors do not show secrets.
func (c Config) check() (Config, error) {
	var errs []error
	if len(c.Name) == 0 || len(c.Name) > maxName || strings.ContainsFunc(c.Name, func(r rune) bool { return !strings.ContainsRune(nameLetters, r) }) {
		errs = append(errs, fmt.Errorf("redisfleet: Name: %q is not 1 to %d letters, digits, \"-\", \"_\" and \".\"", c.Name, maxName))
	}
	if len(c.Secrets) == 0 || len(c.Secrets) > maxSecrets {
		errs = append(errs, fmt.Errorf("redisfleet: Secrets: there are %d, want 1 to %d", len(c.Secrets), maxSecrets))
	}
	for i, secret := range c.Secrets {
		if len(secret) < minSecret {
			errs = append(errs, fmt.Errorf("redisfleet: Secrets: number %d has %d bytes, want %d or more of random ones", i+1, len(secret), minSecret))
		}
		if slices.Contains(c.Secrets[:i], secret) {
			errs = append(errs, fmt.Errorf("redisfleet: Secrets: number %d is there twice", i+1))
		}
	}
	if c.Retention < 0 || c.Wait < 0 || c.Budget < 0 {
		errs = append(errs, errors.New("redisfleet: Retention, Wait and Budget must not be negative"))
	}
	if len(c.Redis.InitAddress) == 0 {
		errs = append(errs, errors.New("redisfleet: Redis: InitAddress names no server"))
	}
	if c.Retention == 0 {
		c.Retention = 5 * time.Minute
	}
	if c.Wait == 0 {
		c.Wait = 500 * time.Millisecond
	}
	if c.Budget == 0 {
		c.Budget = 5 * time.Millisecond
	}
	if c.Wait <= 3*c.Budget { // or a turn is over before it can be ended
		errs = append(errs, fmt.Errorf("redisfleet: Wait: %v is too short for a Budget of %v, want more than three times as long", c.Wait, c.Budget))
	}
	c.Secrets = slices.Clone(c.Secrets)
	o := &c.Redis
	o.DisableRetry, o.DisableCache = true, true
	if o.Dialer.Timeout == 0 {
		o.Dialer.Timeout = dialTimeout
	}
	if o.Dialer.KeepAlive == 0 {
		o.Dialer.KeepAlive = keepAlive
	}
	if o.ConnWriteTimeout == 0 {
		o.ConnWriteTimeout = writeTimeout
	}
	if o.PipelineMultiplex == 0 {
		o.PipelineMultiplex = oneConnection
	}
	return c, errors.Join(errs...)
}

// key is the name of something in Redis.
func (c *Config) key(what string) string { return "sessionauth:{" + c.Name + "}:" + what }

// derive returns a key for a purpose under each secret.
func (c *Config) derive(purpose string) ([][]byte, error) {
	keys := make([][]byte, len(c.Secrets))
	for i, secret := range c.Secrets {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, "sessionauth redisfleet "+purpose+" "+c.Name, sha256.Size)
		if err != nil {
			return nil, err
		}
		keys[i] = key
	}
	return keys, nil
}
