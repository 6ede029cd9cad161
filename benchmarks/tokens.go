package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

const cookieName = "better-auth.session_token"

// token returns the i-th token: 43 characters that say nothing.
func token(i int) string {
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(i))
	sum := sha256.Sum256(number[:])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func tokensOf(n int) []string {
	tokens := make([]string, n)
	for i := range tokens {
		tokens[i] = token(i)
	}
	return tokens
}

// What all calls have in common.
var (
	authority   = []string{"api.example.test:443"}
	contentType = []string{"application/grpc"}
	userAgent   = []string{"grpc-go/1.85.0"}
	encodings   = []string{"gzip"}
	requestID   = []string{"7b0c2a52-6d3e-4f0e-9b0a-5f3c9d1e2a77"}
	traceParent = []string{"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	someCookies = []string{"theme=dark; _ga=GA1.1.1234567890.1700000000"}
)

// callMD is the metadata of an ordinary call: what grpc-go's client sends, two headers of
// tracing, and the credentials.
func callMD(authorization, cookie []string) grpcmd.MD {
	md := grpcmd.MD{
		":authority": authority, "content-type": contentType, "user-agent": userAgent, "grpc-accept-encoding": encodings,
		"x-request-id": requestID, "traceparent": traceParent,
	}
	if authorization != nil {
		md["authorization"] = authorization
	}
	if cookie != nil {
		md["cookie"] = cookie
	}
	return md
}

func bearerCall(token string) context.Context {
	return grpcmd.NewIncomingContext(context.Background(), callMD([]string{"Bearer " + token}, nil))
}

// bothCall is a call by bearer that comes with a browser's cookies, which the verifier sees
// and the key covers.
func bothCall(token string) context.Context {
	return grpcmd.NewIncomingContext(context.Background(), callMD([]string{"Bearer " + token}, someCookies))
}

func cookieCall(token string) context.Context {
	return grpcmd.NewIncomingContext(context.Background(),
		callMD(nil, []string{"theme=dark; " + cookieName + "=" + token + "; _ga=GA1.1.1234567890.1700000000"}))
}

func callsOf(tokens []string, call func(string) context.Context) []context.Context {
	calls := make([]context.Context, 0, len(tokens))
	for _, token := range tokens {
		calls = append(calls, call(token))
	}
	return calls
}

// received hands over calls as a transport does, which has made their metadata just before: it
// is in the CPU's cache, and only the token is another one. Metadata that was made in
// advance for all tokens is not, which no store's figure has to pay for.
type received struct {
	authorization []string // of each token
	calls         sync.Pool
}

type receivedCall struct {
	context.Context //nolint:containedctx // of a call

	authorization []string // in its metadata
}

func newReceived(tokens []string) *received {
	r := &received{authorization: make([]string, len(tokens))}
	for i, token := range tokens {
		r.authorization[i] = "Bearer " + token
	}
	r.calls.New = func() any {
		authorization := make([]string, 1)
		return &receivedCall{grpcmd.NewIncomingContext(context.Background(), callMD(authorization, nil)), authorization}
	}
	return r
}

// call makes the call of a token.
func (r *received) call(i int, intercept grpc.UnaryServerInterceptor) {
	c, _ := r.calls.Get().(*receivedCall)
	c.authorization[0] = r.authorization[i]
	_, err := intercept(c, nil, info, handler)
	r.calls.Put(c)
	must(err)
}

// session is what the owner of the sessions answers.
type session struct{ userID string }

// verify knows every session.
func verify(_ context.Context, token string, _ http.Header) (*session, error) {
	return &session{userOf(token)}, nil
}

// userOf returns the user of a session, of whom there is one for each: a string of its
// own, as a decoder makes, that keeps no token in memory.
func userOf(token string) string { return strings.Clone(token[:12]) }

func refuse(context.Context, string, http.Header) (*session, error) {
	return nil, interceptor.ErrInvalidSession
}

var roles = []string{"user"}

func identity(_ context.Context, s *session) (*authcontext.AuthContext, error) {
	return &authcontext.AuthContext{Subject: s.userID, Roles: roles, ExpiresAt: farFuture}, nil
}

var farFuture = time.Now().Add(24 * time.Hour)
