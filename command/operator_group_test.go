package command

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/servertest"
)

type hubNode = *servertest.Node

// operatorGroup is a group of three hubs with two relayers, on which the operator commands
// run one after the other.
type operatorGroup struct {
	t        *testing.T
	hubs     []hubNode // hub-1 to hub-3
	relayers []hubNode // edge-1 (region=eu) and edge-2 (tier=store)

	snapshot string           // a file of 'operator snapshot save'
	token    client.JoinToken // that was made
}

// groupSteps are what the operator commands do to the group, in this order. Each says of its
// command by its -json output that it has done it.
var groupSteps = []struct {
	command string
	run     func(*operatorGroup)
}{
	{"operator raft list-peers", (*operatorGroup).raftListPeers},
	{"operator namespace create", (*operatorGroup).namespaceCreate},
	{"operator namespace list", (*operatorGroup).namespaceList},
	{"operator namespace info", (*operatorGroup).namespaceInfo},
	{"operator namespace set", (*operatorGroup).namespaceSet},
	{"operator namespace accept", (*operatorGroup).namespaceAccept},
	{"operator topology assign", (*operatorGroup).topologyAssign},
	{"operator relayer list", (*operatorGroup).relayerList},
	{"operator relayer info", (*operatorGroup).relayerInfo},
	{"operator topology set-upstream", (*operatorGroup).topologySetUpstream},
	{"operator topology show", (*operatorGroup).topologyShow},
	{"operator verify", (*operatorGroup).verify},
	{"operator log dump", (*operatorGroup).logDump}, // it stops a hub, and logVerify starts it again
	{"operator log verify", (*operatorGroup).logVerify},
	{"operator diagnose", (*operatorGroup).diagnose},
	{"operator debug", (*operatorGroup).debug},
	{"operator relayer drain", (*operatorGroup).relayerDrain},
	{"operator topology unassign", (*operatorGroup).topologyUnassign},
	{"operator relayer token", (*operatorGroup).relayerToken},
	{"operator relayer token list", (*operatorGroup).relayerTokenList},
	{"operator relayer token revoke", (*operatorGroup).relayerTokenRevoke},
	{"operator plugin register", (*operatorGroup).pluginRegister},
	{"operator plugin list", (*operatorGroup).pluginList},
	{"operator plugin info", (*operatorGroup).pluginInfo},
	{"operator plugin reload", (*operatorGroup).pluginReload},
	{"operator plugin dead-letters list", (*operatorGroup).pluginDeadLettersList},
	{"operator plugin dead-letters retry", (*operatorGroup).pluginDeadLettersRetry},
	{"operator plugin deregister", (*operatorGroup).pluginDeregister},
	{"operator snapshot save", (*operatorGroup).snapshotSave},
	{"operator snapshot inspect", (*operatorGroup).snapshotInspect},
	{"operator snapshot restore", (*operatorGroup).snapshotRestore},
	{"operator relayer remove", (*operatorGroup).relayerRemove},
	{"operator namespace delete", (*operatorGroup).namespaceDelete},
	{"operator raft transfer-leader", (*operatorGroup).raftTransferLeader},
	{"operator raft remove-peer", (*operatorGroup).raftRemovePeer},
	{"operator raft recover", (*operatorGroup).raftRecover},
	{"operator reload", (*operatorGroup).reload}, // of the hub that raftRecover has started
}

// TestOperatorCommandsOnAGroup runs every operator command against a real group of three.
func TestOperatorCommandsOnAGroup(t *testing.T) {
	g := &operatorGroup{t: t, snapshot: filepath.Join(t.TempDir(), "topology.snap")}
	plugins := brokenPlugins(t)
	for _, cfg := range servertest.GroupConfigs(t, 3) {
		cfg.PluginDir = plugins
		g.hubs = append(g.hubs, servertest.Run(t, server.RoleHub, cfg))
	}
	servertest.WaitForGroup(t, g.hubs...)
	for i, labels := range []map[string]string{{"region": "eu"}, {"tier": "store"}} {
		g.relayers = append(g.relayers, g.relay([]string{"edge-1", "edge-2"}[i], labels))
	}
	g.eventually("both relayers have joined", func() bool { return len(g.relayerInfos()) == 2 })
	for _, step := range groupSteps {
		if done := t.Run(step.command, func(t *testing.T) {
			whole := g.t
			defer func() { g.t = whole }()
			g.t = t
			step.run(g)
		}); !done {
			t.Fatal("the commands that follow rely on this one")
		}
	}
}

