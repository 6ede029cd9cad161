package peers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/grpc-sessionauth/sessionauth/internal/peers"
)

func trusting(names ...string) peers.Trust { return peers.Trust{Option: "With", Names: names} }

func newSet(t *testing.T, trusts ...peers.Trust) peers.Set {
	t.Helper()
	s, err := peers.New(trusts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// certified is a certificate for a URI or a DNS name. raw tells two of them apart.
func certified(raw, name string) *x509.Certificate {
	c := &x509.Certificate{Raw: []byte(raw)}
	if u, err := url.Parse(name); err == nil && u.Scheme != "" {
		c.URIs = []*url.URL{u}
	} else {
		c.DNSNames = []string{name}
	}
	return c
}

func TestNamesAtTheBoundsOfTheirLength(t *testing.T) {
	const scheme = "spiffe://"
	fill := func(s string, length int) string { return s + strings.Repeat("a", length-len(s)) }
	domain := scheme + strings.Repeat("d", 255)
	label := strings.Repeat("a", 63)
	dns := strings.Join([]string{label, label, label, label}, ".")[:253]
	for name, test := range map[string]struct {
		name string
		want bool
	}{
		"an ID of 2048 bytes":                 {fill(scheme+"trust.example/", 2048), true},
		"an ID of 2049 bytes":                 {fill(scheme+"trust.example/", 2049), false},
		"a beginning of 2048 bytes":           {fill(scheme+"trust.example/", 2048) + "/*", true},
		"a beginning of 2049 bytes":           {fill(scheme+"trust.example/", 2049) + "/*", false},
		"a trust domain of 255 bytes":         {domain + "/a", true},
		"a trust domain of 256 bytes":         {domain + "d/a", false},
		"a whole trust domain of 255 bytes":   {domain + "/*", true},
		"a whole trust domain of 256 bytes":   {domain + "d/*", false},
		"a DNS name of 253 bytes":             {dns, true},
		"a DNS name of 254 bytes":             {dns + "a", false},
		"a trust domain of one byte, no ID":   {scheme + "d", false},
		"a trust domain of one byte, an ID":   {scheme + "d/a", true},
		"a trust domain of no byte":           {scheme + "/a", false},
		"a segment of no byte":                {scheme + "d/", false},
		"a SPIFFE ID in another case":         {"SPIFFE://d/a", false},
		"a SPIFFE ID without its two slashes": {"spiffe:d/a", false},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := peers.New(trusting(test.name))
			if (err == nil) != test.want {
				t.Fatalf("err = %v", err)
			}
			if cut, all := strings.CutSuffix(test.name, "/*"); test.want && !all && !s.Include([][]*x509.Certificate{{certified("leaf", cut)}}) {
				t.Error("it is not trusted itself")
			}
		})
	}
	t.Run("certificates are bounded as names are", func(t *testing.T) {
		s := newSet(t, trusting("spiffe://trust.example/*"))
		for length, want := range map[int]bool{2048: true, 2049: false} {
			if got := s.Include([][]*x509.Certificate{{certified("leaf", fill(scheme+"trust.example/", length))}}); got != want {
				t.Errorf("%d bytes: %t", length, got)
			}
		}
	})
}

func TestAuthoritiesSignForTheirOwnNames(t *testing.T) {
	ours, theirs, between := certified("ours", "ca.ours"), certified("theirs", "ca.theirs"), certified("between", "ca.between")
	leaf := certified("leaf", "spiffe://ours.example/a")
	chain := func(certs ...*x509.Certificate) []*x509.Certificate { return certs }
	bound := func(name string, authorities ...*x509.Certificate) peers.Trust {
		return peers.Trust{Option: "With", Names: []string{name}, Bound: true, Authorities: authorities}
	}
	for name, test := range map[string]struct {
		trusted []peers.Trust
		chains  [][]*x509.Certificate
		want    bool
	}{
		"the root":                        {[]peers.Trust{bound("spiffe://ours.example/*", ours)}, [][]*x509.Certificate{chain(leaf, ours)}, true},
		"the other root":                  {[]peers.Trust{bound("spiffe://ours.example/*", ours)}, [][]*x509.Certificate{chain(leaf, theirs)}, false},
		"one below it":                    {[]peers.Trust{bound("spiffe://ours.example/*", between)}, [][]*x509.Certificate{chain(leaf, between, theirs)}, true},
		"another below the same":          {[]peers.Trust{bound("spiffe://ours.example/*", between)}, [][]*x509.Certificate{chain(leaf, theirs)}, false},
		"the second authority":            {[]peers.Trust{bound("spiffe://ours.example/*", theirs, ours)}, [][]*x509.Certificate{chain(leaf, ours)}, true},
		"the second chain":                {[]peers.Trust{bound("spiffe://ours.example/*", ours)}, [][]*x509.Certificate{chain(leaf, theirs), chain(leaf, ours)}, true},
		"the second option":               {[]peers.Trust{bound("spiffe://theirs.example/*", theirs), bound("spiffe://ours.example/*", ours)}, [][]*x509.Certificate{chain(leaf, ours)}, true},
		"one option's name, other's root": {[]peers.Trust{bound("spiffe://theirs.example/*", theirs), bound("spiffe://ours.example/*", ours)}, [][]*x509.Certificate{chain(leaf, theirs)}, false},
		"bound and not bound":             {[]peers.Trust{bound("spiffe://ours.example/*", ours), trusting("spiffe://ours.example/a")}, [][]*x509.Certificate{chain(leaf, theirs)}, true},
		"a root that is a copy":           {[]peers.Trust{bound("spiffe://ours.example/*", certified("ours", "ca.ours"))}, [][]*x509.Certificate{chain(leaf, ours)}, true},
		"a root of the same name":         {[]peers.Trust{bound("spiffe://ours.example/*", certified("forged", "ca.ours"))}, [][]*x509.Certificate{chain(leaf, ours)}, false},
		"the name is the root's":          {[]peers.Trust{bound("ca.ours", ours)}, [][]*x509.Certificate{chain(leaf, ours)}, false},
		"no chain":                        {[]peers.Trust{bound("spiffe://ours.example/*", ours)}, nil, false},
		"an empty chain":                  {[]peers.Trust{trusting("spiffe://ours.example/*")}, [][]*x509.Certificate{{}}, false},
		"nobody is trusted":               {nil, [][]*x509.Certificate{chain(leaf, ours)}, false},
		"an option without names":         {[]peers.Trust{bound("spiffe://theirs.example/*", ours), trusting()}, [][]*x509.Certificate{chain(leaf, ours)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSet(t, test.trusted...)
			ctx := peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{
				State: tls.ConnectionState{PeerCertificates: chain(leaf), VerifiedChains: test.chains},
			}})
			if s.Include(test.chains) != test.want || s.Called(ctx) != test.want {
				t.Errorf("Include: %t, Called: %t", s.Include(test.chains), s.Called(ctx))
			}
		})
	}
}

