package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/dbkernel"
	"github.com/unisondb/unisondb/replicator"
	"github.com/unisondb/unisondb/server"
	"github.com/unisondb/unisondb/server/acl"
	"github.com/unisondb/unisondb/server/certs/certstest"
	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/pluginhost"
	"github.com/unisondb/unisondb/server/servertest"
)

// operator asks a hub's operator API for something, which has to succeed.
func operator(t *testing.T, hub *servertest.Node, method, path string, body any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if r := hub.Do(method, path, b); r.Status != http.StatusOK {
		t.Fatalf("%s %s on %s: %d %s", method, path, hub.Config.NodeID, r.Status, r.Body)
	}
}

// known waits until the group knows a namespace, which it is told of behind the start.
func known(t *testing.T, hub *servertest.Node, namespace string) {
	t.Helper()
	servertest.WaitFor(t, "the group knows "+namespace, func() bool { return hub.Knows(namespace) })
}

func assign(t *testing.T, hub *servertest.Node, namespace, relayer string) {
	t.Helper()
	known(t, hub, namespace)
	operator(t, hub, "POST", "/v1/topology/assign", map[string]string{"namespace": namespace, "relayer": relayer})
}

// attendant is a relayer that names no namespaces: it attends hubs, and has what they assign.
func attendant(t *testing.T, id string, hubs ...*servertest.Node) *servertest.Node {
	t.Helper()
	return servertest.Run(t, server.RoleRelayer, attendantConfig(t, id, hubs...))
}

func attendantConfig(t *testing.T, id string, hubs ...*servertest.Node) config.Config {
	t.Helper()
	cfg := servertest.Config(t, id)
	up := config.Upstream{Name: "hubs"}
	for _, hub := range hubs {
		up.Addresses = append(up.Addresses, hub.Addresses().GRPC)
	}
	cfg.Relayer = &config.Relayer{Upstreams: []config.Upstream{up}}
	return cfg
}

// reads waits until a node answers a value.
func reads(t *testing.T, n *servertest.Node, namespace, key, want string) {
	t.Helper()
	servertest.WaitFor(t, fmt.Sprintf("%s reads %s = %q in %s", n.Config.NodeID, key, want, namespace), func() bool {
		r, err := n.Try("GET", "/api/v1/"+namespace+"/kv/"+key+"?raw=true", nil)
		return err == nil && r.Status == http.StatusOK && string(r.Body) == want
	})
}

// serves waits until a node says that it serves a namespace.
func serves(t *testing.T, n *servertest.Node, namespace string) (s httpapi.NamespaceStatus) {
	t.Helper()
	servertest.WaitFor(t, fmt.Sprintf("%s serves %s", n.Config.NodeID, namespace), func() bool {
		if !n.HasNamespace(namespace) {
			return false
		}
		s = n.NamespaceStatus(namespace)
		return s.State == "serving"
	})
	return s
}

// unknown waits until a node knows nothing of a namespace.
func unknown(t *testing.T, n *servertest.Node, namespace string) {
	t.Helper()
	servertest.WaitFor(t, fmt.Sprintf("%s has no %s", n.Config.NodeID, namespace), func() bool {
		r, err := n.Try("GET", "/api/v1/"+namespace+"/kv/a?raw=true", nil)
		return err == nil && r.Status == http.StatusNotFound && errorOf(r).Code == httpapi.CodeNamespaceNotFound
	})
}

func errorOf(r servertest.Response) (e struct{ Code, Error string }) {
	_ = json.Unmarshal(r.Body, &e)
	return e
}

// joined waits until a group knows a relayer.
func joined(t *testing.T, hub *servertest.Node, relayers ...*servertest.Node) {
	t.Helper()
	for _, r := range relayers {
		servertest.WaitFor(t, "the hubs know "+r.Config.NodeID, func() bool {
			got, err := hub.Try("GET", "/v1/relayers/"+r.Config.NodeID, nil)
			return err == nil && got.Status == http.StatusOK
		})
	}
}

