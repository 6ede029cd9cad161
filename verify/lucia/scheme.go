package lucia

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"
)

// Scheme is a way in which sessions are kept.
type Scheme uint8

// The schemes. Each has a table "session" with the columns named here, unless
// [WithTable] and [WithColumns] say otherwise. Times are unix time in seconds, or a type
// that the driver returns as a [time.Time]. One that no session can have, such as one in
// milliseconds, is interceptor.ErrUnavailable.
const (
	// Inactivity is that of the guide with an inactivity timeout. The token is id + "." +
	// secret. Columns: id, user_id, secret_hash (SHA-256 of the secret, of its bytes if
	// it is Base64; raw, or in hex or Base64), token_last_verified_at. A session lasts for
	// 10 days after it was last verified.
	Inactivity Scheme = iota + 1
	// Basic is that of the guide without one. Columns: id, user_id, secret_hash,
	// created_at. A session lasts for a day after it was made.
	Basic
	// TokenHash is that of the guide of 2025 and before. The row's id is the token's
	// SHA-256 in lower-case hex. Columns: id, user_id, expires_at.
	TokenHash
	// V3 is that of the npm package lucia 3. The token is the row's id. Columns: id,
	// user_id, expires_at.
	V3
)

const day = 24 * time.Hour

// kind is what the schemes differ in.
type kind struct {
	cookie   string
	column   string // that holds the time
	lifetime time.Duration
	secret   bool // there is a secret_hash
	expiry   bool // the time is that of the expiry; otherwise the lifetime counts from it
	touched  func(lifetime time.Duration) time.Duration
}

var kinds = map[Scheme]kind{
	Inactivity: {
		cookie: "session_token", column: "token_last_verified_at", lifetime: 10 * day, secret: true,
		touched: func(lifetime time.Duration) time.Duration { return min(time.Hour, lifetime/2) },
	},
	Basic:     {cookie: "session_token", column: "created_at", lifetime: day, secret: true},
	TokenHash: {cookie: "session", column: "expires_at", lifetime: 30 * day, expiry: true, touched: half},
	V3:        {cookie: "auth_session", column: "expires_at", lifetime: 30 * day, expiry: true, touched: half},
}

const (
	// skew is by how much the clock of whoever writes the rows may be ahead.
	skew = 5 * time.Minute
	// lastYear is the last one that a time in seconds has in RFC 3339, and a "never" in a
	// database. Any time since 1978 that is in milliseconds lies beyond it.
	lastYear = 9999
)

// plausible reports whether a row can have this time. One in the past can: it has expired, and
// an outage must not be made of that.
func (k kind) plausible(at, now time.Time) bool {
	if k.expiry {
		return at.UTC().Year() <= lastYear
	}
	return !at.After(now.Add(skew))
}

func half(lifetime time.Duration) time.Duration { return lifetime / 2 }

const maxToken = 1 << 10

// parse returns the id of the row that a token names, and its secret if the scheme has
// one.
func (s Scheme) parse(token string) (id, secret string, ok bool) {
	if token == "" || len(token) > maxToken || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", false
	}
	switch s {
	case Inactivity, Basic:
		id, secret, ok = strings.Cut(token, ".")
		return id, secret, ok && id != "" && secret != "" && !strings.Contains(secret, ".")
	case TokenHash:
		digest := sha256.Sum256([]byte(token))
		return hex.EncodeToString(digest[:]), "", true
	case V3:
		return token, "", true
	}
	return "", "", false
}

// matches reports whether secret is that of which stored is the hash. The guide has had
// secrets that are text, and ones that are bytes in Base64.
func matches(secret string, stored []byte) bool {
	digest := sha256.Sum256([]byte(secret))
	good := subtle.ConstantTimeCompare(digest[:], stored)
	if raw, err := base64.StdEncoding.Strict().DecodeString(secret); err == nil {
		digest = sha256.Sum256(raw)
		good |= subtle.ConstantTimeCompare(digest[:], stored)
	}
	return good == 1
}

// decodeHash returns the hash in a column: raw, in hex, or in Base64.
func decodeHash(column []byte) (hash []byte, ok bool) {
	var err error
	switch len(column) {
	case sha256.Size:
		return column, true
	case hex.EncodedLen(sha256.Size):
		hash, err = hex.DecodeString(string(column))
	case base64.StdEncoding.EncodedLen(sha256.Size):
		hash, err = base64.StdEncoding.DecodeString(string(column))
	}
	return hash, err == nil && len(hash) == sha256.Size
}
