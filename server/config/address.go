package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// address takes a host and a port to listen on. Port 0 asks for a free one, an
// empty host for every interface.
var address = kind[string]{form{"`\"host:port\"` to listen on", quoted("127.0.0.1:4100", "127.0.0.1:4200")},
	func(v cty.Value) (string, *problem) { return hostPort(v, false) }}

// dialable takes a host and a port that others can dial.
var dialable = kind[string]{form{"`\"host:port\"` to dial", quoted("hub-a:4001", "hub-b:4001")},
	func(v cty.Value) (string, *problem) { return hostPort(v, true) }}

func hostPort(v cty.Value, dial bool) (string, *problem) {
	s, p := text(v)
	if p == nil {
		p = checkHostPort(s, dial)
	}
	return s, p
}

func checkHostPort(s string, dial bool) *problem {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return &problem{message: fmt.Sprintf("%q is no address", s), suggestion: hostPortHint(s)}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return &problem{message: fmt.Sprintf("%q has no valid port", s), suggestion: "use a port from 1 to 65535"}
	}
	if !hostValid(host) {
		return &problem{message: fmt.Sprintf("%q has no valid host", s), suggestion: `use a host name or an IP address, as in "127.0.0.1:4000" or "[::1]:4000"`}
	}
	if dial && (n == 0 || isWildcard(s)) {
		return &problem{message: fmt.Sprintf("%q can't be dialled by others", s), suggestion: `name a host and a port, as in "hub-a:4001"`}
	}
	return nil
}

func hostPortHint(s string) string {
	switch {
	case strings.Contains(s, "://"):
		return `leave the scheme out: write a host and a port, as in "127.0.0.1:4000"`
	case strings.Count(s, ":") > 1:
		return `put an IPv6 address in brackets, as in "[::1]:4000"`
	}
	return `write a host and a port, as in "127.0.0.1:4000"`
}

func hostValid(host string) bool {
	if host == "" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 || strings.Contains(host, ":") {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

// isLoopback says whether only this machine reaches an address. Names other
// than localhost aren't looked up: what they mean may change.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// isWildcard says whether an address is every interface, so that nobody can
// dial it as it stands.
func isWildcard(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsUnspecified()
}

// freePort says whether an address leaves the port to the operating system.
func freePort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && strings.Trim(port, "0") == ""
}
