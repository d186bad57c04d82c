package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
)

// errForbidden means that the receiver's name leads to an address that is never
// called, or not without leave.
var errForbidden = errors.New("this address isn't called")

// metadata are addresses outside the link-local ranges at which clouds hand out
// credentials to whoever asks from inside a machine.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("fd20:ce::254"),    // Google Cloud
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
	netip.MustParseAddr("168.63.129.16"),   // Azure
	netip.MustParseAddr("192.0.0.192"),     // Oracle Cloud
}

// Ranges of IPv6 in which an IPv4 address is hidden, and where.
var embedded = []struct {
	prefix netip.Prefix
	at     int // first byte of the IPv4 address
}{
	{netip.MustParsePrefix("::ffff:0:0:0/96"), 12}, // IPv4-translated
	{netip.MustParsePrefix("64:ff9b::/96"), 12},    // NAT64
	{netip.MustParsePrefix("64:ff9b:1::/48"), 12},  // NAT64 of a site
	{netip.MustParsePrefix("2002::/16"), 2},        // 6to4
	{netip.MustParsePrefix("::/96"), 12},           // IPv4-compatible
}

var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

// guard decides which addresses may be called: whoever can choose a URL, or
// answer for its name, must not reach what only the machine itself should.
// Loopback and private addresses are what applications on the same machine or
// network are at, and are allowed.
type guard struct {
	linkLocal bool // link-local and metadata addresses are allowed
}

// check says why an address may not be called.
func (g guard) check(addr netip.Addr) error {
	for _, a := range faces(addr) {
		switch {
		case a.IsUnspecified(), thisNetwork.Contains(a), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Errorf("%w: %v is no address of one machine; name the receiver's own in url", errForbidden, addr)
		case !g.linkLocal && (a.IsLinkLocalUnicast() || isMetadata(a)):
			return fmt.Errorf("%w: %v is a link-local or metadata address; write allow_link_local = true if the receiver is really there", errForbidden, addr)
		}
	}
	return nil
}

// faces are an address and the IPv4 address that is hidden in it.
func faces(addr netip.Addr) []netip.Addr {
	addr = addr.Unmap().WithZone("")
	found := []netip.Addr{addr}
	if addr.Is4() || addr.IsLoopback() || addr.IsUnspecified() {
		return found
	}
	bytes := addr.As16()
	for _, e := range embedded {
		if e.prefix.Contains(addr) {
			found = append(found, netip.AddrFrom4([4]byte(bytes[e.at:e.at+4])))
		}
	}
	return found
}

func isMetadata(addr netip.Addr) bool {
	for _, m := range metadata {
		if m == addr {
			return true
		}
	}
	return false
}

// control is called between the resolution of a name and the connection to one
// of its addresses: a name that resolves differently the second time gains nothing.
func (g guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q: %w", errForbidden, address, err)
	}
	return g.check(at.Addr())
}

// checkHost finds an address that is written in the URL itself before anything is sent.
func (g guard) checkHost(host string) error {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil //nolint:nilerr // a name: its addresses are checked when they are known
	}
	return g.check(addr)
}
