package authz_test

import (
	"context"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	mwauth "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/authz"
	notesv1 "github.com/grpc-sessionauth/sessionauth/internal/notes/v1"
)

// never is a service that no audit may run anything of. Its handlers assert nothing, as
// those of generated code do.
func never(ran *atomic.Bool) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "pkg.Never", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Get",
			Handler: func(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
				handler := func(context.Context, any) (any, error) {
					ran.Store(true)
					return &emptypb.Empty{}, nil
				}
				if intercept == nil {
					return handler(ctx, nil)
				}
				return intercept(ctx, nil, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/pkg.Never/Get"}, handler)
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName: "Watch", ServerStreams: true, ClientStreams: true,
			Handler: func(any, grpc.ServerStream) error { ran.Store(true); return nil },
		}},
	}
}

func TestAnAuditLooksAtTheServerItself(t *testing.T) {
	t.Parallel()
	type options = []grpc.ServerOption
	unary, stream := grpc.ChainUnaryInterceptor, grpc.ChainStreamInterceptor
	refusing := func(err error) options {
		return options{
			unary(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) { return nil, err }),
			stream(func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error { return err }),
		}
	}
	passing := options{
		unary(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			return handler(ctx, req)
		}),
		stream(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			return handler(srv, s)
		}),
	}
	const (
		noAuthn       = "no interceptor|Authenticator: none of its interceptors is in front of /pkg.Never/Get, one of 1 unary methods"
		noAuthnStream = "no interceptor|Authenticator: none of its interceptors is in front of /pkg.Never/Watch, one of 1 streams"
		noAuthz       = "no interceptor|Authorizer: none of its interceptors is in front of /pkg.Never/Get, one of 1 unary methods"
		noAuthzStream = "no interceptor|Authorizer: none of its interceptors is in front of /pkg.Never/Watch, one of 1 streams"
		order         = "wrong order|Authorizer: it is in front of the Authenticator at /pkg.Never/Get, one of 1 unary methods, and finds no identity there"
		orderStream   = "wrong order|Authorizer: it is in front of the Authenticator at /pkg.Never/Watch, one of 1 streams, and finds no identity there"
	)
	unreached := func(of, method, kind, how string) string {
		return "unreached|" + of + ": whether it guards /pkg.Never/" + method + ", one of 1 " + kind +
			", is not known: in front of it another interceptor " + how
	}
	not := func(method string) selector.Matcher {
		return selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return c.FullMethod() != method })
	}
	for _, test := range []struct {
		name    string
		options func(a *authn, z *authz.Authorizer) options
		want    []string
	}{
		{"both are installed", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(a.ServerOptions(), z.ServerOptions())
		}, nil},
		{"with others in front, between and behind", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(passing, a.ServerOptions(), passing, (&authn{}).ServerOptions(), z.ServerOptions(), passing)
		}, nil},
		{"behind the Authorizer nothing runs", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(a.ServerOptions(), z.ServerOptions(), options{unary(
				func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
					t.Error("an interceptor behind the Authorizer was run")
					return nil, nil
				})})
		}, nil},
		{"asked for, and dropped", func(a *authn, z *authz.Authorizer) options {
			a.ServerOptions()
			z.ServerOptions()
			return nil
		}, []string{noAuthn, noAuthz, noAuthnStream, noAuthzStream}},
		{"dropped, behind another's", func(a *authn, z *authz.Authorizer) options {
			a.ServerOptions()
			z.ServerOptions()
			return passing
		}, []string{noAuthn, noAuthz, noAuthnStream, noAuthzStream}},
		{"another one is installed", func(_ *authn, _ *authz.Authorizer) options {
			return slices.Concat((&authn{}).ServerOptions(), newAuthz(t).ServerOptions())
		}, []string{noAuthn, noAuthz, noAuthnStream, noAuthzStream}},
		{"for unary calls alone, though both were asked for", func(a *authn, z *authz.Authorizer) options {
			a.StreamServerInterceptor()
			z.StreamServerInterceptor()
			return options{unary(a.UnaryServerInterceptor(), z.UnaryServerInterceptor())}
		}, []string{noAuthnStream, noAuthzStream}},
		{"by its AuthFunc", func(a *authn, z *authz.Authorizer) options {
			return append(options{
				unary(mwauth.UnaryServerInterceptor(a.AuthFunc)), stream(mwauth.StreamServerInterceptor(a.AuthFunc)),
			}, z.ServerOptions()...)
		}, nil},
		{"by its AuthFunc, for unary calls alone", func(a *authn, z *authz.Authorizer) options {
			return append(options{unary(mwauth.UnaryServerInterceptor(a.AuthFunc))}, z.ServerOptions()...)
		}, []string{noAuthnStream}},
		{"the Authorizer is missing", func(a *authn, _ *authz.Authorizer) options { return a.ServerOptions() }, []string{noAuthz, noAuthzStream}},
		{"the Authenticator is missing", func(_ *authn, z *authz.Authorizer) options { return z.ServerOptions() }, []string{noAuthn, noAuthnStream}},
		{"in the wrong order", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(z.ServerOptions(), a.ServerOptions())
		}, []string{order, orderStream}},
		{"another in front refuses", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(refusing(status.Error(codes.ResourceExhausted, "slow down")), a.ServerOptions(), z.ServerOptions())
		}, []string{
			unreached("Authenticator", "Get", "unary methods", "answers ResourceExhausted"),
			unreached("Authorizer", "Get", "unary methods", "answers ResourceExhausted"),
			unreached("Authenticator", "Watch", "streams", "answers ResourceExhausted"),
			unreached("Authorizer", "Watch", "streams", "answers ResourceExhausted"),
		}},
		{"another in between answers", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(a.ServerOptions(), refusing(nil), z.ServerOptions())
		}, []string{
			unreached("Authorizer", "Get", "unary methods", "answers by itself"),
			unreached("Authorizer", "Watch", "streams", "answers by itself"),
		}},
		{"another in between panics, or ends its goroutine", func(a *authn, z *authz.Authorizer) options {
			return slices.Concat(a.ServerOptions(), options{
				unary(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
					panic("no identity")
				}),
				stream(func(any, grpc.ServerStream, *grpc.StreamServerInfo, grpc.StreamHandler) error {
					runtime.Goexit()
					return nil
				}),
			}, z.ServerOptions())
		}, []string{
			unreached("Authorizer", "Get", "unary methods", "panics"),
			unreached("Authorizer", "Watch", "streams", "panics"),
		}},
		{"left out for one method by a selector", func(a *authn, z *authz.Authorizer) options {
			return append(options{
				unary(selector.UnaryServerInterceptor(a.UnaryServerInterceptor(), not("/pkg.Never/Get"))),
				stream(selector.StreamServerInterceptor(a.StreamServerInterceptor(), not("/pkg.Never/Get"))),
			}, z.ServerOptions()...)
		}, []string{noAuthn}},
		{"an UnknownServiceHandler without a guard", func(a *authn, z *authz.Authorizer) options {
			return options{unary(a.UnaryServerInterceptor(), z.UnaryServerInterceptor()), grpc.UnknownServiceHandler(
				func(any, grpc.ServerStream) error { t.Error("it was run"); return nil })}
		}, []string{
			"no interceptor|Authenticator: none of its interceptors is in front of /pkg.Never/Watch, one of 2 streams",
			"no interceptor|Authorizer: none of its interceptors is in front of /pkg.Never/Watch, one of 2 streams",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, z := &authn{}, newAuthz(t, authz.WithRules(authz.Rule{Name: "all", Methods: []string{"*"}, Effect: allow}))
			server := grpc.NewServer(test.options(a, z)...)
			var ran atomic.Bool
			server.RegisterService(never(&ran), nil)
			mustFind(t, authz.Audit(server, a, z), test.want...)
			// Each alone is told the same of itself.
			mustFind(t, authz.Audit(server, a, nil).Without(authz.Unreached), about("Authenticator", test.want)...)
			mustFind(t, authz.Audit(server, nil, z).Without(authz.Unreached), about("Authorizer", test.want)...)
			if ran.Load() {
				t.Error("a handler was run")
			}
		})
	}
}

