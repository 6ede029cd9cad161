package jwt

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/internal/refusal"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/endpoint"
)

const (
	// minInterval is the least time between two fetches: tokens with made-up key names
	// cost the issuer no more than that.
	minInterval = 10 * time.Second
	// retryInterval is the same after one that failed.
	retryInterval = time.Second
	// patience is how long a token waits for new keys where old ones will do.
	patience = time.Second
	// maxKeys bounds the keys of an issuer, of which one token can have several tried.
	maxKeys    = 100
	minRSABits = 2048
)

// keySet holds the keys of an issuer.
type keySet struct {
	client *endpoint.Client
	issuer string // whose discovery document client asks for; empty: client asks for the keys
	maxAge time.Duration

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	fetched time.Time     // when keys were; zero: never
	tried   time.Time     // when the last fetch ended, which may have failed
	failed  error         // how
	flight  chan struct{} // closed when the fetch that is running ends; nil: none is
}

// find returns the keys of this name, or all if it is empty: at least one. It waits for
// the fetch of the keys until ctx ends, or, where old ones will do, not for long.
func (s *keySet) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	asked := false // for keys, after this token had come
	for {
		s.mu.Lock()
		found := named(s.keys, id)
		now := time.Now()
		age := now.Sub(s.fetched) // of no meaning while there are no keys
		if len(found) > 0 && age < s.maxAge {
			s.mu.Unlock()
			return found, nil
		}
		usable := len(found) > 0 && age < 2*s.maxAge
		failed, wait := s.failed, s.tooSoon(now)
		if wait > 0 && s.flight == nil {
			s.mu.Unlock()
			switch {
			case usable:
				return found, nil
			case failed != nil:
				return nil, failed
			case asked:
				return nil, invalid("it names no published key")
			}
			// Whoever made the name up must not keep others from being verified.
			return nil, refusal.RetryCallerAfter(wait, errors.New("jwt: it names an unknown key, and it is too soon to look for new ones"))
		}
		if s.flight == nil {
			asked, s.flight = true, make(chan struct{})
			// It outlives a caller that gives up, bounded by the timeout.
			go s.fetch(context.WithoutCancel(ctx), s.flight)
		}
		done, hopeful := s.flight, s.failed == nil
		s.mu.Unlock()
		if usable && !hopeful {
			return found, nil
		}
		var enough <-chan time.Time // never
		if usable {
			enough = time.After(patience)
		}
		select {
		case <-done:
		case <-enough:
			return found, nil
		case <-ctx.Done():
			return nil, fmt.Errorf("jwt: %w: waiting for the keys: %w", interceptor.ErrUnavailable, ctx.Err())
		}
	}
}

// tooSoon is how long it is until the keys may be fetched again.
func (s *keySet) tooSoon(now time.Time) time.Duration {
	interval := minInterval
	if s.failed != nil {
		interval = retryInterval
	}
	if s.tried.IsZero() {
		return 0
	}
	return interval - now.Sub(s.tried)
}

// fetch gets the keys anew and then closes done.
func (s *keySet) fetch(ctx context.Context, done chan struct{}) {
	var keys []jose.JSONWebKey
	err := fmt.Errorf("jwt: %w: the transport did not return", interceptor.ErrUnavailable) // if it ends the goroutine
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("jwt: %w: the transport panicked: %v\n%s", interceptor.ErrUnavailable, r, debug.Stack())
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tried, s.failed, s.flight = time.Now(), err, nil
		if err == nil {
			s.keys, s.fetched = keys, s.tried
		}
		close(done)
	}()
	keys, err = s.get(ctx)
}

func (s *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	client, err := s.locate(ctx)
	if err != nil {
		return nil, err
	}
	var body struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := read(ctx, client, "the keys", &body); err != nil {
		return nil, err
	}
	if len(body.Keys) > maxKeys {
		return nil, s.client.Unavailable(fmt.Sprintf("%d keys, at most %d", len(body.Keys), maxKeys))
	}
	var keys []jose.JSONWebKey
	for _, raw := range body.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && isUsable(&key) { // there may be keys for other things
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, s.client.Unavailable("there is no key that can verify a signature")
	}
	return keys, nil
}

// locate returns the client that asks for the keys.
func (s *keySet) locate(ctx context.Context) (*endpoint.Client, error) {
	if s.issuer == "" {
		return s.client, nil
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := read(ctx, s.client, "the discovery document", &document); err != nil {
		return nil, err
	}
	place, query, _ := strings.Cut(document.JWKSURI, "?")
	u, err := endpoint.ParseURL("jwt", place)
	switch {
	case document.Issuer != s.issuer:
		return nil, s.client.Unavailable("the discovery document is of another issuer")
	case err != nil:
		return nil, s.client.Unavailable("the discovery document names no URL of keys")
	case strings.HasPrefix(s.issuer, "https:") && u.Scheme != "https":
		return nil, s.client.Unavailable("the discovery document of an https issuer names keys that are not")
	}
	u.RawQuery = query
	return s.client.At(u), nil
}

// read reads a JSON document. The error wraps [interceptor.ErrUnavailable].
func read(ctx context.Context, client *endpoint.Client, what string, into any) error {
	answer, err := client.Get(ctx, http.Header{"Accept": {"application/jwk-set+json, application/json"}})
	if err != nil {
		return err
	}
	if answer.Status != http.StatusOK {
		return client.Unavailable(fmt.Sprintf("%s: the answer was %d", what, answer.Status))
	}
	if kind := answer.Header.Get("Content-Type"); !endpoint.IsJSON(kind) {
		return client.Unavailable(fmt.Sprintf("%s: the Content-Type is %.64q, want application/json or another of JSON", what, kind))
	}
	if client.JSON(answer, into) != nil {
		return client.Unavailable(what + ": the answer is not the JSON that it should be")
	}
	return nil
}

// isUsable reports whether a key is public, is for signatures and is strong enough.
func isUsable(key *jose.JSONWebKey) bool {
	public, isRSA := key.Key.(*rsa.PublicKey)
	return key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") && (!isRSA || public.N.BitLen() >= minRSABits)
}

// named returns the keys of this name, or all if there is no name.
func named(keys []jose.JSONWebKey, id string) []jose.JSONWebKey {
	var found []jose.JSONWebKey
	for i := range keys {
		if id == "" || keys[i].KeyID == id {
			found = append(found, keys[i])
		}
	}
	return found
}
