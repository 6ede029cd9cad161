package authz_test

import (
	"context"
	"slices"
	"strings"

	mwauth "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcmd "google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/internal/probe"
)

// authn says who calls: whoever the metadata "caller" names, with the roles of "role".
type authn struct {
	name          string
	skip          []string
	optional      bool
	unary, stream bool // that were asked for
}

func (a *authn) SkipPatterns() []string          { return a.skip }
func (a *authn) Optional() bool                  { return a.optional }
func (a *authn) Installed() (unary, stream bool) { return a.unary, a.stream }

func (a *authn) Name() string {
	if a.name != "" {
		return a.name
	}
	return "Authenticator"
}

func (a *authn) Skips(fullMethod string) bool {
	return slices.Contains(a.skip, strings.TrimPrefix(fullMethod, "/"))
}

func (a *authn) admit(ctx context.Context, fullMethod string) (context.Context, error) {
	if a.Skips(fullMethod) {
		return ctx, nil
	}
	md, _ := grpcmd.FromIncomingContext(ctx)
	if len(md["caller"]) == 0 {
		if a.optional {
			return ctx, nil
		}
		return nil, status.Error(codes.Unauthenticated, "who is it?")
	}
	return authcontext.NewContext(ctx, &authcontext.AuthContext{Subject: md["caller"][0], Roles: md["role"]}), nil
}

func (a *authn) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	a.unary = true
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if p := probe.From(ctx); p != nil {
			if err := p.Meet(a); err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}
		ctx, err := a.admit(ctx, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return handler(ctx, req)
	}
}

func (a *authn) StreamServerInterceptor() grpc.StreamServerInterceptor {
	a.stream = true
	return mwauth.StreamServerInterceptor(a.AuthFunc)
}

func (a *authn) AuthFunc(ctx context.Context) (context.Context, error) {
	if p := probe.From(ctx); p != nil {
		return ctx, p.Meet(a)
	}
	fullMethod, _ := grpc.Method(ctx)
	return a.admit(ctx, fullMethod)
}

func (a *authn) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(a.UnaryServerInterceptor()), grpc.ChainStreamInterceptor(a.StreamServerInterceptor()),
	}
}
