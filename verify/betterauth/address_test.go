package betterauth_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/grpc-sessionauth/sessionauth/cache"
	"github.com/grpc-sessionauth/sessionauth/interceptor"
	"github.com/grpc-sessionauth/sessionauth/verify/betterauth"
	"github.com/grpc-sessionauth/sessionauth/verify/internal/standin"
)

// told returns the addresses that better-auth was told, in order.
func told(t *testing.T, opt betterauth.Option, calls func(a *interceptor.Authenticator)) []string {
	t.Helper()
	s := serve(t, says(200, good()))
	v := newVerifier(t, s.URL, opt)
	calls(newAuth(t, v, interceptor.WithKeyHeaders(v.KeyHeaders()...), interceptor.WithKeyContext(betterauth.KeyPeer),
		interceptor.WithCache(cache.Policy{TTL: time.Minute})))
	var all []string
	for _, r := range s.Asked() {
		all = append(all, strings.Join(r.Header.Values("X-Forwarded-For"), "|"))
	}
	return all
}

func TestTheClientsAddressIsTheOneThatAProxyWrote(t *testing.T) {
	for _, test := range []struct {
		proxies     int
		given, want string
	}{
		{1, "203.0.113.9", "203.0.113.9"},
		{1, "203.0.113.9:4711", "203.0.113.9"},
		{1, "2001:db8::1", "2001:db8::1"},
		{1, "[2001:db8::1]:443", "2001:db8::1"},
		{1, "::ffff:203.0.113.9", "203.0.113.9"},
		{1, "fe80::1%eth0", "fe80::1"},
		{1, "made up, 203.0.113.9", "203.0.113.9"},
		{1, "198.51.100.1,203.0.113.9 ", "203.0.113.9"},
		{2, "198.51.100.1, 203.0.113.9, 10.0.0.1", "203.0.113.9"},
		{2, "10.0.0.1", ""},
		{1, "", ""},
		{1, "203.0.113.9, unknown", ""},
		{1, "203.0.113.9; a", ""},
	} {
		got := told(t, betterauth.WithClientAddress("x-forwarded-for", test.proxies), func(a *interceptor.Authenticator) {
			header := byBearer(token)
			header.Set("X-Forwarded-For", test.given)
			header.Set("X-Real-IP", "198.51.100.1") // the client's own idea
			for range 2 {
				if _, err := a.Authenticate(t.Context(), header); err != nil {
					t.Fatal(err)
				}
			}
		})
		if !slices.Equal(got, []string{test.want}) {
			t.Errorf("%d proxies, %q: told %q, want %q", test.proxies, test.given, got, test.want)
		}
	}
}

func TestThePeersAddressIsToldWithACacheToo(t *testing.T) {
	got := told(t, betterauth.WithPeerAddress(), func(a *interceptor.Authenticator) {
		for _, from := range []string{"203.0.113.9:1", "203.0.113.9:2", "[2001:db8::1]:1", "/a/socket"} {
			var address net.Addr = &net.UnixAddr{Name: from, Net: "unix"}
			if tcp, err := netip.ParseAddrPort(from); err == nil {
				address = net.TCPAddrFromAddrPort(tcp)
			}
			ctx := peer.NewContext(context.WithoutCancel(t.Context()), &peer.Peer{Addr: address})
			header := byBearer(token)
			header.Set("X-Forwarded-For", "198.51.100.1")
			if _, err := a.Authenticate(ctx, header); err != nil {
				t.Fatal(err)
			}
		}
	})
	// Another port of the same address is no other client.
	if want := []string{"203.0.113.9", "2001:db8::1", ""}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

// TestALimitOnOneAddressKeepsNobodyElseOut: better-auth counts by address where it is told one,
// and anybody can use theirs up.
func TestALimitOnOneAddressKeepsNobodyElseOut(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-For") == "198.51.100.66" {
			says(429, "{}", "X-Retry-After", "9")(w, r)
			return
		}
		says(200, good())(w, r)
	})
	v := newVerifier(t, s.URL, betterauth.WithClientAddress("X-Real-IP", 1))
	a := newAuth(t, v, interceptor.WithKeyHeaders(v.KeyHeaders()...), interceptor.WithCache(cache.Policy{TTL: time.Minute}))
	call := func(address string) error {
		header := byBearer(token)
		header.Set("X-Real-IP", address)
		_, err := a.Authenticate(t.Context(), header)
		return err
	}
	if got := standin.OutcomeOf(call("198.51.100.66")); got != unavailable.After(9*time.Second) {
		t.Errorf("who used up theirs: %+v", got)
	}
	if err := call("203.0.113.9"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
}

func TestNoAddressIsToldByDefault(t *testing.T) {
	got := told(t, nil, func(a *interceptor.Authenticator) {
		header := byBearer(token)
		header.Set("X-Forwarded-For", "198.51.100.1")
		if _, err := a.Authenticate(peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(203, 0, 113, 9)}}), header); err != nil {
			t.Fatal(err)
		}
	})
	if !slices.Equal(got, []string{""}) {
		t.Errorf("told %q", got)
	}
}
