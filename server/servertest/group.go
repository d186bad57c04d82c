package servertest

import (
	"fmt"
	"net"
	"testing"

	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
)

// Group starts n hubs of one group, hub-1 to hub-n, and waits until all know of each other
// and of a leader. They stop at the end of the test.
func Group(t testing.TB, n int) []*Node {
	t.Helper()
	return startGroup(t, GroupConfigs(t, n), func(cfg config.Config) *Node { return Run(t, server.RoleHub, cfg) })
}

// SecureGroup is Group with doors that demand certificates of a CA.
func SecureGroup(t testing.TB, ca *certstest.CA, n int) []*Node {
	t.Helper()
	return startGroup(t, GroupConfigs(t, n), func(cfg config.Config) *Node {
		return RunSecure(t, ca, server.RoleHub, cfg, ca.Files(acl.Hub, cfg.NodeID), nil)
	})
}

// GroupConfigs are the configurations of n hubs that begin a group together, on ports that were
// free a moment ago.
func GroupConfigs(t testing.TB, n int) []config.Config {
	t.Helper()
	ports := FreePorts(t, 2*n)
	configs := make([]config.Config, n)
	for i := range configs {
		cfg := Config(t, fmt.Sprintf("hub-%d", i+1))
		cfg.GRPC = &config.Listener{Address: ports[2*i], Advertise: ports[2*i]}
		cfg.Raft = &config.Raft{Address: ports[2*i+1], Advertise: ports[2*i+1], BootstrapExpect: n, Voter: true}
		for j := range n {
			if j != i {
				cfg.Raft.Join = append(cfg.Raft.Join, ports[2*j])
			}
		}
		configs[i] = cfg
	}
	return configs
}

// FreePorts are addresses of the loopback interface that nothing listens on.
func FreePorts(t testing.TB, n int) []string {
	t.Helper()
	listeners := make([]net.Listener, n)
	addresses := make([]string, n)
	for i := range listeners {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i], addresses[i] = ln, ln.Addr().String()
	}
	for _, ln := range listeners {
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return addresses
}

func startGroup(t testing.TB, configs []config.Config, start func(config.Config) *Node) []*Node {
	t.Helper()
	hubs := make([]*Node, len(configs))
	for i, cfg := range configs {
		hubs[i] = start(cfg)
	}
	WaitForGroup(t, hubs...)
	return hubs
}

// WaitForGroup waits until all of the hubs know of each other and of a leader.
func WaitForGroup(t testing.TB, hubs ...*Node) {
	t.Helper()
	for _, hub := range hubs {
		WaitFor(t, fmt.Sprintf("hub %s knows a leader and %d hubs", hub.Config.NodeID, len(hubs)), func() bool {
			c := hub.Status().Control
			return c != nil && c.Hubs >= len(hubs) && c.Leader != "" && c.Problem == ""
		})
	}
}

// Leader is the hub that leads the group.
func Leader(t testing.TB, hubs ...*Node) (leader *Node) {
	t.Helper()
	WaitFor(t, "one of the hubs leads", func() bool {
		for _, hub := range hubs {
			if c := hub.Status().Control; hub.running && c != nil && c.IsLeader {
				leader = hub
				return true
			}
		}
		return false
	})
	return leader
}