// TestAssignment: what a relayer has comes and goes while it runs, and it serves what it had
// without any hub.
func TestAssignment(t *testing.T) {
	hub := servertest.Hub(t, "hub", "one", "two")
	servertest.WaitForGroup(t, hub)
	hub.Put("one", "a", "1")
	hub.Put("two", "a", "2")
	edge := attendant(t, "edge", hub)
	joined(t, hub, edge)
	unknown(t, edge, "one")

	assign(t, hub, "one", "edge")
	reads(t, edge, "one", "a", "1")
	unknown(t, edge, "two")
	assign(t, hub, "two", "edge")
	reads(t, edge, "two", "a", "2")

	operator(t, hub, "POST", "/v1/topology/unassign", map[string]string{"namespace": "one", "relayer": "edge"})
	unknown(t, edge, "one")
	aside := edge.Status().Aside
	if len(aside) != 1 || aside[0].Namespace != "one" {
		t.Errorf("aside is %+v", aside)
	}

	hub.Stop()
	edge.Restart()
	edge.WaitReady()
	reads(t, edge, "two", "a", "2")
	unknown(t, edge, "one")
	hub.Start()
	hub.Put("two", "a", "3")
	reads(t, edge, "two", "a", "3")
	assign(t, hub, "one", "edge")
	reads(t, edge, "one", "a", "1")
}

// TestDeletedAndCreatedAgain: a namespace of the same name and another lineage takes the place of the
// deleted one on the owner, on another hub and on a relayer, without a word of anybody.
func TestDeletedAndCreatedAgain(t *testing.T) {
	hubs := servertest.Group(t, 2)
	owner, other := hubs[0], hubs[1]
	create := map[string]any{"name": "orders", "owner": owner.Config.NodeID, "hubs": []string{other.Config.NodeID}}
	operator(t, other, "POST", "/v1/namespaces", create)
	edge := attendant(t, "edge", other)
	joined(t, owner, edge)
	assign(t, owner, "orders", "edge")
	owner.Put("orders", "a", "old")
	for _, n := range []*servertest.Node{other, edge} {
		reads(t, n, "orders", "a", "old")
	}
	lineage := status(t, owner, "orders").Lineage

	operator(t, other, "DELETE", "/v1/namespaces/orders?grace=1h", nil)
	operator(t, owner, "POST", "/v1/namespaces", create)
	assign(t, owner, "orders", "edge")
	owner.Put("orders", "b", "new")
	for _, n := range []*servertest.Node{owner, other, edge} {
		reads(t, n, "orders", "b", "new")
		if s := serves(t, n, "orders"); s.Lineage == lineage {
			t.Errorf("%s: %+v", n.Config.NodeID, s)
		}
		if r := n.Do("GET", "/api/v1/orders/kv/a?raw=true", nil); r.Status != http.StatusNotFound {
			t.Errorf("%s still has what was deleted: %d %s", n.Config.NodeID, r.Status, r.Body)
		}
		if aside := n.Status().Aside; len(aside) != 1 {
			t.Errorf("%s: aside is %+v", n.Config.NodeID, aside)
		}
	}
}