// about returns the findings without an interceptor for one of the two.
func about(name string, findings []string) []string {
	return slices.DeleteFunc(slices.Clone(findings), func(f string) bool {
		return !strings.HasPrefix(f, "no interceptor|"+name+":")
	})
}

func mustFind(t *testing.T, found authz.Findings, want ...string) {
	t.Helper()
	var got []string
	for _, f := range found {
		got = append(got, string(f.Kind)+"|"+f.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAPublicMethodNeedsNoAuthorizer(t *testing.T) {
	t.Parallel()
	z := newAuthz(t, authz.WithPublicMethods("pkg.Never/*"))
	server := grpc.NewServer()
	server.RegisterService(never(new(atomic.Bool)), nil)
	mustFind(t, authz.Audit(server, nil, z))
}

// An interceptor is given a call as a client without a credential would make it.
func TestTheCallOfAnAudit(t *testing.T) {
	t.Parallel()
	calls := map[string]int{}
	look := func(ctx context.Context, srv, req any, fullMethod string) {
		calls[fullMethod]++
		name, _ := grpc.Method(ctx)
		p, ok := peer.FromContext(ctx)
		md, hasMD := grpcmd.FromIncomingContext(ctx)
		_, known := authcontext.FromContext(ctx)
		deadline, bounded := ctx.Deadline()
		if name != fullMethod || !ok || p.Addr.Network() != "audit" || p.Addr.String() != "audit" || !hasMD || len(md) != 0 || known ||
			!bounded || time.Until(deadline) > 10*time.Second {
			t.Errorf("%s: named %q, peer %v, metadata %v, identity %t, until %v", fullMethod, name, p, md, known, deadline)
		}
		if _, ok := srv.(notes); !ok {
			t.Errorf("%s: of %T", fullMethod, srv)
		}
		if _, ok := req.(*notesv1.Note); !ok && req != nil {
			t.Errorf("%s: asked %T", fullMethod, req)
		}
		if err := grpc.SetHeader(ctx, grpcmd.Pairs("a", "b")); err != nil {
			t.Error(err)
		}
		if err := grpc.SendHeader(ctx, nil); err != nil {
			t.Error(err)
		}
		if err := grpc.SetTrailer(ctx, nil); err != nil {
			t.Error(err)
		}
	}
	a := &authn{}
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			look(ctx, info.Server, req, info.FullMethod)
			return handler(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			look(s.Context(), srv, nil, info.FullMethod)
			s.SetTrailer(nil)
			if s.RecvMsg(nil) != io.EOF || s.SendMsg(nil) != io.EOF || s.SetHeader(nil) != nil || s.SendHeader(nil) != nil {
				t.Error("the client of the stream is not gone")
			}
			return handler(srv, s)
		}),
	}, a.ServerOptions()...)...)
	notesv1.RegisterNotesServer(server, notes{})
	mustFind(t, authz.Audit(server, a, nil))
	for fullMethod, count := range calls {
		if count != 1 {
			t.Errorf("%s: %d calls", fullMethod, count)
		}
	}
	if want := len(notesv1.Notes_ServiceDesc.Methods) + len(notesv1.Notes_ServiceDesc.Streams); len(calls) != want {
		t.Errorf("calls of %d methods, want %d", len(calls), want)
	}
}

