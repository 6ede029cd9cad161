package clientauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

var _ credentials.PerRPCCredentials = (*clientauth.Credentials)(nil)

func TestCredentialsCarryTheToken(t *testing.T) {
	tokens := []string{"t0k3n", "second"}
	var asked atomic.Int64
	refreshed := clientauth.TokenFunc(func(context.Context) (string, error) { return tokens[(asked.Add(1)-1)%2], nil })
	other := grpc.PerRPCCredentials(perCall{header: map[string]string{"x-of-the-call": "a"}})
	for name, source := range map[string]clientauth.TokenSource{"static": clientauth.StaticToken("t0k3n"), "refreshed": refreshed} {
		bearer := newBearer(t, source, clientauth.WithInsecureTransport(), nil)
		cookie := newCookie(t, source, clientauth.WithInsecureTransport())
		for form, carried := range map[string]*clientauth.Credentials{"bearer": bearer, "cookie": cookie} {
			for how, opts := range map[string][]grpc.DialOption{
				"on a connection":                carried.DialOptions(),
				"before one that sets others":    append(carried.DialOptions(), later(asItIs, other)...),
				"after one that sets others":     append(later(asItIs, other), carried.DialOptions()...),
				"after a Forwarder":              append(newForwarder(t).DialOptions(), carried.DialOptions()...),
				"before a Forwarder":             append(carried.DialOptions(), newForwarder(t).DialOptions()...),
				"as credentials":                 {grpc.WithPerRPCCredentials(carried)},
				"as credentials of a call":       {grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(carried))},
				"of a call, behind a Forwarder":  append(newForwarder(t).DialOptions(), grpc.WithDefaultCallOptions(grpc.PerRPCCredentials(carried))),
				"as credentials and a Forwarder": append(newForwarder(t).DialOptions(), grpc.WithPerRPCCredentials(carried)),
			} {
				t.Run(strings.Join([]string{name, form, how}, ", "), func(t *testing.T) {
					eachKind(t, func(t *testing.T, call callFunc) {
						token := "t0k3n"
						if name == "refreshed" {
							token = tokens[asked.Load()%2]
						}
						srv := &service{}
						if err := call(with(t), serveTo(t, srv, opts...)); err != nil {
							t.Fatal(err)
						}
						key, want := "authorization", "Bearer "+token
						if form == "cookie" {
							key, want = "cookie", "session="+token
						}
						if got := srv.lastSeen().Get(key); !slices.Equal(got, []string{want}) {
							t.Errorf("sent %q, want %q", got, want)
						}
					})
				})
			}
		}
	}
}

func TestCredentialsReplaceThoseOfTheCall(t *testing.T) {
	source := clientauth.StaticToken("t0k3n")
	bearer, cookie := newBearer(t, source, clientauth.WithInsecureTransport()), newCookie(t, source, clientauth.WithInsecureTransport())
	stale := []string{
		"authorization", "Bearer stale", "grpcgateway-authorization", "Bearer stale", "cookie", "session=stale", "cookie", "other=stale",
		"grpcgateway-cookie", "session=stale", "x-kept", "kept",
	}
	for name, test := range map[string]struct {
		carried *clientauth.Credentials
		key     string
		want    string
		other   string
	}{
		"bearer": {bearer, "authorization", "Bearer t0k3n", "cookie"},
		"cookie": {cookie, "cookie", "session=t0k3n", "authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				client := serveTo(t, srv, test.carried.DialOptions()...)
				if err := call(with(t, stale...), client, grpc.PerRPCCredentials(perCall{header: map[string]string{test.key: "stale", "x-of-the-call": "kept"}})); err != nil {
					t.Fatal(err)
				}
				seen := srv.lastSeen()
				if !slices.Equal(seen.Get(test.key), []string{test.want}) || seen.Get("grpcgateway-"+test.key) != nil ||
					seen.Get("x-kept") == nil || seen.Get("x-of-the-call") == nil || seen.Get(test.other) == nil {
					t.Errorf("sent %v", seen)
				}
			})
		})
		t.Run(name+", after one that ran later", func(t *testing.T) {
			eachKind(t, func(t *testing.T, call callFunc) {
				srv := &service{}
				client := serveTo(t, srv, append(test.carried.DialOptions(), later(adding(test.key, "stale"))...)...)
				err := call(with(t), client)
				noCredential.check(t, err)
				if cause := errors.Unwrap(err); srv.lastSeen() != nil || cause == nil || !strings.Contains(cause.Error(), test.key) {
					t.Errorf("sent %v, cause %v", srv.lastSeen(), cause)
				}
			})
		})
	}
}

