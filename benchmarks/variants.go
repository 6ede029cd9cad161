package main

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
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
	hitReceived  = "interceptor, hit by bearer, as a transport hands it over"
	handReceived = "hand-rolled interceptor, hit, as a transport hands it over"
	hitBoth      = "interceptor, hit by bearer beside two cookies"
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

	spanName     = "UnaryCall"
	missCapacity = 512 // of the cache that is always too small
	ttl          = time.Hour
)

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
func intercepted(name string, intercept grpc.UnaryServerInterceptor, calls []context.Context, check func() error) variant {
	return variant{name, func(i int) {
		_, err := intercept(calls[i], nil, info, handler)
		must(err)
	}, check}
}

// hitOf is such a call of an authenticator of ours that is always answered from memory.
func hitOf(name string, a *interceptor.Authenticator, calls []context.Context) variant {
	return intercepted(name, a.UnaryServerInterceptor(), calls, allHits(a.Stats, len(calls), false))
}

// newHandRolled is what a team writes without this library: go-grpc-middleware's auth,
// all metadata as an http.Header, one ttlcache keyed by the raw token.
func newHandRolled(verify interceptor.VerifyFunc[*session]) grpc.UnaryServerInterceptor {
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

func newKubernetes(verify interceptor.VerifyFunc[*session]) authenticator.Token {
	return kubecache.New(authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		s, err := verify(ctx, token, nil)
		if err != nil {
			return nil, false, err
		}
		return &authenticator.Response{User: &kubeuser.DefaultInfo{Name: s.userID, Groups: slices.Clone(roles)}}, true, nil
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
		ac, err := identity(ctx, &session{userOf(token)})
		return ac, farFuture, err
	}
}

func notLoaded(context.Context) (*authcontext.AuthContext, time.Time, error) {
	return nil, time.Time{}, cache.ErrNotFound
}

// coreVariants are those that are measured with every number of tokens. All are hits:
// every store holds what it is asked for.
func coreVariants(tokens []string) []variant {
	calls, n, ctx := callsOf(tokens, bearerCall), len(tokens), context.Background()
	policy := cache.Policy{TTL: ttl, MaxEntries: 2 * n}
	keys := make([]cache.Key, n)
	// Each variant has a store of its own: one that another has just walked through is in the
	// CPU's cache.
	var gets, does, keyed *cache.Cache[*authcontext.AuthContext]
	for _, c := range []**cache.Cache[*authcontext.AuthContext]{&gets, &does, &keyed} {
		var err error
		*c, err = cache.New[*authcontext.AuthContext](policy)
		must(err)
	}
	others, bare := newOtter[cache.Key](n), newTTLCache[cache.Key](n)
	var handLoads, handReceivedLoads, kubeLoads loads
	kube := newKubernetes(kubeLoads.verify)
	for i, token := range tokens {
		keys[i] = cache.NewKey(token)
		for _, c := range []*cache.Cache[*authcontext.AuthContext]{gets, does, keyed} {
			ac, _, err := c.Do(ctx, keys[i], loadOf(token))
			must(err)
			if c == gets {
				others.Set(keys[i], ac)
				bare.Set(keys[i], ac, ttl)
			}
		}
	}
	others.CleanUp()
	receiving, hand, calling := newAuth(verify, policy), newHandRolled(handReceivedLoads.verify), newReceived(tokens)
	intercept := receiving.UnaryServerInterceptor()
	variants := []variant{
		hitOf(hit, newAuth(verify, policy), calls),
		intercepted(handRolled, newHandRolled(handLoads.verify), calls, handLoads.one(n)),
		{kubernetes, func(i int) {
			_, ok, err := kube.AuthenticateToken(ctx, tokens[i])
			must(err)
			found(ok)
		}, kubeLoads.one(n)},
		{hitReceived, func(i int) { calling.call(i, intercept) }, allHits(receiving.Stats, n, false)},
		{handReceived, func(i int) { calling.call(i, hand) }, handReceivedLoads.one(n)},
		{cacheGet, func(i int) {
			_, ok := gets.Get(keys[i])
			found(ok)
		}, nil},
		{cacheDo, func(i int) {
			_, _, err := does.Do(ctx, keys[i], notLoaded)
			must(err)
		}, nil},
		{cacheKeyDo, func(i int) {
			_, _, err := keyed.Do(ctx, cache.NewKey(tokens[i]), notLoaded)
			must(err)
		}, nil},
		{ttlGet, func(i int) { found(bare.Get(keys[i]) != nil) }, nil},
		{otterGet, func(i int) {
			_, ok := others.GetIfPresent(keys[i])
			found(ok)
		}, nil},
	}
	fill(variants[:5], n)
	return variants
}

func found(ok bool) {
	if !ok {
		panic("not in memory")
	}
}

// moreVariants are those that are measured with some numbers of tokens only.
func moreVariants(tokens []string) []variant {
	calls, n := callsOf(tokens, bearerCall), len(tokens)
	policy := cache.Policy{TTL: ttl, MaxEntries: 2 * n}
	variants := []variant{
		hitOf(hitBoth, newAuth(verify, policy), callsOf(tokens, bothCall)),
		hitOf(hitCookie, newAuth(verify, policy, interceptor.WithExtractors(authmd.Bearer(), authmd.Cookie(cookieName))), callsOf(tokens, cookieCall)),
		negativeVariant(policy, calls),
	}
	reader := sdkmetric.NewManualReader()
	metered := newAuth(verify, policy, interceptor.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	withMetrics := hitOf(hitMetrics, metered, calls)
	withMetrics.check = all(withMetrics.check, counted(metered, reader))
	variants = append(append(variants, withMetrics), tracedVariants(policy, calls)...)
	fill(variants, n)
	return variants
}

// negativeVariant is a refusal that is remembered.
func negativeVariant(policy cache.Policy, calls []context.Context) variant {
	policy.NegativeTTL = ttl
	a := newAuth(refuse, policy)
	intercept := a.UnaryServerInterceptor()
	return variant{hitNegative, func(i int) {
		if _, err := intercept(calls[i], nil, info, handler); status.Code(err) != codes.Unauthenticated {
			panic("not refused")
		}
	}, allHits(a.Stats, len(calls), true)}
}

// tracedVariants are a span of which one in a hundred is sampled, as a stats handler
// makes it for each call, and a hit within.
func tracedVariants(policy cache.Policy, calls []context.Context) []variant {
	var spans sampled
	sampler := sdktrace.WithSampler(sdktrace.TraceIDRatioBased(0.01))
	traced := sdktrace.NewTracerProvider(sampler, sdktrace.WithSpanProcessor(&spans))
	alone := sdktrace.NewTracerProvider(sampler, sdktrace.WithSpanProcessor(new(sampled))).Tracer("benchmarks")
	tracer := traced.Tracer("benchmarks")
	a := newAuth(verify, policy, interceptor.WithTracerProvider(traced))
	intercept := a.UnaryServerInterceptor()
	start := func(ctx context.Context, tracer trace.Tracer) (context.Context, trace.Span) {
		ctx, span := tracer.Start(ctx, spanName)
		if span.IsRecording() {
			span.SetAttributes(attribute.String("rpc.system", "grpc"))
		}
		return ctx, span
	}
	return []variant{
		{spanAlone, func(i int) {
			_, span := start(calls[i], alone)
			span.End()
		}, nil},
		{hitTraced, func(i int) {
			ctx, span := start(calls[i], tracer)
			_, err := intercept(ctx, nil, info, handler)
			span.End()
			must(err)
		}, all(allHits(a.Stats, len(calls), false), spans.oneInAHundred(a))},
	}
}

// missVariant is a call that is never answered from memory: the cache is far smaller than
// the tokens are many. All goroutines walk together, whoever is ahead, or one that catches
// up with another would find what that one left.
func missVariant(tokens []string) variant {
	a, calls := newAuth(verify, cache.Policy{TTL: ttl, MaxEntries: missCapacity}), callsOf(tokens, bearerCall)
	intercept := a.UnaryServerInterceptor()
	var walked atomic.Int64
	return variant{miss, func(int) {
		_, err := intercept(calls[int(walked.Add(1))*stride%len(calls)], nil, info, handler)
		must(err)
	}, allMisses(a)}
}

// fill calls each variant once with each token.
func fill(variants []variant, tokens int) {
	parts := runtime.GOMAXPROCS(0)
	for _, v := range variants {
		var all sync.WaitGroup
		for part := range parts {
			all.Go(func() {
				for i := part; i < tokens; i += parts {
					v.op(i)
				}
			})
		}
		all.Wait()
	}
}
