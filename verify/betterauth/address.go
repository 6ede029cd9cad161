package betterauth

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"google.golang.org/grpc/peer"

	authmd "github.com/grpc-sessionauth/sessionauth/metadata"
)

// address says where the address of the client is; the zero value: it is not told.
type address struct {
	header  string
	proxies int
	peer    bool
}

// WithClientAddress tells better-auth the address of the client, as X-Forwarded-For.
// Without it better-auth in production, which allows 100 questions in 10 s from one
// address, counts all calls of all users as one client's.
//
// The address is in this header of the call, such as X-Forwarded-For or X-Real-Ip, which
// that many proxies of yours, at least one, have each added theirs to: with one it is the
// last address in the header, with two the last but one. What stands before those the client
// may have written. A call on which there is no address is verified without one.
//
// The interceptor must be told, or it drops the header: [Verifier.KeyHeaders] is for its
// WithKeyHeaders. One session seen from two addresses is then verified twice. A header that is none,
// or no proxy, makes [New] fail. By default none is sent. Of WithClientAddress and
// [WithPeerAddress] the last one counts.
func WithClientAddress(header string, proxies int) Option {
	return optionFunc(func(c *config) {
		c.address = address{header: http.CanonicalHeaderKey(header), proxies: proxies}
		if !authmd.Forwardable(header) {
			c.errs = append(c.errs, fmt.Errorf("%s: WithClientAddress: %q is no name of a header", name, header))
		}
		if proxies < 1 {
			c.errs = append(c.errs, fmt.Errorf("%s: WithClientAddress: want one proxy or more, got %d", name, proxies))
		}
	})
}

// WithPeerAddress is [WithClientAddress] for a server without a proxy in front of it: the
// address is that of the gRPC peer. With a cache the interceptor must be told, by
// interceptor.WithKeyContext(betterauth.KeyPeer).
func WithPeerAddress() Option {
	return optionFunc(func(c *config) { c.address = address{peer: true} })
}

// KeyPeer carries the IP address of the peer into a verification that calls share, for
// interceptor.WithKeyContext: a session seen from two addresses is verified twice. Of
// other networks than IP it carries nothing.
func KeyPeer(from, to context.Context) (context.Context, string) {
	ip, ok := peerAddress(from)
	if !ok {
		return to, ""
	}
	text := ip.String()
	return peer.NewContext(to, &peer.Peer{Addr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))}), text
}

func peerAddress(ctx context.Context) (netip.Addr, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return netip.Addr{}, false
	}
	return parseAddress(p.Addr.String())
}

// KeyHeaders returns the headers beside the credentials that Verify reads, for
// interceptor.WithKeyHeaders: that of [WithClientAddress], or none.
func (v *Verifier) KeyHeaders() []string {
	if v.address.header == "" {
		return nil
	}
	return []string{v.address.header}
}

// find returns the address that better-auth counts the request under.
func (a address) find(ctx context.Context, header http.Header) (string, bool) {
	var ip netip.Addr
	var ok bool
	switch {
	case a.peer:
		ip, ok = peerAddress(ctx)
	case a.header != "":
		hops := strings.Split(strings.Join(header.Values(a.header), ","), ",")
		if len(hops) >= a.proxies {
			ip, ok = parseAddress(strings.TrimSpace(hops[len(hops)-a.proxies]))
		}
	}
	return ip.String(), ok
}

// parseAddress returns an IP address that is written with or without a port.
func parseAddress(text string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	ip, err := netip.ParseAddr(text)
	return ip.Unmap().WithZone(""), err == nil
}
