package sessionauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/grpc-sessionauth/sessionauth/authcontext"
	"github.com/grpc-sessionauth/sessionauth/clientauth"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	with [][]byte // what its clients have to send along
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// below is an authority that a has signed for. It sends itself along with what it issues.
func (a *authority) below(t *testing.T) *authority {
	t.Helper()
	own := a.issue(t, func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = "below", true, true, x509.KeyUsageCertSign, nil
	})
	cert, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, own.PrivateKey.(*ecdsa.PrivateKey), own.Certificate[:1]}
}

// issue returns a certificate for these names.
func (a *authority) issue(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: append([][]byte{der}, a.with...), PrivateKey: key}
}

// uris is a change that makes a certificate one for these URIs.
func uris(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, name := range names {
			u, err := url.Parse(name)
			if err != nil {
				panic(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

func dnsNames(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

// serveTLS starts srv on loopback, over TLS. The func it returns dials it with a client
// certificate, if there is one.
func serveTLS(
	t *testing.T, srv grpc_testing.TestServiceServer, ca *authority, config *tls.Config, opts ...grpc.ServerOption,
) func(t *testing.T, own *tls.Certificate, opts ...grpc.DialOption) grpc_testing.TestServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Certificates = []tls.Certificate{ca.issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })}
	server := grpc.NewServer(append(opts, grpc.Creds(credentials.NewTLS(config)))...)
	grpc_testing.RegisterTestServiceServer(server, srv)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	return func(t *testing.T, own *tls.Certificate, opts ...grpc.DialOption) grpc_testing.TestServiceClient {
		t.Helper()
		client := &tls.Config{RootCAs: ca.pool()}
		if own != nil { // whatever authorities the server names
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own, nil }
		}
		conn, err := grpc.NewClient(listener.Addr().String(), append(opts, grpc.WithTransportCredentials(credentials.NewTLS(client)))...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return grpc_testing.NewTestServiceClient(conn)
	}
}

func TestTrustedPeers(t *testing.T) {
	const orders = "spiffe://trust.example/ns/prod/orders"
	tests := map[string]struct {
		trusted []string
		cert    func(*x509.Certificate)
		want    bool
	}{
		"the SPIFFE ID":                      {[]string{orders}, uris(orders), true},
		"the second SPIFFE ID":               {[]string{"spiffe://trust.example/a", orders}, uris(orders), true},
		"another trust domain":               {[]string{orders}, uris("spiffe://other.example/ns/prod/orders"), false},
		"a trust domain that goes on":        {[]string{"spiffe://trust.example/*"}, uris("spiffe://trust.example.evil/ns/prod/orders"), false},
		"an exact one that goes on":          {[]string{orders}, uris("spiffe://trust.example.evil/ns/prod/orders"), false},
		"a trust domain of a prefix":         {[]string{"spiffe://trust.example/*"}, uris("spiffe://trust.exampl/ns/prod/orders"), false},
		"a longer path":                      {[]string{orders}, uris(orders + "/admin"), false},
		"a path that goes on":                {[]string{orders}, uris(orders + "2"), false},
		"another case":                       {[]string{orders}, uris("spiffe://trust.example/ns/prod/Orders"), false},
		"anyone of the trust domain":         {[]string{"spiffe://trust.example/*"}, uris(orders), true},
		"the trust domain itself":            {[]string{"spiffe://trust.example/*"}, uris("spiffe://trust.example"), false},
		"anyone below a path":                {[]string{"spiffe://trust.example/ns/prod/*"}, uris(orders), true},
		"the path itself":                    {[]string{"spiffe://trust.example/ns/prod/*"}, uris("spiffe://trust.example/ns/prod"), false},
		"a path whose segment goes on":       {[]string{"spiffe://trust.example/ns/prod/*"}, uris("spiffe://trust.example/ns/production/orders"), false},
		"a way around":                       {[]string{"spiffe://trust.example/ns/prod/*"}, uris("spiffe://trust.example/ns/prod/../dev/orders"), false},
		"an escaped way around":              {[]string{"spiffe://trust.example/ns/prod/*"}, uris("spiffe://trust.example/ns/prod/%2e%2e/dev"), false},
		"an empty segment":                   {[]string{"spiffe://trust.example/ns/prod/*"}, uris("spiffe://trust.example/ns/prod/"), false},
		"a port":                             {[]string{"spiffe://trust.example/*"}, uris("spiffe://trust.example:443/ns/prod/orders"), false},
		"a user":                             {[]string{"spiffe://trust.example/*"}, uris("spiffe://u@trust.example/ns/prod/orders"), false},
		"a query":                            {[]string{"spiffe://trust.example/*"}, uris(orders + "?a"), false},
		"two URIs":                           {[]string{orders}, uris(orders, "spiffe://trust.example/ns/prod/other"), false},
		"no SPIFFE ID":                       {[]string{orders}, uris("https://trust.example/ns/prod/orders"), false},
		"a SPIFFE ID as a DNS name":          {[]string{orders}, dnsNames(orders), false},
		"the DNS name":                       {[]string{"orders.internal"}, dnsNames("orders.internal"), true},
		"the DNS name in another case":       {[]string{"Orders.Internal"}, dnsNames("ORDERS.internal"), true},
		"the DNS name, the second":           {[]string{"orders.internal"}, dnsNames("a.internal", "orders.internal"), true},
		"a DNS name and two URIs":            {[]string{"orders.internal"}, func(c *x509.Certificate) { dnsNames("orders.internal")(c); uris(orders, "a://b")(c) }, true},
		"a DNS name that goes on":            {[]string{"orders.internal"}, dnsNames("orders.internal.evil.example"), false},
		"a DNS name below":                   {[]string{"orders.internal"}, dnsNames("evil.orders.internal"), false},
		"a wildcard certificate":             {[]string{"orders.internal"}, dnsNames("*.internal"), false},
		"a DNS name as the common name":      {[]string{"orders.internal"}, func(c *x509.Certificate) { c.Subject.CommonName = "orders.internal" }, false},
		"a SPIFFE ID as the common name":     {[]string{orders}, func(c *x509.Certificate) { c.Subject.CommonName = orders }, false},
		"a DNS name as the host of a URI":    {[]string{"orders.internal"}, uris("spiffe://orders.internal/a"), false},
		"a DNS name as an e-mail address":    {[]string{"orders.internal"}, func(c *x509.Certificate) { c.EmailAddresses = []string{"orders.internal"} }, false},
		"a certificate of another authority": {[]string{orders}, func(c *x509.Certificate) { uris(orders)(c); c.IsCA, c.BasicConstraintsValid = true, true }, false},
		"a certificate without names":        {[]string{orders, "orders.internal"}, func(*x509.Certificate) {}, false},
	}
	ca := newAuthority(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, interceptor.WithTrustedPeers(test.trusted...))
			dial := serveTLS(t, &service{}, ca, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}, g.ServerOptions()...)
			own := ca.issue(t, test.cert)
			client := dial(t, &own, newForwarder(t).DialOptions()...)
			r, err := client.UnaryCall(onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}), &grpc_testing.SimpleRequest{})
			switch {
			case !test.want:
				untrusted.check(t, err)
			case err != nil || string(r.GetPayload().GetBody()) != "ann":
				t.Errorf("the service saw %q, %v", r.GetPayload().GetBody(), err)
			}
		})
	}
}

