package clientauth_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcmd "google.golang.org/grpc/metadata"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
)

// sent are the values of each key that a service saw, without those of grpc itself.
func sent(md grpcmd.MD) map[string]string {
	got := map[string]string{}
	for key, values := range md {
		if !slices.Contains([]string{":authority", "content-type", "user-agent", "grpc-accept-encoding"}, key) {
			got[key] = strings.Join(values, " AND ")
		}
	}
	return got
}

func TestForwarderReplacesWhatTheCallCarries(t *testing.T) {
	spoofed := []string{
		"x-auth-subject", "mallory", "x-auth-roles", `["admin"]`, "X-Auth-Scopes", "all", "x_auth_subject", "mallory", "x.auth.subject", "mallory",
		"x-auth-subject-bin", "mallory", "x-auth-unheard-of", "mallory", "grpcgateway-x-auth-subject", "mallory",
		"x-gateway-secret", "stale", "x_gateway_secret", "stale", "x.gateway.secret", "stale", "grpcgateway-x-gateway-secret", "stale",
		"x-kept", "kept", "x-authority", "kept",
	}
	ann := &authcontext.AuthContext{Subject: "ann", Type: "session"}
	secret := clientauth.WithSharedSecret(sharedSecret)
	tests := map[string]struct {
		ac   *authcontext.AuthContext
		opts []clientauth.Option
		want map[string]string
	}{
		"with an identity":            {ann, []clientauth.Option{secret}, map[string]string{"x-auth-subject": "ann", "x-auth-type": "session", "x-gateway-secret": sharedSecret}},
		"without one":                 {nil, []clientauth.Option{secret}, map[string]string{"x-gateway-secret": sharedSecret}},
		"without a secret of its own": {ann, nil, map[string]string{"x-auth-subject": "ann", "x-auth-type": "session"}},
		"without either":              {nil, nil, map[string]string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				onward := newForwarder(t, append(test.opts, clientauth.WithInsecureTransport())...)
				err := call(onBehalfOf(t, test.ac, spoofed...), serveTo(t, srv, onward.DialOptions()...),
					grpc.PerRPCCredentials(perCall{header: map[string]string{"X-Auth-Name": "mallory", "x_auth_type": "mallory", "x-of-the-call": "kept"}}))
				if err != nil {
					t.Fatal(err)
				}
				want := maps.Clone(test.want)
				want["x-kept"], want["x-authority"], want["x-of-the-call"] = "kept", "kept", "kept"
				if got := sent(srv.lastSeen()); !maps.Equal(got, want) {
					t.Errorf("sent %v\nwant %v", got, want)
				}
			})
		})
	}
}