// TestTwoHubs: each owns a namespace that the other replicates, made by a block, and has a relayer
// of its own. Each works on without the other.
func TestTwoHubs(t *testing.T) {
	configs := servertest.GroupConfigs(t, 2)
	for i, name := range []string{"east", "west"} {
		configs[i].Namespaces = []config.Namespace{{Name: name, Acks: "local", Storage: configs[i].Storage, Replicate: &config.Replicate{
			Hubs: []string{"*"}, Relayers: []string{"edge-*"},
		}}}
	}
	var hubs []*servertest.Node
	for _, cfg := range configs {
		hubs = append(hubs, servertest.Run(t, server.RoleHub, cfg))
	}
	servertest.WaitForGroup(t, hubs...)
	edges := []*servertest.Node{attendant(t, "edge-east", hubs[0]), attendant(t, "edge-west", hubs[1])}
	for i, name := range []string{"east", "west"} {
		serves(t, hubs[i], name)
		hubs[i].Put(name, "a", name)
		for _, n := range append(edges, hubs...) {
			reads(t, n, name, "a", name)
		}
		// A hub that has nothing yet passes reads on, so that those above don't show that it has.
		servertest.WaitFor(t, "the other hub has a copy, and knows the owner", func() bool {
			s := hubs[1-i].NamespaceStatus(name)
			return s.Role == "replica" && s.Owner == hubs[i].Config.NodeID && s.State == "serving" && s.CommitLSN == hubs[i].NamespaceStatus(name).CommitLSN
		})
	}
	hubs[1].Stop()
	hubs[0].Restart() // without a leader
	hubs[0].Put("east", "a", "again")
	reads(t, hubs[0], "west", "a", "west")
	reads(t, edges[0], "east", "a", "again")
	reads(t, edges[1], "west", "a", "west")
	edges[1].Restart()
	reads(t, edges[1], "west", "a", "west")
	hubs[1].Start()
	hubs[1].Put("west", "a", "back")
	for _, n := range append(edges, hubs...) {
		reads(t, n, "west", "a", "back")
		reads(t, n, "east", "a", "again")
	}
}

// TestEdgeOwnership: what a relayer owns is made and written without any hub, comes to the hub over
// the connection that the relayer makes, and goes on from there to others.
func TestEdgeOwnership(t *testing.T) {
	hub := servertest.Hub(t, "hub")
	servertest.WaitForGroup(t, hub)
	cfg := attendantConfig(t, "edge", hub)
	cfg.Relayer.Own = []string{"insights"}
	hub.Stop()
	edge := servertest.Run(t, server.RoleRelayer, cfg)
	edge.WaitReady()
	edge.Put("insights", "a", "offline")
	edge.Restart()
	reads(t, edge, "insights", "a", "offline")

	hub.Start()
	reads(t, hub, "insights", "a", "offline")
	far := attendant(t, "far", hub)
	joined(t, hub, far)
	assign(t, hub, "insights", "far")
	reads(t, far, "insights", "a", "offline")
	refused(t, hub.Do("PUT", "/api/v1/insights/kv/a", []byte(`{"value":""}`)), 403, httpapi.CodeReadOnly)
	// A relayer that was wiped has another history: the group names the one that may come.
	made, err := dbkernel.ParseLineage(status(t, edge, "insights").Lineage)
	if err != nil {
		t.Fatal(err)
	}
	if err := hub.AcceptOffer(t.Context(), "edge", "insights", made); err != nil {
		t.Errorf("the lineage that the group has: %v", err)
	}
	if err := hub.AcceptOffer(t.Context(), "edge", "insights", dbkernel.Lineage{1}); err == nil || !strings.Contains(err.Error(), "LINEAGE_MISMATCH") {
		t.Errorf("another lineage: %v", err)
	}
	p := edge.Put("insights", "a", "online")
	for _, n := range []*servertest.Node{hub, far} {
		if got, _ := n.Get("insights", "a", p); got != "online" {
			t.Errorf("%s has %q", n.Config.NodeID, got)
		}
		if s := status(t, n, "insights"); s.Role != "replica" || s.Owner != "edge" {
			t.Errorf("%s: %+v", n.Config.NodeID, s)
		}
	}
	if s := status(t, edge, "insights"); s.Role != "owner" || s.Owner != "edge" || len(s.Followers) != 1 {
		t.Errorf("%+v", s)
	}
	hub.Restart()
	p = edge.Put("insights", "a", "after")
	for _, n := range []*servertest.Node{hub, far} {
		if got, _ := n.Get("insights", "a", p); got != "after" {
			t.Errorf("%s has %q", n.Config.NodeID, got)
		}
	}
}