func TestPeersThatNobodyVerified(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	orders := uris("spiffe://trust.example/orders")
	genuine, forged := ca.issue(t, orders), other.issue(t, orders)
	tests := map[string]struct {
		auth tls.ClientAuthType
		own  *tls.Certificate
		want codes.Code
	}{
		"a certificate asked for":                  {tls.RequestClientCert, &genuine, codes.Unauthenticated},
		"any certificate":                          {tls.RequireAnyClientCert, &genuine, codes.Unauthenticated},
		"a forged one, asked for":                  {tls.RequestClientCert, &forged, codes.Unauthenticated},
		"any certificate, a forged one":            {tls.RequireAnyClientCert, &forged, codes.Unauthenticated},
		"none asked for":                           {tls.NoClientCert, &genuine, codes.Unauthenticated},
		"none given":                               {tls.VerifyClientCertIfGiven, nil, codes.Unauthenticated},
		"verified if given":                        {tls.VerifyClientCertIfGiven, &genuine, codes.OK},
		"a forged one, verified if given":          {tls.VerifyClientCertIfGiven, &forged, codes.Unavailable}, // by crypto/tls
		"of a wrong authority, verified":           {tls.RequireAndVerifyClientCert, &forged, codes.Unavailable},
		"of the right authority, and verified too": {tls.RequireAndVerifyClientCert, &genuine, codes.OK},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
				g := newGateway(t, interceptor.WithTrustedPeers("spiffe://trust.example/*"))
				srv := &service{}
				dial := serveTLS(t, srv, ca, &tls.Config{ClientAuth: test.auth, ClientCAs: ca.pool()}, g.ServerOptions()...)
				ctx := onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}, "x-forwarded-client-cert", "URI=spiffe://trust.example/orders")
				subject, err := call(ctx, dial(t, test.own, newForwarder(t).DialOptions()...), "ann")
				switch {
				case test.want == codes.OK && (err != nil || subject != "ann"):
					t.Errorf("the service saw %q, %v", subject, err)
				case test.want == codes.Unauthenticated:
					untrusted.check(t, err)
				case status.Code(err) != test.want:
					t.Errorf("err = %v", err)
				}
				if test.want != codes.OK && srv.lastSeen() != nil {
					t.Error("a handler ran")
				}
			})
		})
	}
}