// What a user's client sends to a service is not for the services behind it.
func TestForwarderWithholdsTheUsersCredentials(t *testing.T) {
	received := []string{
		"authorization", "Bearer user", "grpcgateway-authorization", "Bearer user", "Grpcgateway-Grpcgateway-Authorization", "Bearer user",
		"authorization-bin", "user", "cookie", "session=user", "cookie", "theme=dark", "grpcgateway-cookie", "session=user",
		"proxy-authorization", "Basic user", "x-session-token", "user", "x_session_token", "user",
		"x-forwarded-access-token", "user", "x-forwarded.access_token", "user", "x-kept", "kept", "authorizations", "kept",
	}
	kept := map[string]string{"x-kept": "kept", "authorizations": "kept"}
	mine := grpc.PerRPCCredentials(perCall{header: map[string]string{"authorization": "Bearer mine", "cookie": "a=mine"}})
	bearer := newBearer(t, clientauth.StaticToken("t0k3n"), clientauth.WithInsecureTransport())
	withheld := clientauth.WithWithheldHeaders("X-Forwarded-Access-Token")
	tests := map[string]struct {
		opts []clientauth.Option
		dial []grpc.DialOption
		call []grpc.CallOption
		want map[string]string
	}{
		"all of them": {
			[]clientauth.Option{withheld}, nil, nil, nil,
		},
		"none that is named by nobody": {
			nil, nil, nil, map[string]string{"x-forwarded-access-token": "user", "x-forwarded.access_token": "user"},
		},
		"but not what the call's own credentials set": {
			[]clientauth.Option{withheld}, nil, []grpc.CallOption{mine}, map[string]string{"authorization": "Bearer mine", "cookie": "a=mine"},
		},
		"but not what the connection's credentials set": {
			[]clientauth.Option{withheld}, []grpc.DialOption{grpc.WithPerRPCCredentials(bearer)}, nil, map[string]string{"authorization": "Bearer t0k3n"},
		},
		"but not what Credentials set": {
			[]clientauth.Option{withheld}, bearer.DialOptions(), nil, map[string]string{"authorization": "Bearer t0k3n"},
		},
		"but for a chosen one": {
			[]clientauth.Option{withheld, clientauth.WithPassedHeaders("Cookie")}, nil, nil,
			map[string]string{"cookie": "session=user AND theme=dark", "grpcgateway-cookie": "session=user"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				onward := newForwarder(t, append(test.opts, clientauth.WithInsecureTransport())...).DialOptions()
				for order, opts := range map[string][]grpc.DialOption{
					"first": slices.Concat(onward, test.dial), "last": slices.Concat(test.dial, onward),
				} {
					srv := &service{}
					if err := call(with(t, received...), serveTo(t, srv, opts...), test.call...); err != nil {
						t.Fatal(err)
					}
					want := maps.Clone(kept)
					maps.Copy(want, test.want)
					if got := sent(srv.lastSeen()); !maps.Equal(got, want) {
						t.Errorf("%s: sent %v\nwant %v", order, got, want)
					}
				}
			})
		})
	}
}

func TestNoInterceptorDropsTheIdentity(t *testing.T) {
	ann := &authcontext.AuthContext{Subject: "ann"}
	other := grpc.PerRPCCredentials(perCall{header: map[string]string{"authorization": "Bearer other"}})
	want := map[string]string{"x-auth-subject": "ann", "x-gateway-secret": sharedSecret}
	and := func(key, value string) map[string]string {
		all := maps.Clone(want)
		all[key] = value
		return all
	}
	bearer := newBearer(t, clientauth.StaticToken("t0k3n"), clientauth.WithInsecureTransport())
	tests := map[string]struct {
		others []grpc.DialOption
		want   map[string]string
	}{
		"one that sets credentials": {later(asItIs, other), and("authorization", "Bearer other")},
		"one that sets credentials twice": {
			later(asItIs, other, grpc.PerRPCCredentials(perCall{header: map[string]string{"x-of-the-call": "a"}})), and("x-of-the-call", "a"),
		},
		"one that exchanges all metadata": {
			later(func(ctx context.Context) context.Context {
				return grpcmd.NewOutgoingContext(ctx, grpcmd.Pairs("x-other", "a"))
			}), and("x-other", "a"),
		},
		"credentials of the connection": {[]grpc.DialOption{grpc.WithPerRPCCredentials(bearer)}, and("authorization", "Bearer t0k3n")},
		"credentials for every call":    {[]grpc.DialOption{grpc.WithDefaultCallOptions(other)}, and("authorization", "Bearer other")},
		"the Credentials of clientauth": {bearer.DialOptions(), and("authorization", "Bearer t0k3n")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				onward := newForwarder(t, clientauth.WithSharedSecret(sharedSecret), clientauth.WithInsecureTransport()).DialOptions()
				for order, opts := range map[string][]grpc.DialOption{
					"before": slices.Concat(test.others, onward), "after": slices.Concat(onward, test.others),
				} {
					srv := &service{}
					if err := call(onBehalfOf(t, ann), serveTo(t, srv, opts...)); err != nil {
						t.Fatal(err)
					}
					if got := sent(srv.lastSeen()); !maps.Equal(got, test.want) {
						t.Errorf("%s: sent %v\nwant %v", order, got, test.want)
					}
				}
			})
		})
	}
}

