package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	kubecache "k8s.io/apiserver/pkg/authentication/token/cache"
	kubeuser "k8s.io/apiserver/pkg/authentication/user"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// The names of the variants, as the page shows them.
const (
	hit          = "interceptor, hit by bearer"
	hitCookie    = "interceptor, hit by a named cookie"
	hitNegative  = "interceptor, negative hit"
	hitMetrics   = "interceptor, hit, with the SDK's metrics"
	spanAlone    = "a span sampled at 1 %, alone"
	hitTraced    = "interceptor, hit, in that span"
	miss         = "interceptor, miss"
	cacheGet     = "`cache.Get`"
	cacheDo      = "`cache.Do`, hit"
	cacheKeyDo   = "`cache.NewKey` and `cache.Do`, hit"
	kubernetes   = "Kubernetes' token cache, hit alone"
	handRolled   = "hand-rolled interceptor, hit"
	otterGet     = "otter, `GetIfPresent`"
	ttlGet       = "ttlcache, `Get`"
	missCapacity = 512
)

const ttl = time.Hour

var info = &grpc.UnaryServerInfo{FullMethod: "/grpc.testing.TestService/UnaryCall"}

func handler(context.Context, any) (any, error) { return struct{}{}, nil }

// must ends the run: a call that fails is not what is measured.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func newAuth(verify interceptor.VerifyFunc[*session], policy cache.Policy, opts ...interceptor.Option) *interceptor.Authenticator {
	a, err := interceptor.NewSessionAuth(verify, identity, append(opts, interceptor.WithCache(policy))...)
	must(err)
	return a
}

// intercepted is a call of a whole unary interceptor.
func intercepted(name string, intercept grpc.UnaryServerInterceptor, calls []context.Context) variant {
	return variant{name, func(i int) {
		_, err := intercept(calls[i], nil, info, handler)
		must(err)
	}}
}

// newHandRolled is what a team writes without this library: go-grpc-middleware's auth,
// all metadata as an http.Header, one ttlcache keyed by the raw token.
func newHandRolled() grpc.UnaryServerInterceptor {
	type userKey struct{}
	sessions := ttlcache.New(ttlcache.WithTTL[string, *authcontext.AuthContext](ttl))
	return auth.UnaryServerInterceptor(func(ctx context.Context) (context.Context, error) {
		token, err := auth.AuthFromMD(ctx, "bearer")
		if err != nil {
			return nil, err
		}
		md, _ := grpcmd.FromIncomingContext(ctx)
		header := make(http.Header, len(md))
		for key, values := range md {
			if strings.HasPrefix(key, ":") {
				continue
			}
			for _, value := range values {
				header.Add(key, value)
			}
		}
		if item := sessions.Get(token); item != nil {
			return context.WithValue(ctx, userKey{}, item.Value()), nil
		}
		session, err := verify(ctx, token, header)
		if err != nil {
			return nil, status.Error(codes.Unauthenticated, "invalid session")
		}
		ac, err := identity(ctx, session)
		if err != nil {
			return nil, status.Error(codes.Unauthenticated, "invalid session")
		}
		sessions.Set(token, ac, ttlcache.DefaultTTL)
		return context.WithValue(ctx, userKey{}, ac), nil
	})
}

func newKubernetes() authenticator.Token {
	return kubecache.New(authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &kubeuser.DefaultInfo{Name: token[:12], Groups: roles}}, true, nil
	}), false, ttl, ttl)
}

func newOtter[K comparable](tokens int) *otter.Cache[K, *authcontext.AuthContext] {
	return otter.Must(&otter.Options[K, *authcontext.AuthContext]{
		MaximumSize: 2 * tokens, ExpiryCalculator: otter.ExpiryWriting[K, *authcontext.AuthContext](ttl),
	})
}

func newTTLCache[K comparable](tokens int) *ttlcache.Cache[K, *authcontext.AuthContext] {
	return ttlcache.New(ttlcache.WithTTL[K, *authcontext.AuthContext](ttl), ttlcache.WithCapacity[K, *authcontext.AuthContext](2*uint64(tokens)),
		ttlcache.WithDisableTouchOnHit[K, *authcontext.AuthContext]())
}

// loadOf returns a load that makes an identity, of which there is one for each token.
func loadOf(token string) cache.LoadFunc[*authcontext.AuthContext] {
	return func(ctx context.Context) (*authcontext.AuthContext, time.Time, error) {
		ac, err := identity(ctx, &session{token[:12]})
		return ac, farFuture, err
	}
}