// overrider is a service with an authentication of its own.
type overrider struct {
	notes

	a *authn
}

func (o overrider) AuthFuncOverride(ctx context.Context, _ string) (context.Context, error) {
	return o.a.AuthFunc(ctx)
}

func TestAnAuthFuncOverrideIsSeen(t *testing.T) {
	t.Parallel()
	nobody := func(ctx context.Context) (context.Context, error) { return ctx, nil }
	a := &authn{}
	server := grpc.NewServer(grpc.UnaryInterceptor(mwauth.UnaryServerInterceptor(nobody)), grpc.StreamInterceptor(mwauth.StreamServerInterceptor(nobody)))
	notesv1.RegisterNotesServer(server, overrider{a: a})
	mustFind(t, authz.Audit(server, a, nil))
}

func TestAnAuditEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		a := &authn{}
		server := grpc.NewServer(append([]grpc.ServerOption{
			grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				<-release
				return handler(ctx, req)
			}),
		}, a.ServerOptions()...)...)
		notesv1.RegisterDraftsServer(server, notesv1.UnimplementedDraftsServer{})
		start := time.Now()
		mustFind(t, authz.Audit(server, a, nil), "unreached|Authenticator: whether it guards /notes.v1.Drafts/Discard, "+
			"one of 2 unary methods, is not known: in front of it another interceptor does not answer")
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("took %v", took)
		}
		close(release)
	})
}

// What the audit reads of grpc-go is not promised by it.
func TestAServerOfAnotherKindIsNotLookedInto(t *testing.T) {
	t.Parallel()
	type other struct {
		opts struct{ unaryInt, streamInt, unknownStreamDesc int } //nolint:unused // by reflection
	}
	for _, name := range []string{"unaryInt", "streamInt", "nothing"} {
		if _, ok := authz.Field[grpc.UnaryServerInterceptor](reflect.ValueOf(&other{}).Elem().FieldByName("opts"), name); ok {
			t.Errorf("%s was found", name)
		}
	}
	if _, ok := authz.Field[int](reflect.ValueOf(other{}), "opts"); ok {
		t.Error("a field of what cannot be addressed was found")
	}
	if v, ok := authz.Field[int](reflect.ValueOf(&other{}).Elem().FieldByName("opts"), "unaryInt"); !ok || v != 0 {
		t.Errorf("got %v, %t", v, ok)
	}
}