// The identity is that of the context with which the call is sent.
func TestAnInterceptorThatRunsLaterMayChangeTheContext(t *testing.T) {
	as := func(ac *authcontext.AuthContext) func(context.Context) context.Context {
		return func(ctx context.Context) context.Context { return authcontext.NewContext(ctx, ac) }
	}
	detached := func(ac *authcontext.AuthContext) func(context.Context) context.Context {
		return func(context.Context) context.Context {
			ctx := grpcmd.NewOutgoingContext(t.Context(), grpcmd.MD{})
			if ac != nil {
				ctx = authcontext.NewContext(ctx, ac)
			}
			return ctx
		}
	}
	bob := &authcontext.AuthContext{Subject: "bob"}
	tests := map[string]struct {
		change  func(context.Context) context.Context
		subject string
		refused *refusal // nil: it is not
	}{
		"another identity":                    {as(bob), "bob", nil},
		"an identity that cannot be sent":     {as(&authcontext.AuthContext{Subject: "a\nb"}), "", &notForwarded},
		"another identity in another context": {detached(bob), "bob", nil},
		"a context of its own":                {detached(nil), "", &missing},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				onward := newForwarder(t, clientauth.WithRequiredIdentity(), clientauth.WithInsecureTransport())
				client := serveTo(t, srv, append(onward.DialOptions(), later(test.change)...)...)
				err := call(onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}), client)
				if test.refused != nil {
					test.refused.check(t, err)
					if srv.lastSeen() != nil {
						t.Error("the call was sent")
					}
				} else if got := srv.lastSeen().Get("x-auth-subject"); err != nil || !slices.Equal(got, []string{test.subject}) {
					t.Errorf("sent %q, %v", got, err)
				}
			})
		})
	}
}

func TestAnInterceptorThatRunsLaterTellsNoIdentity(t *testing.T) {
	for _, key := range []string{
		"x-auth-subject", "x-auth-roles", "X_Auth_Roles", "x-auth-roles-bin", "grpcgateway-x-auth-roles", "x-gateway-secret", "x.gateway.secret",
	} {
		t.Run(key, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				onward := newForwarder(t, clientauth.WithInsecureTransport())
				err := call(onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}),
					serveTo(t, srv, append(onward.DialOptions(), later(adding(key, "mallory"))...)...))
				notForwarded.check(t, err)
				if srv.lastSeen() != nil {
					t.Error("the call was sent")
				}
				want := fmt.Sprintf("clientauth: an interceptor that ran later has put %q into the metadata", strings.ToLower(key))
				if cause := errors.Unwrap(err); cause == nil || cause.Error() != want {
					t.Errorf("cause %v", cause)
				}
				if strings.Contains(err.Error(), "mallory") || strings.Contains(err.Error(), "x-") {
					t.Errorf("err = %v", err)
				}
			})
		})
	}
}

func TestForwarderWithoutAnIdentity(t *testing.T) {
	eachKind(t, func(t *testing.T, call callFunc) {
		srv := &service{}
		if err := call(with(t, "x-auth-subject", "mallory"), serveTo(t, srv, newForwarder(t).DialOptions()...)); err != nil {
			t.Fatal(err) // on an insecure connection, with nothing to protect
		}
		if got := srv.lastSeen().Get("x-auth-subject"); got != nil {
			t.Errorf("sent x-auth-subject %q", got)
		}
	})
	eachKind(t, func(t *testing.T, call callFunc) {
		srv := &service{}
		client := serveTo(t, srv, newForwarder(t, clientauth.WithRequiredIdentity()).DialOptions()...)
		missing.check(t, call(with(t, "x-auth-subject", "mallory"), client))
		if srv.lastSeen() != nil {
			t.Error("the call was sent")
		}
	})
}