func TestCredentialsFailTheCall(t *testing.T) {
	cause := errors.New("cause with t0k3n")
	tests := map[string]struct {
		token string
		err   error
		want  refusal
	}{
		"an error":                {"", cause, noCredential},
		"an error and a token":    {"t0k3n", cause, noCredential},
		"no token":                {"", nil, noCredential},
		"a token with a line":     {"t0k3n\r\nx-auth-subject: mallory", nil, noCredential},
		"a token with a space":    {"t0k3n admin", nil, noCredential},
		"a token with a comma":    {"t0k3n,t0k3n", nil, noCredential},
		"a token above 0x7f":      {"t0k3n\xe9", nil, noCredential},
		"a token of many bytes":   {strings.Repeat("t0k3n", 4<<10), nil, noCredential},
		"an outage":               {"", fmt.Errorf("%w: %w", clientauth.ErrUnavailable, cause), delayed},
		"an error of the network": {"", &net.OpError{Op: "dial", Err: cause}, delayed},
		"too slow":                {"", fmt.Errorf("%w: %w", context.DeadlineExceeded, cause), delayed},
		"a status":                {"", fmt.Errorf("%w: %w", cause, status.Error(codes.PermissionDenied, "banned")), refusal{codes.PermissionDenied, "banned", ""}},
		"a status that says OK":   {"", okayStatus{cause}, noCredential},
		"a status that grpc bars": {"", status.Error(codes.NotFound, "no user"), refusal{codes.Internal, "transport: received per-RPC creds error with illegal status: rpc error: code = NotFound desc = no user", ""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			source := clientauth.TokenFunc(func(context.Context) (string, error) { return test.token, test.err })
			bearer, cookie := newBearer(t, source, clientauth.WithInsecureTransport()), newCookie(t, source, clientauth.WithInsecureTransport())
			for _, opts := range [][]grpc.DialOption{
				bearer.DialOptions(), cookie.DialOptions(), {grpc.WithPerRPCCredentials(bearer)}, {grpc.WithPerRPCCredentials(cookie)},
			} {
				eachKind(t, func(t *testing.T, call callFunc) {
					srv := &service{}
					err := call(with(t), serveTo(t, srv, opts...))
					test.want.check(t, err)
					if srv.lastSeen() != nil {
						t.Error("the call was sent")
					}
					if printed := fmt.Sprintf("%v %+v %#v %s %q", err, err, err, err, err); strings.Contains(printed, "t0k3n") {
						t.Errorf("printed %s", printed)
					}
				})
			}
		})
	}
}

// okayStatus is an error that says OK.
type okayStatus struct{ error }

func (okayStatus) GRPCStatus() *status.Status { return status.New(codes.OK, "") }

func TestATokenThatTakesTooLong(t *testing.T) {
	source := clientauth.TokenFunc(func(ctx context.Context) (string, error) {
		<-ctx.Done()
		return "", errors.New("gave up")
	})
	client := serveTo(t, &service{}, newBearer(t, source, clientauth.WithInsecureTransport()).DialOptions()...)
	eachKind(t, func(t *testing.T, call callFunc) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := call(ctx, client); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("err = %v", err)
		}
	})
}

func TestTheSentinelIsThatOfTheServersPackages(t *testing.T) {
	if clientauth.ErrUnavailable != interceptor.ErrUnavailable {
		t.Error("they are two")
	}
}