func notLoaded(context.Context) (*authcontext.AuthContext, time.Time, error) {
	return nil, time.Time{}, cache.ErrNotFound
}

// coreVariants are those that are measured with every number of tokens. All are hits:
// every store holds what it is asked for.
func coreVariants(tokens []string) []variant {
	calls := callsOf(tokens, bearerCall)
	n := 2 * len(tokens)
	policy := cache.Policy{TTL: ttl, MaxEntries: n}
	keys := make([]cache.Key, len(tokens))
	ours, err := cache.New[*authcontext.AuthContext](policy)
	must(err)
	others, bare, kube := newOtter[cache.Key](len(tokens)), newTTLCache[cache.Key](len(tokens)), newKubernetes()
	ctx := context.Background()
	for i, token := range tokens {
		keys[i] = cache.NewKey(token)
		ac, _, err := ours.Do(ctx, keys[i], loadOf(token))
		must(err)
		others.Set(keys[i], ac)
		bare.Set(keys[i], ac, ttl)
	}
	found := func(ok bool) {
		if !ok {
			panic("not in memory")
		}
	}
	variants := []variant{
		intercepted(hit, newAuth(verify, policy).UnaryServerInterceptor(), calls),
		intercepted(handRolled, newHandRolled(), calls),
		{kubernetes, func(i int) {
			_, ok, err := kube.AuthenticateToken(ctx, tokens[i])
			must(err)
			found(ok)
		}},
		{cacheGet, func(i int) {
			_, ok := ours.Get(keys[i])
			found(ok)
		}},
		{cacheDo, func(i int) {
			_, _, err := ours.Do(ctx, keys[i], notLoaded)
			must(err)
		}},
		{cacheKeyDo, func(i int) {
			_, _, err := ours.Do(ctx, cache.NewKey(tokens[i]), notLoaded)
			must(err)
		}},
		{ttlGet, func(i int) { found(bare.Get(keys[i]) != nil) }},
		{otterGet, func(i int) {
			_, ok := others.GetIfPresent(keys[i])
			found(ok)
		}},
	}
	fill(variants[:3], len(tokens))
	return variants
}

// moreVariants are those that are measured with some tokens only.
func moreVariants(tokens []string) []variant {
	calls := callsOf(tokens, bearerCall)
	policy := cache.Policy{TTL: ttl, MaxEntries: 2 * len(tokens)}
	refusals := policy
	refusals.NegativeTTL = ttl
	negative := newAuth(refuse, refusals).UnaryServerInterceptor()
	small := policy
	small.MaxEntries = missCapacity
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	tracers := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.TraceIDRatioBased(0.01)))
	tracer := tracers.Tracer("benchmarks")
	traced := newAuth(verify, policy, interceptor.WithTracerProvider(tracers)).UnaryServerInterceptor()
	variants := []variant{
		intercepted(hitCookie, newAuth(verify, policy, interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie(cookieName))).UnaryServerInterceptor(),
			callsOf(tokens, cookieCall)),
		intercepted(hitMetrics, newAuth(verify, policy, interceptor.WithMeterProvider(meters)).UnaryServerInterceptor(), calls),
		{hitNegative, func(i int) {
			if _, err := negative(calls[i], nil, info, handler); err == nil {
				panic("not refused")
			}
		}},
		{spanAlone, func(i int) {
			_, span := tracer.Start(calls[i], "UnaryCall")
			if span.IsRecording() {
				span.SetAttributes(attribute.String("rpc.system", "grpc"))
			}
			span.End()
		}},
		{hitTraced, func(i int) {
			ctx, span := tracer.Start(calls[i], "UnaryCall")
			if span.IsRecording() {
				span.SetAttributes(attribute.String("rpc.system", "grpc"))
			}
			_, err := traced(ctx, nil, info, handler)
			span.End()
			must(err)
		}},
	}
	fill(variants, len(tokens))
	if len(tokens) > 8*missCapacity { // by the time a token comes round again it has been evicted
		variants = append(variants, intercepted(miss, newAuth(verify, small).UnaryServerInterceptor(), calls))
	}
	return variants
}

// fill calls each variant once with each token.
func fill(variants []variant, tokens int) {
	for _, v := range variants {
		for i := range tokens {
			v.op(i)
		}
	}
}