func TestForwarderSendsAWholeIdentityOrNone(t *testing.T) {
	tests := map[string]*authcontext.AuthContext{
		"no subject":              {Roles: []string{"admin"}},
		"a subject with a line":   {Subject: "ann\r\nx-auth-roles: []"},
		"too many roles":          {Subject: "ann", Roles: slices.Repeat([]string{"a role"}, 20000)},
		"a claim that is no JSON": {Subject: "ann", Claims: map[string]any{"secret-claim": func() {}}},
		"claims of a megabyte":    {Subject: "ann", Claims: map[string]any{"secret-claim": strings.Repeat("a", 1<<20)}},
	}
	for name, ac := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				client := serveTo(t, srv, newForwarder(t, clientauth.WithForwardedClaims("secret-claim"), clientauth.WithInsecureTransport()).DialOptions()...)
				spans := tracetest.NewSpanRecorder()
				ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test").Start(onBehalfOf(t, ac), "rpc")
				err := call(ctx, client)
				span.End()
				notForwarded.check(t, err)
				if srv.lastSeen() != nil {
					t.Error("the call was sent")
				}
				cause := errors.Unwrap(err)
				if cause == nil || fmt.Sprintf("%v %+v %#v", err, err, err) != strings.TrimSpace(strings.Repeat(err.Error()+" ", 3)) {
					t.Errorf("cause %v, printed as %+v", cause, err)
				}
				if events := spans.Ended()[0].Events(); len(events) != 1 || events[0].Attributes[1].Value.AsString() != cause.Error() {
					t.Errorf("events %v", events)
				}
			})
		})
	}
}

func TestNothingIsSentOverAnInsecureConnection(t *testing.T) {
	bearer := newBearer(t, clientauth.StaticToken("t0k3n"))
	asked := clientauth.TokenFunc(func(context.Context) (string, error) {
		t.Error("a token was asked for")
		return "", nil
	})
	ann := &authcontext.AuthContext{Subject: "ann"}
	tests := map[string]struct {
		opts []grpc.DialOption
		ac   *authcontext.AuthContext
	}{
		"an identity": {newForwarder(t).DialOptions(), ann},
		"a secret":    {newForwarder(t, clientauth.WithSharedSecret(sharedSecret)).DialOptions(), nil},
		"a token":     {bearer.DialOptions(), nil},
		"a token that would have to be asked for": {newBearer(t, asked).DialOptions(), nil},
		"one that may and one that may not": {
			append(newForwarder(t, clientauth.WithInsecureTransport()).DialOptions(), bearer.DialOptions()...), ann,
		},
		"one that may not and one that may": {
			append(newForwarder(t).DialOptions(), newBearer(t, clientauth.StaticToken("t0k3n"), clientauth.WithInsecureTransport()).DialOptions()...), ann,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				refusedInsecure.check(t, call(onBehalfOf(t, test.ac), serveTo(t, srv, test.opts...)))
				if srv.lastSeen() != nil {
					t.Error("the call was sent")
				}
			})
		})
	}
	t.Run("credentials of a call that may not", func(t *testing.T) {
		client := serveTo(t, &service{}, newForwarder(t, clientauth.WithInsecureTransport()).DialOptions()...)
		eachKind(t, func(t *testing.T, call callFunc) {
			refusedInsecure.check(t, call(with(t), client, grpc.PerRPCCredentials(perCall{secure: true})))
		})
	})
	t.Run("as credentials of a connection", func(t *testing.T) {
		conn, err := grpc.NewClient("passthrough:///bufconn", grpc.WithPerRPCCredentials(bearer), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if conn != nil || err == nil || !strings.Contains(err.Error(), "require transport level security") {
			t.Errorf("err = %v", err)
		}
	})
}

func TestForwarderFailsWithTheCredentialsOfTheCall(t *testing.T) {
	client := serveTo(t, &service{}, newForwarder(t).DialOptions()...)
	eachKind(t, func(t *testing.T, call callFunc) {
		err := call(with(t), client, grpc.PerRPCCredentials(perCall{err: errors.New("no token")}))
		refusal{codes.Internal, "transport: per-RPC creds failed due to error: no token", ""}.check(t, err)
	})
}