func TestCallsWithoutACertificate(t *testing.T) {
	s := newSet(t, trusting("orders.internal"))
	for name, ctx := range map[string]context.Context{
		"no peer":           t.Context(),
		"no authentication": peer.NewContext(t.Context(), &peer.Peer{}),
		"no TLS":            peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{}}),
	} {
		t.Run(name, func(t *testing.T) {
			if s.Called(ctx) {
				t.Error("trusted")
			}
		})
	}
}

func TestNewRefusesBadTrust(t *testing.T) {
	const want = `With: %q: want "spiffe://trust.domain/path", the same with "/*" at its end, or a DNS name`
	authority := []*x509.Certificate{certified("ours", "ca.ours")}
	for name, test := range map[string]struct {
		trusts []peers.Trust
		want   string
	}{
		"a bad name":            {[]peers.Trust{trusting("*")}, strings.Replace(want, "%q", `"*"`, 1)},
		"two bad names":         {[]peers.Trust{trusting("*"), trusting("orders", "")}, strings.Replace(want, "%q", `"*"`, 1) + "\n" + strings.Replace(want, "%q", `""`, 1)},
		"no authority":          {[]peers.Trust{{Option: "With", Names: []string{"orders"}, Bound: true}}, "With: no authority, or a nil one"},
		"a nil authority":       {[]peers.Trust{{Option: "With", Names: []string{"orders"}, Bound: true, Authorities: append(authority, nil)}}, "With: no authority, or a nil one"},
		"no authority, no name": {[]peers.Trust{{Option: "With", Names: []string{"*"}, Bound: true}}, "With: no authority, or a nil one\n" + strings.Replace(want, "%q", `"*"`, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := peers.New(test.trusts...); err == nil || err.Error() != test.want {
				t.Errorf("err = %v, want %v", err, test.want)
			}
		})
	}
}

func TestASetIsItsOwn(t *testing.T) {
	authorities := []*x509.Certificate{certified("ours", "ca.ours")}
	s := newSet(t, peers.Trust{Names: []string{"orders"}, Bound: true, Authorities: authorities})
	authorities[0] = certified("theirs", "ca.theirs")
	if leaf := certified("leaf", "orders"); s.Include([][]*x509.Certificate{{leaf, authorities[0]}}) {
		t.Error("an authority was exchanged afterwards")
	}
}

// FuzzTrustedSPIFFE: whoever is trusted is of the trust domain that the pattern names,
// and below its path.
func FuzzTrustedSPIFFE(f *testing.F) {
	for _, pattern := range []string{"spiffe://trust.example/*", "spiffe://trust.example/ns/prod/*", "spiffe://trust.example/ns/prod"} {
		for _, id := range []string{
			"spiffe://trust.example/ns/prod", "spiffe://trust.example/ns/prod/a", "spiffe://trust.example.evil/ns/prod/a", "SPIFFE://trust.example/ns/prod/a",
			"spiffe://trust.example/ns/prod/../a", "spiffe://trust.example/ns/prod/%2e%2e/a", "spiffe:trust.example/ns", "spiffe://a@trust.example/b",
		} {
			f.Add(pattern, id)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, id string) {
		u, err := url.Parse(id)
		if err != nil || u.Scheme == "" {
			return
		}
		s, err := peers.New(trusting(pattern))
		if err != nil || !s.Include([][]*x509.Certificate{{{URIs: []*url.URL{u}}}}) {
			return
		}
		p, err := url.Parse(pattern)
		if err != nil {
			t.Fatalf("%q trusts %q: %v", pattern, id, err)
		}
		below, all := strings.CutSuffix(p.Path, "*")
		if u.Scheme != "spiffe" || u.Host != p.Host || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
			slices.Contains(strings.Split(u.Path, "/"), "..") ||
			all && (!strings.HasPrefix(u.Path, below) || u.Path == below) || !all && u.Path != p.Path {
			t.Errorf("%q trusts %q", pattern, id)
		}
	})
}
