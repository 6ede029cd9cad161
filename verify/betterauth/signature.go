package betterauth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

// signed reports whether better-auth may have made a credential: with a secret, a
// cookie must carry a signature by it, and a bearer token may.
//
// A signed value is token + "." + base64(HMAC-SHA256(secret, token)), percent-encoded
// in a cookie. It is unescaped as a path: in a query "+" would become a space.
func (v *Verifier) signed(c endpoint.Credential) bool {
	if len(v.secrets) == 0 {
		return true
	}
	value, err := url.PathUnescape(c.Token)
	if err != nil {
		return false
	}
	dot := strings.LastIndexByte(value, '.')
	if dot < 0 {
		return !c.Cookie
	}
	encoded, padded := strings.CutSuffix(value[dot+1:], "=")
	if c.Cookie && !padded { // the bearer plugin does without
		return false
	}
	signature, err := base64.RawStdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return false
	}
	good := false
	for _, secret := range v.secrets {
		mac := hmac.New(sha256.New, secret)
		_, _ = mac.Write([]byte(value[:dot]))
		good = hmac.Equal(mac.Sum(nil), signature) || good
	}
	return good
}