// TestEveryOperatorCommandRunsOnAGroup: a new operator command needs a step.
func TestEveryOperatorCommandRunsOnAGroup(t *testing.T) {
	tested := map[string]bool{}
	for _, step := range groupSteps {
		tested[step.command] = true
	}
	for _, name := range slices.Sorted(maps.Keys(leaves)) {
		if strings.HasPrefix(name, "operator ") && !tested[name] {
			t.Errorf("%q has no step in groupSteps", name)
		}
	}
}

// brokenPlugins is a plugin_dir with a notifier whose program ends at once.
func brokenPlugins(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "notifier-webhook"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return dir
}

// relay starts a relayer that follows what the control plane assigns.
func (g *operatorGroup) relay(id string, labels map[string]string) hubNode {
	g.t.Helper()
	cfg := servertest.Config(g.t, id)
	address := servertest.FreePorts(g.t, 1)[0]
	cfg.GRPC = &config.Listener{Address: address, Advertise: address}
	cfg.Relayer = &config.Relayer{Labels: labels, Upstreams: []config.Upstream{{Name: "hubs", Addresses: []string{g.hubs[0].Addresses().GRPC, g.hubs[1].Addresses().GRPC}}}}
	return servertest.Run(g.t, server.RoleRelayer, cfg)
}

// run runs a command against a node.
func (g *operatorGroup) run(node hubNode, args ...string) result {
	g.t.Helper()
	h := &harness{t: g.t, env: map[string]string{envAddress: node.URL()}}
	return h.run(args...)
}

// json runs a command with -json, which has to succeed, and decodes what it prints.
func (g *operatorGroup) json(node hubNode, out any, args ...string) {
	g.t.Helper()
	r := g.run(node, append(args, "-json")...)
	if r.status != exitDone {
		g.t.Fatalf("%v: status %d: %s", args, r.status, r.stderr)
	}
	decode(g.t, r.stdout, out)
}

// failed runs a command that has to fail, with a code and words.
func (g *operatorGroup) failed(node hubNode, code string, args ...string) {
	g.t.Helper()
	g.wantFailure(g.run(node, args...), "("+code+")")
}

func (g *operatorGroup) wantFailure(r result, part string) {
	g.t.Helper()
	if r.status != exitFailed || !contains(r.stderr, part) || r.stdout != "" {
		g.t.Errorf("status %d, want %d and %s: %s%s", r.status, exitFailed, part, r.stdout, r.stderr)
	}
}

func (g *operatorGroup) eventually(what string, condition func() bool) {
	g.t.Helper()
	servertest.WaitFor(g.t, what, condition)
}

func (g *operatorGroup) peers(hub hubNode) (peers []client.RaftPeer) {
	g.t.Helper()
	g.json(hub, &peers, "operator", "raft", "list-peers")
	return peers
}

func (g *operatorGroup) topology(hub hubNode) (t client.Topology) {
	g.t.Helper()
	g.json(hub, &t, "operator", "topology", "show")
	return t
}

func (g *operatorGroup) namespaces(hub hubNode) (all []client.NamespaceInfo) {
	g.t.Helper()
	g.json(hub, &all, "operator", "namespace", "list")
	return all
}

func (g *operatorGroup) relayerInfos() (all []client.Relayer) {
	g.t.Helper()
	g.json(g.hubs[0], &all, "operator", "relayer", "list")
	return all
}

func (g *operatorGroup) relayer(id string) (r client.Relayer) {
	g.t.Helper()
	g.json(g.hubs[0], &r, "operator", "relayer", "info", id)
	return r
}

// has says whether a hub serves a namespace.
func (g *operatorGroup) has(hub, namespace string) bool {
	g.t.Helper()
	for _, h := range g.topology(g.hubs[0]).Hubs {
		for _, ns := range h.Namespaces {
			if h.ID == hub && ns.Name == namespace && ns.State == "serving" {
				return true
			}
		}
	}
	return false
}

func decode(t *testing.T, text string, out any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
}

func contains(text, part string) bool { return strings.Contains(text, part) }

func equal(got []string, want ...string) bool { return slices.Equal(got, want) }
