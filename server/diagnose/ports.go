package diagnose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"

	"github.com/unisondb/unisondb/server/config"
)

// door is an address that the node listens at.
type door struct {
	name, address string
}

func doorsOf(c *config.Config) (all []door) {
	for _, l := range []struct {
		name string
		*config.Listener
	}{{"http", c.HTTP}, {"grpc", c.GRPC}} {
		if l.Listener != nil {
			all = append(all, door{l.name, l.Address})
		}
	}
	if c.Redis != nil {
		all = append(all, door{"redis", c.Redis.Address})
	}
	if c.Raft != nil && c.Raft.Address != "" {
		all = append(all, door{"raft", c.Raft.Address})
	}
	return all
}

// ports looks whether the node could listen where it is to, or does.
func (d *diagnosis) ports(ctx context.Context, s *Step) {
	if !s.needs(d.cfg != nil, theConfiguration) {
		return
	}
	for _, door := range doorsOf(d.cfg) {
		if d.running {
			d.answers(ctx, s, door)
		} else {
			free(ctx, s, door)
		}
	}
	if len(s.Findings) == 0 {
		s.skip("the node listens nowhere")
	}
}

// free looks whether nobody listens at an address that the node is to listen at.
func free(ctx context.Context, s *Step, at door) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", at.address)
	switch {
	case err == nil:
		_ = l.Close() // nobody has connected
		s.ok(fmt.Sprintf("%s: %s is free", at.name, at.address))
	case errors.Is(err, syscall.EADDRINUSE):
		s.fail(fmt.Sprintf("%s: %s is taken by %s", at.name, at.address, holder(at.address)),
			"stop that process, or give this node another address in its listener block")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		s.fail(fmt.Sprintf("%s: this machine has no address %s", at.name, at.address), "listen at one that it has, or at 0.0.0.0, and name what others dial with advertise")
	case errors.Is(err, syscall.EACCES):
		s.fail(fmt.Sprintf("%s: this user may not listen at %s", at.name, at.address), "use a port from 1024 on, or allow it with CAP_NET_BIND_SERVICE")
	default:
		s.fail(fmt.Sprintf("%s: %v", at.name, err), "correct the address in the listener block")
	}
}

// answers looks whether the running node listens.
func (d *diagnosis) answers(ctx context.Context, s *Step, at door) {
	conn, err := d.dial(ctx, dialable(at.address))
	if err != nil {
		s.warn(fmt.Sprintf("%s: a node runs, and nobody answers at %s: %v", at.name, at.address, err),
			"it may be starting, or run with another configuration: 'unisondb status' says")
		return
	}
	_ = conn.Close() // nothing was said
	s.ok(fmt.Sprintf("%s: %s answers", at.name, at.address))
}

func (d *diagnosis) dial(ctx context.Context, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: d.Patience}
	return dialer.DialContext(ctx, "tcp", address)
}

// dialable is an address with a host where it is a wildcard.
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(strings.Trim(host, "[]")); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return address
}