// TestRelayerBehindRelayer: a relayer's upstream is set to another relayer while it runs, and it falls back to a
// hub when that one is gone.
func TestRelayerBehindRelayer(t *testing.T) {
	hub := servertest.Hub(t, "hub", "orders")
	servertest.WaitForGroup(t, hub)
	near, far := attendant(t, "near", hub), attendant(t, "far", hub)
	joined(t, hub, near, far)
	assign(t, hub, "orders", "near")
	assign(t, hub, "orders", "far")
	hub.Put("orders", "a", "1")
	reads(t, far, "orders", "a", "1")
	upstream := func(want string) {
		t.Helper()
		servertest.WaitFor(t, "far follows "+want, func() bool {
			s := far.NamespaceStatus("orders")
			return s.Upstream == want && s.Connected != nil && *s.Connected
		})
	}
	upstream("hub")
	operator(t, hub, "POST", "/v1/topology/set-upstream", map[string]string{"relayer": "far", "upstream": "near"})
	upstream("near")
	r := hub.Do("POST", "/v1/topology/set-upstream", []byte(`{"relayer":"near","upstream":"far"}`))
	refused(t, r, http.StatusConflict, "UPSTREAM_CYCLE")
	near.Stop()
	upstream("hub")
	p := hub.Put("orders", "a", "2")
	if got, _ := far.Get("orders", "a", p); got != "2" {
		t.Errorf("far has %q", got)
	}
}

// TestSettingsThatDiffer: a block's settings count when it makes the namespace; later the group's do, at once,
// and the difference is a warning.
func TestSettingsThatDiffer(t *testing.T) {
	cfg := servertest.Config(t, "hub", "orders")
	cfg.Namespaces[0].Quota.MaxBytes = 1 << 30
	hub := servertest.Run(t, server.RoleHub, cfg)
	servertest.WaitForGroup(t, hub)
	known(t, hub, "orders")
	if s := serves(t, hub, "orders"); len(s.Warnings) > 0 {
		t.Errorf("warnings: %q", s.Warnings)
	}
	operator(t, hub, "PUT", "/v1/namespaces/orders", map[string]any{"quota": map[string]any{"max_bytes": 1}})
	servertest.WaitFor(t, "the quota holds", func() bool {
		r := hub.Do("PUT", "/api/v1/orders/kv/a?raw=true", []byte("a value"), servertest.Header{Name: "Content-Type", Value: "application/octet-stream"})
		return r.Status == http.StatusTooManyRequests
	})
	if s := serves(t, hub, "orders"); len(s.Warnings) != 1 {
		t.Errorf("warnings: %q", s.Warnings)
	}
}

// TestDeletedBlock: what an operator deletes isn't made again by the block that names it, neither at once nor at
// the next start.
func TestDeletedBlock(t *testing.T) {
	hub := servertest.Hub(t, "hub", "default", "orders")
	servertest.WaitForGroup(t, hub)
	hub.Put("orders", "a", "1")
	known(t, hub, "orders")
	operator(t, hub, "DELETE", "/v1/namespaces/orders", nil)
	unknown(t, hub, "orders")
	hub.Restart()
	hub.WaitReady()
	servertest.WaitForGroup(t, hub)
	unknown(t, hub, "orders")
	operator(t, hub, "POST", "/v1/namespaces", map[string]string{"name": "orders"})
	hub.Put("orders", "a", "2")
}

// TestJoinToken: where the gRPC listener has TLS, a relayer without a certificate joins with a token and keeps the
// credential that it is given; without either it has nothing.
func TestJoinToken(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	files := ca.Files(acl.Hub, "hub")
	cfg := servertest.Config(t, "hub", "orders")
	cfg.Namespaces[0].Replicate = &config.Replicate{Selector: map[string]string{"tier": "store"}}
	cfg.GRPC.TLS = &files.TLS
	hub := servertest.Run(t, server.RoleHub, cfg)
	servertest.WaitForGroup(t, hub)
	hub.Put("orders", "a", "1")

	var token struct{ Token string }
	r := hub.Do("POST", "/v1/relayers/tokens", []byte(`{"ttl":"1h","uses":1,"relayer":"store-*","labels":{"tier":"store"}}`))
	if err := json.Unmarshal(r.Body, &token); err != nil || token.Token == "" {
		t.Fatalf("%v, %d %s", err, r.Status, r.Body)
	}
	holder := func(id, token string) config.Config {
		cfg := attendantConfig(t, id, hub)
		cfg.Relayer.Upstreams[0].TLS = &config.TLS{CAFile: files.TLS.CAFile}
		cfg.Relayer.Upstreams[0].JoinToken = token
		return cfg
	}
	stranger := servertest.Run(t, server.RoleRelayer, holder("store-0", ""))
	servertest.WaitFor(t, "who shows nothing isn't let in", func() bool {
		c := stranger.Status().Control
		return c.Hub == "" && strings.Contains(c.Problem, "token")
	})
	store := servertest.Run(t, server.RoleRelayer, holder("store-1", token.Token))
	reads(t, store, "orders", "a", "1")

	store.Config.Relayer.Upstreams[0].JoinToken = ""
	store.Restart()
	p := hub.Put("orders", "a", "2")
	if got, _ := store.Get("orders", "a", p); got != "2" {
		t.Errorf("after a restart it reads %q", got)
	}
	unknown(t, stranger, "orders")
}

