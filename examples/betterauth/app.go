package main

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"connectrpc.com/vanguard/vanguardgrpc"
	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/grpc-sessionauth/sessionauth/cache"
	accountv1 "github.com/grpc-sessionauth/sessionauth/examples/betterauth/account/v1"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
)

//go:embed web
var web embed.FS

// sessionCookie is better-auth's. To Forget, all spellings of it are one session.
var sessionCookie = authmd.Named(authmd.Cookie("better-auth.session_token"), authmd.UnsignedToken)

// app is everything behind the one address that a browser knows.
type app struct {
	handler  http.Handler
	grpcAddr net.Addr

	auth       *interceptor.Authenticator
	grpcServer *grpc.Server
	served     chan error
	gateway    *grpc.ClientConn
	proxy      *http.Transport
	endStreams func()
}

// newApp starts the gRPC server and puts the other ways to it together.
func newApp(ctx context.Context, owner *owner, origins []string) (*app, error) {
	closing := make(chan struct{})
	a := &app{served: make(chan error, 1), endStreams: sync.OnceFunc(func() { close(closing) })}
	service := &account{closing: closing}
	verifier, err := betterauth.New(owner.url.String(), betterauth.WithSecret(owner.secret))
	if err != nil {
		return nil, err
	}
	tracers := sdktrace.NewTracerProvider() // exports nothing; a call can read its own span
	a.auth, err = interceptor.NewSessionAuth(service.counting(verifier.Verify), verifier.Map,
		interceptor.WithCache(cache.Policy{TTL: time.Minute, NegativeTTL: 10 * time.Second}),
		interceptor.WithExtractors(sessionCookie),
		interceptor.WithKeyHeaders(), // it looks at nothing but the cookie
		interceptor.WithAllowedOrigins(origins...),
		interceptor.WithTracerProvider(tracers),
	)
	if err != nil {
		return nil, err
	}
	a.grpcServer = grpc.NewServer(append(a.auth.ServerOptions(),
		grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(tracers))))...)
	accountv1.RegisterAccountServiceServer(a.grpcServer, service)

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a.grpcAddr = listener.Addr()
	go func() { a.served <- a.grpcServer.Serve(listener) }()

	mux := http.NewServeMux()
	a.handler = http.MaxBytesHandler(mux, 1<<20)
	a.addOwner(mux, owner)
	if err := errors.Join(a.addGateway(mux), a.addTranscoder(mux), addPage(mux)); err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// addTranscoder serves Connect, gRPC-Web and gRPC on the service's own path.
func (a *app) addTranscoder(mux *http.ServeMux) error {
	transcoder, err := vanguardgrpc.NewTranscoder(a.grpcServer)
	if err != nil {
		return err
	}
	mux.Handle("/"+accountv1.AccountService_ServiceDesc.ServiceName+"/", transcoder)
	return nil
}

// addGateway serves REST. The gateway is a client of the gRPC server: calls that it
// makes in the process would pass the interceptors by.
func (a *app) addGateway(mux *http.ServeMux) (err error) {
	a.gateway, err = grpc.NewClient(a.grpcAddr.String(), grpc.WithTransportCredentials(insecure.NewCredentials())) // loopback
	if err != nil {
		return err
	}
	gateway := runtime.NewServeMux(
		runtime.WithIncomingHeaderMatcher(authmd.GatewayIncomingHeader),
		runtime.WithOutgoingHeaderMatcher(authmd.GatewayOutgoingHeader),
	)
	mux.Handle("/v1/", gateway)
	return accountv1.RegisterAccountServiceHandlerClient(context.Background(), gateway, accountv1.NewAccountServiceClient(a.gateway))
}

// addOwner passes better-auth's own routes on to it, so that its cookie is one of the
// page's origin. A sign-out is forgotten before the browser learns of it.
func (a *app) addOwner(mux *http.ServeMux, owner *owner) {
	a.proxy = &http.Transport{IdleConnTimeout: 3 * time.Second} // Node closes idle connections after 5 s
	mux.Handle("/api/auth/", &httputil.ReverseProxy{
		Transport: a.proxy,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(owner.url)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			if r.Request.URL.Path == "/api/auth/sign-out" && r.StatusCode == http.StatusOK {
				if token, ok := sessionCookie.Extract(r.Request.Header); ok {
					return a.auth.Forget(r.Request.Context(), token)
				}
			}
			return nil
		},
	})
}

// addPage serves the page.
func addPage(mux *http.ServeMux) error {
	files, err := fs.Sub(web, "web")
	if err != nil {
		return err
	}
	page := http.FileServerFS(files)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cache-Control", "no-cache")
		page.ServeHTTP(w, r)
	})
	return nil
}

// close ends what newApp started.
func (a *app) close() error {
	a.endStreams()
	a.proxy.CloseIdleConnections()
	var err error
	if a.gateway != nil {
		err = a.gateway.Close()
	}
	a.grpcServer.Stop()
	return errors.Join(err, <-a.served)
}