func TestClientsRefuseBadOptions(t *testing.T) {
	const badToken = "clientauth: NewBearer: the token is empty, too long, or holds a byte that is not visible ASCII, or a comma"
	const badValue = "clientauth: NewCookie: the token is empty, too long, or not the value of a cookie"
	bearer := func(token string) func() (any, error) {
		return func() (any, error) { return clientauth.NewBearer(clientauth.StaticToken(token)) }
	}
	cookie := func(name, token string) func() (any, error) {
		return func() (any, error) { return clientauth.NewCookie(name, clientauth.StaticToken(token)) }
	}
	forwarder := func(opts ...clientauth.Option) func() (any, error) {
		return func() (any, error) { return clientauth.NewForwarder(opts...) }
	}
	tests := map[string]struct {
		make func() (any, error)
		want string
	}{
		"no source":                 {func() (any, error) { return clientauth.NewBearer(nil) }, "clientauth: NewBearer needs a TokenSource"},
		"a nil func":                {func() (any, error) { return clientauth.NewCookie("a", clientauth.TokenFunc(nil)) }, "clientauth: NewCookie needs a TokenSource"},
		"no token":                  {bearer(""), badToken},
		"a token with CR and LF":    {bearer("t0k3n\r\n"), badToken},
		"a token with NUL":          {bearer("t0k3n\x00"), badToken},
		"a token with DEL":          {bearer("t0k3n\x7f"), badToken},
		"a token above 0x7f":        {bearer("t0k3né"), badToken},
		"no value":                  {cookie("session", ""), badValue},
		"a value with a semicolon":  {cookie("session", "t0k3n;admin=1"), badValue},
		"a value with a space":      {cookie("session", "t0k3n admin=1"), badValue},
		"a value with a line":       {cookie("session", "t0k3n\n"), badValue},
		"a value with a comma":      {cookie("session", "t0k3n,"), badValue},
		"a value in quotes":         {cookie("session", `"t0k3n"`), badValue},
		"a value with a backslash":  {cookie("session", `t0k3n\`), badValue},
		"no name":                   {cookie("", "t0k3n"), `clientauth: NewCookie: "" is no name of a cookie`},
		"a name with an equal sign": {cookie("a=b", "t0k3n"), `clientauth: NewCookie: "a=b" is no name of a cookie`},
		"a name with a semicolon":   {cookie("a;b", "t0k3n"), `clientauth: NewCookie: "a;b" is no name of a cookie`},
		"a name with a space":       {cookie("a b", "t0k3n"), `clientauth: NewCookie: "a b" is no name of a cookie`},
		"a name with a line":        {cookie("a\r\nb", "t0k3n"), `clientauth: NewCookie: "a\r\nb" is no name of a cookie`},
		"options of a Forwarder": {func() (any, error) {
			return clientauth.NewBearer(clientauth.StaticToken("t0k3n"), clientauth.WithForwardedClaims("org"), clientauth.WithSharedSecret(sharedSecret),
				clientauth.WithSecretHeader("x-secret"), clientauth.WithRequiredIdentity(), clientauth.WithWithheldHeaders("x-token"), clientauth.WithPassedHeaders("cookie"))
		}, `clientauth: NewBearer: WithForwardedClaims is for a Forwarder
clientauth: NewBearer: WithSharedSecret is for a Forwarder
clientauth: NewBearer: WithSecretHeader is for a Forwarder
clientauth: NewBearer: WithRequiredIdentity is for a Forwarder
clientauth: NewBearer: WithWithheldHeaders is for a Forwarder
clientauth: NewBearer: WithPassedHeaders is for a Forwarder`},
		"one of them for a cookie": {func() (any, error) {
			return clientauth.NewCookie("session", clientauth.StaticToken("t0k3n"), clientauth.WithRequiredIdentity())
		}, "clientauth: NewCookie: WithRequiredIdentity is for a Forwarder"},
		"a header that is none":       {forwarder(clientauth.WithWithheldHeaders("x-token", "a b", "")), "clientauth: WithWithheldHeaders: \"a b\" is no name of a header\nclientauth: WithWithheldHeaders: \"\" is no name of a header"},
		"a header that goes along":    {forwarder(clientauth.WithPassedHeaders("Cookie", "x-token")), `clientauth: WithPassedHeaders: "x-token" is not withheld`},
		"a header that is to do both": {forwarder(clientauth.WithPassedHeaders("Cookie"), clientauth.WithWithheldHeaders("COOKIE")), `clientauth: WithWithheldHeaders: "COOKIE" is passed by WithPassedHeaders`},
		"a short secret":              {forwarder(nil, clientauth.WithSharedSecret("t0k3n")), "clientauth: WithSharedSecret: secret 1 has 5 bytes, want 32 to 1024"},
		"a claim without a name":      {forwarder(clientauth.WithForwardedClaims("org", "")), "clientauth: WithForwardedClaims: an empty name"},
		"a bad header":                {forwarder(clientauth.WithSecretHeader("a b")), `clientauth: WithSecretHeader: "a b" cannot hold a secret`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			made, err := test.make()
			if !reflect.ValueOf(made).IsNil() || err == nil || err.Error() != test.want {
				t.Errorf("err = %v, want %v", err, test.want)
			}
		})
	}
}

func TestClientsAreNotPrinted(t *testing.T) {
	const token = "t0k3n"
	source := clientauth.StaticToken(token)
	bearer, cookie := newBearer(t, source, clientauth.WithInsecureTransport()), newCookie(t, source)
	onward := newForwarder(t, clientauth.WithSharedSecret(sharedSecret), clientauth.WithInsecureTransport())
	var options []grpc.CallOption
	var ctxs []context.Context
	observe := grpc.WithChainUnaryInterceptor(func(
		ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
	) error {
		options, ctxs = append(options, opts...), append(ctxs, ctx)
		return invoker(ctx, method, req, reply, cc, opts...)
	})
	dial := slices.Concat(onward.DialOptions(), bearer.DialOptions(), []grpc.DialOption{observe})
	if err := kinds["unary"](onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}), serveTo(t, &service{}, dial...), grpc.PerRPCCredentials(bearer)); err != nil {
		t.Fatal(err)
	}
	for want, v := range map[string]any{
		"StaticToken": source, "Credentials": bearer, "Forwarder": onward, "{Credentials}": options[len(options)-1],
		"&{[{Credentials}] 1}": &struct{ A, B any }{options[len(options)-1:], 1},
	} {
		if got := fmt.Sprint(v); got != want {
			t.Errorf("printed %s, want %s", got, want)
		}
	}
	type holder struct {
		Exported any
		hidden   any
	}
	for _, v := range []any{source, bearer, cookie, onward, options, ctxs, onward.DialOptions(), bearer.DialOptions()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, printed := range []any{v, holder{v, v}, &holder{v, v}, []any{v}} {
				got := fmt.Sprintf(verb, printed)
				for _, secret := range []string{token, sharedSecret, fmt.Sprintf("%x", token), fmt.Sprintf("%x", sharedSecret)} {
					if strings.Contains(got, secret) {
						t.Errorf("%s: %s", verb, got)
					}
				}
			}
		}
	}
}

// FuzzCookie: what is sent is one cookie, and the one that was meant.
func FuzzCookie(f *testing.F) {
	f.Add("session", "t0k3n")
	f.Add("a;b", "c")
	f.Add("a", "b; c=d")
	f.Fuzz(func(t *testing.T, name, value string) {
		c, err := clientauth.NewCookie(name, clientauth.StaticToken(value))
		if err != nil {
			return
		}
		header, err := c.GetRequestMetadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cookies, err := http.ParseCookie(header["cookie"])
		if err != nil || len(cookies) != 1 || cookies[0].Name != name || cookies[0].Value != value {
			t.Errorf("%q: %v, %v", header, cookies, err)
		}
	})
}