// TestSecureGroup: hubs that demand certificates find each other, replicate, and give to a relayer with one.
func TestSecureGroup(t *testing.T) {
	ca := certstest.NewCA(t, "our CA")
	hubs := servertest.SecureGroup(t, ca, 2)
	operator(t, hubs[0], "POST", "/v1/namespaces", map[string]any{"name": "orders", "owner": "hub-2", "hubs": []string{"hub-1"}})
	hubs[1].Put("orders", "a", "1")
	edge := servertest.RunSecure(t, ca, server.RoleRelayer, attendantConfig(t, "edge", hubs...), ca.Files(acl.Relayer, "edge"), nil)
	joined(t, hubs[1], edge)
	assign(t, hubs[0], "orders", "edge")
	for _, n := range []*servertest.Node{hubs[0], edge} {
		reads(t, n, "orders", "a", "1")
	}
}

// TestCatalog: a plugin of the catalog runs on every node that has one of its namespaces and its program, where the
// node's own files name none of its name; it ends when it is taken out.
func TestCatalog(t *testing.T) {
	dir, files := pluginDir(t, "notifier-recorder"), t.TempDir()
	cfg := servertest.Config(t, "hub", "orders")
	cfg.PluginDir = dir
	hub := servertest.Run(t, server.RoleHub, cfg)
	servertest.WaitForGroup(t, hub)
	below := attendantConfig(t, "edge", hub)
	below.PluginDir = dir
	edge := servertest.Run(t, server.RoleRelayer, below)
	joined(t, hub, edge)
	file := filepath.Join(files, "told")
	known(t, hub, "orders")
	operator(t, hub, "POST", "/v1/plugins", map[string]any{
		"name": "audit", "kind": "notifier", "type": "recorder", "namespaces": []string{"orders"}, "config": map[string]any{"file": file},
		"options": map[string]any{"start_from": "oldest"},
	})
	waitPlugin(t, hub, "audit", pluginhost.StateReady)
	if all := plugins(t, edge); len(all) != 0 {
		t.Errorf("the relayer, which has no such namespace, runs %+v", all)
	}
	hub.Put("orders", "a", "1")
	servertest.WaitFor(t, "the owner's notifier has told of it", func() bool { return len(recorded(t, file)) == 1 })
	assign(t, hub, "orders", "edge")
	waitPlugin(t, edge, "audit", pluginhost.StateReady)

	operator(t, hub, "DELETE", "/v1/plugins/audit", nil)
	for _, n := range []*servertest.Node{hub, edge} {
		servertest.WaitFor(t, "it runs no longer on "+n.Config.NodeID, func() bool { return len(plugins(t, n)) == 0 })
	}
}