func TestAuthoritiesSpeakForTheirOwnNames(t *testing.T) {
	ours, partner := newAuthority(t), newAuthority(t)
	both := ours.pool()
	both.AddCert(partner.cert)
	below := ours.below(t)
	const orders, gateway = "spiffe://trust.example/orders", "spiffe://partner.example/gateway"
	bound := []interceptor.Option{
		interceptor.WithTrustedPeersOf([]*x509.Certificate{ours.cert}, "spiffe://trust.example/*", "orders.internal"),
		interceptor.WithTrustedPeersOf([]*x509.Certificate{partner.cert}, gateway),
	}
	free := []interceptor.Option{interceptor.WithTrustedPeers("spiffe://trust.example/*")}
	tests := map[string]struct {
		trusted []interceptor.Option
		signer  *authority
		cert    func(*x509.Certificate)
		want    bool
	}{
		"ours for our trust domain":            {bound, ours, uris(orders), true},
		"ours for our DNS name":                {bound, ours, dnsNames("orders.internal"), true},
		"one below ours for our trust domain":  {bound, below, uris(orders), true},
		"the partner's for its gateway":        {bound, partner, uris(gateway), true},
		"the partner's for our trust domain":   {bound, partner, uris(orders), false},
		"the partner's for our DNS name":       {bound, partner, dnsNames("orders.internal"), false},
		"ours for the partner's gateway":       {bound, ours, uris(gateway), false},
		"the partner's for another of its own": {bound, partner, uris("spiffe://partner.example/orders"), false},
		"any authority where none is named":    {free, partner, uris(orders), true},
		"one below that is named": {
			[]interceptor.Option{interceptor.WithTrustedPeersOf([]*x509.Certificate{below.cert}, orders)}, below, uris(orders), true,
		},
		"the one above the named one": {
			[]interceptor.Option{interceptor.WithTrustedPeersOf([]*x509.Certificate{below.cert}, orders)}, ours, uris(orders), false,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: both}
			dial := serveTLS(t, &service{}, ours, config, newGateway(t, test.trusted...).ServerOptions()...)
			own := test.signer.issue(t, test.cert)
			r, err := dial(t, &own, newForwarder(t).DialOptions()...).UnaryCall(
				onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}), &grpc_testing.SimpleRequest{})
			switch {
			case !test.want:
				untrusted.check(t, err)
			case err != nil || string(r.GetPayload().GetBody()) != "ann":
				t.Errorf("the service saw %q, %v", r.GetPayload().GetBody(), err)
			}
		})
	}
	t.Run("no authority is named", func(t *testing.T) {
		for _, none := range [][]*x509.Certificate{nil, {nil}} {
			g, err := interceptor.NewGatewayAuth(interceptor.WithTrustedPeersOf(none, orders))
			if g != nil || err == nil || err.Error() != "interceptor: WithTrustedPeersOf: no authority, or a nil one" {
				t.Errorf("err = %v", err)
			}
		}
	})
}