// TestTwoOwners: a hub that made a namespace by itself and then joins a group that knows another one of that name
// refuses its own, until somebody accepts the group's.
func TestTwoOwners(t *testing.T) {
	configs := servertest.GroupConfigs(t, 2)
	late := configs[1]
	late.Raft = nil
	late.Namespaces = servertest.Config(t, "x", "orders").Namespaces
	own := servertest.Run(t, server.RoleHub, late)
	servertest.WaitForGroup(t, own)
	own.Put("orders", "a", "mine")
	own.Stop()
	if err := os.RemoveAll(filepath.Join(late.DataDir, "raft")); err != nil {
		t.Fatal(err)
	}

	first := configs[0]
	first.Raft.BootstrapExpect, first.Raft.Join = 1, nil
	hub := servertest.Run(t, server.RoleHub, first)
	servertest.WaitForGroup(t, hub)
	operator(t, hub, "POST", "/v1/namespaces", map[string]any{"name": "orders", "replicate": map[string]any{"hubs": []string{"*"}}})
	hub.Put("orders", "a", "theirs")
	own.Config.Raft = configs[1].Raft
	own.Config.Raft.BootstrapExpect = 0
	own.Start()
	servertest.WaitForGroup(t, hub, own)
	servertest.WaitFor(t, "its own is refused", func() bool {
		s := own.NamespaceStatus("orders")
		return s.State == "quarantined" && s.Code == replicator.CodeLineageMismatch
	})
	operator(t, own, "POST", "/v1/namespaces/orders/accept", map[string]string{"lineage": status(t, hub, "orders").Lineage})
	reads(t, own, "orders", "a", "theirs")
	if aside := own.Status().Aside; len(aside) != 1 {
		t.Errorf("aside is %+v", aside)
	}
}

// TestABeginOfAnotherLineage: a copy that had begun to arrive when its namespace was deleted and created again
// doesn't stand in the way of the new one.
func TestABeginOfAnotherLineage(t *testing.T) {
	hub := servertest.Hub(t, "hub", "orders")
	servertest.WaitForGroup(t, hub)
	hub.Put("orders", "a", "new")
	edge := attendant(t, "edge", hub)
	joined(t, hub, edge)
	stage, err := edge.Kernel().Stage("orders", dbkernel.Lineage{1})
	if err == nil {
		err = stage.FromStart([]dbkernel.EpochStart{{Epoch: 1 << 20, FirstLSN: 1, Bits: 1}}, 5)
	}
	if err != nil {
		t.Fatal(err)
	}
	assign(t, hub, "orders", "edge")
	reads(t, edge, "orders", "a", "new")
}

// TestAWipedOwnerInAGroup: a hub that comes back without its disk misses what it owned. It doesn't begin it anew
// under the lineage that others have copies of, since those would be cut back to nothing with its first write.
func TestAWipedOwnerInAGroup(t *testing.T) {
	hubs := servertest.Group(t, 3)
	owner, other := hubs[1], hubs[0] // which follows the owner and nobody else
	operator(t, owner, "POST", "/v1/namespaces", map[string]any{"name": "orders", "replicate": map[string]any{"hubs": []string{"*"}}})
	lsn := lsnOf(t, owner.Put("orders", "a", "kept"))
	servertest.WaitFor(t, "the other hub has a copy", func() bool { return serves(t, other, "orders").CommitLSN == lsn })
	owner.Stop()
	removeDir(t, owner.Config.DataDir)
	owner.Start()
	for range 2 { // a restart knows it from node.json
		servertest.WaitFor(t, "it is missing at its owner", func() bool {
			r, err := owner.Try("PUT", "/api/v1/orders/kv/a", []byte(`{"value":""}`))
			return err == nil && r.Status == http.StatusServiceUnavailable && strings.Contains(string(r.Body), httpapi.CodeNamespaceMissing)
		})
		owner.Restart()
	}
	reads(t, other, "orders", "a", "kept")

	old := status(t, other, "orders").Lineage
	operator(t, owner, "POST", "/v1/namespaces", map[string]any{"name": "orders", "replace": true})
	servertest.WaitFor(t, "the group knows that it was replaced", func() bool {
		s := other.NamespaceStatus("orders")
		return s.Lineage == old && s.Code == replicator.CodeLineageMismatch
	})
	reads(t, other, "orders", "a", "kept")
	operator(t, other, "POST", "/v1/namespaces/orders/accept", map[string]string{"lineage": status(t, owner, "orders").Lineage})
	owner.Put("orders", "a", "anew")
	reads(t, other, "orders", "a", "anew")
}