func TestNobodysSecretReachesAHandler(t *testing.T) {
	ca := newAuthority(t)
	own := ca.issue(t, dnsNames("orders.internal"))
	for name, test := range map[string]struct {
		header string
		opts   []interceptor.Option
	}{
		"under the name it has by default": {"x-gateway-secret", nil},
		"under another name":               {"x-our-secret", []interceptor.Option{interceptor.WithSecretHeader("X-Our-Secret")}},
		"on a skipped method":              {"x-gateway-secret", []interceptor.Option{interceptor.WithSkipMethods("*")}},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, call func(context.Context, grpc_testing.TestServiceClient, string) (string, error)) {
				srv := &service{}
				g := newGateway(t, append(test.opts, interceptor.WithTrustedPeers("orders.internal"))...)
				dial := serveTLS(t, srv, ca, &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}, g.ServerOptions()...)
				under := strings.ReplaceAll(test.header, "-", "_")
				_, err := call(with(t, "x-auth-subject", "ann", "x-kept", "kept", test.header, gatewaySecret, test.header+"-bin", gatewaySecret,
					under, gatewaySecret, "grpcgateway-"+test.header, gatewaySecret), dial(t, &own), "ann")
				if name != "on a skipped method" && err != nil {
					t.Fatal(err)
				}
				for key, values := range srv.lastSeen() {
					if slices.Contains(values, gatewaySecret) {
						t.Errorf("the handler saw %s", key)
					}
				}
				if srv.lastSeen().Get("x-kept") == nil {
					t.Error("the handler saw nothing else either")
				}
			})
		})
	}
}

func TestSecretOrPeerWillDo(t *testing.T) {
	ca := newAuthority(t)
	g := newGateway(t, interceptor.WithTrustedPeers("orders.internal"), interceptor.WithSharedSecrets(gatewaySecret))
	dial := serveTLS(t, &service{}, ca, &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool()}, g.ServerOptions()...)
	own, others := ca.issue(t, dnsNames("orders.internal")), ca.issue(t, dnsNames("others.internal"))
	tests := map[string]struct {
		own    *tls.Certificate
		secret []clientauth.Option
		want   bool
	}{
		"the certificate":                   {&own, nil, true},
		"the secret":                        {nil, []clientauth.Option{clientauth.WithSharedSecret(gatewaySecret)}, true},
		"the secret, another certificate":   {&others, []clientauth.Option{clientauth.WithSharedSecret(gatewaySecret)}, true},
		"the certificate, another secret":   {&own, []clientauth.Option{clientauth.WithSharedSecret(newSecret)}, true},
		"another certificate, other secret": {&others, []clientauth.Option{clientauth.WithSharedSecret(newSecret)}, false},
		"neither":                           {nil, nil, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := dial(t, test.own, newForwarder(t, test.secret...).DialOptions()...)
			r, err := client.UnaryCall(onBehalfOf(t, &authcontext.AuthContext{Subject: "ann"}), &grpc_testing.SimpleRequest{})
			if !test.want {
				untrusted.check(t, err)
			} else if err != nil || string(r.GetPayload().GetBody()) != "ann" {
				t.Errorf("the service saw %q, %v", r.GetPayload().GetBody(), err)
			}
		})
	}
}

func TestAuthenticateKnowsPeers(t *testing.T) {
	ca := newAuthority(t)
	own := ca.issue(t, dnsNames("orders.internal"))
	leaf, err := x509.ParseCertificate(own.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, interceptor.WithTrustedPeers("orders.internal"))
	header := map[string][]string{"X-Auth-Subject": {"ann"}}
	for name, test := range map[string]struct {
		state tls.ConnectionState
		want  bool
	}{
		"a chain":                          {tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}}}, true},
		"no chain":                         {tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}, false},
		"an empty chain":                   {tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{}}}, false},
		"a chain with the name higher up":  {tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{ca.cert, leaf}}}, false},
		"a server name that looks like it": {tls.ConnectionState{ServerName: "orders.internal"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: test.state}})
			found, err := g.Authenticate(ctx, header)
			ac := found.AuthContext()
			if !test.want {
				untrusted.check(t, err)
			} else if err != nil || ac.Subject != "ann" {
				t.Errorf("%v, %v", ac, err)
			}
		})
	}
	for name, ctx := range map[string]context.Context{
		"no peer":      t.Context(),
		"no TLS":       peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}),
		"no auth info": peer.NewContext(t.Context(), &peer.Peer{}),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.Authenticate(ctx, header)
			untrusted.check(t, err)
		})
	}
}
