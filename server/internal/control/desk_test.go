package control

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// TestAssignments: a relayer joins, and is told what it is to have when, and only when, that changes.
func TestAssignments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		h := hello("edge-1")
		h.Labels, h.Advertise = map[string]string{"region": "eu"}, "edge-1:4001"
		r := hub.dial(t, n, h)
		welcome, a := r.joins()
		if welcome.GetNodeId() != "hub" || welcome.GetCluster() != hub.group.State().Cluster || len(a.GetNamespaces()) > 0 {
			t.Errorf("got %v, %v", welcome, a)
		}
		if got := hub.group.State().Relayers["edge-1"]; got == nil || got.Instance != h.InstanceId || got.Labels["region"] != "eu" || got.Advertise != h.Advertise {
			t.Errorf("the group knows %+v", got)
		}
		hub.namespace(t, "orders") // is nobody's
		hub.namespace(t, "stock")
		hub.dial(t, n, hello("edge-2")).joins()
		hub.assign(t, "stock", "edge-2")
		hub.assign(t, "stock", "edge-2*") // what is said of all has everybody look
		index := hub.assign(t, "orders", "edge-1")
		want := &dbv1.Assignment{
			Index: index, Hubs: []string{"hub:4001"},
			Namespaces: []*dbv1.AssignedNamespace{{
				Name: "orders", Lineage: lineage("orders"), Owner: "hub", Sources: []*dbv1.StreamSource{{NodeId: "hub", Address: "hub:4001"}},
			}},
		}
		if d := cmp.Diff(want, r.assigned(), protocmp.Transform()); d != "" {
			t.Error(d)
		}
		if got := hub.session("edge-1").GetSentIndex(); got != index {
			t.Errorf("sent index %d, want %d", got, index)
		}
		hub.unassign(t, "orders", "edge-1")
		if a := r.assigned(); len(a.GetNamespaces()) > 0 {
			t.Errorf("got %v after it was taken back", a)
		}
		// What is said of many reaches each of them.
		hub.assign(t, "stock", "edge-*")
		if a := r.assigned(); len(a.GetNamespaces()) != 1 {
			t.Errorf("got %v for a pattern", a)
		}
		hub.propose(t, topology.RegisterPlugin{Plugin: topology.Plugin{Name: "hook", Kind: "notifier", Type: "webhook", Namespaces: []string{"stock"}}})
		if a := r.assigned(); len(a.GetPlugins()) != 1 || !strings.Contains(string(a.GetPlugins()[0]), `"hook"`) {
			t.Errorf("got %v for a plugin", a)
		}
		hub.propose(t, topology.DeregisterPlugin{Name: "hook"})
		if a := r.assigned(); len(a.GetPlugins()) != 0 {
			t.Errorf("got %v without the plugin", a)
		}
	})
}

// TestReports: the hub knows what a relayer has said last of each namespace.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		r := hub.dial(t, n, hello("edge-1"))
		r.joins()
		r.report(nil, &dbv1.NamespaceReport{Name: "b", Lsn: 1}, &dbv1.NamespaceReport{Name: "a", Lsn: 1})
		r.report([]string{"b"}, &dbv1.NamespaceReport{Name: "c", Lsn: 3, Reason: strings.Repeat("x", 1<<20)})
		r.report(nil, &dbv1.NamespaceReport{Name: "a", Lsn: 2})
		synctest.Wait()
		var got []string
		for _, ns := range hub.session("edge-1").GetNamespaces() {
			got = append(got, ns.GetName())
			if ns.GetName() == "a" && ns.GetLsn() != 2 || len(ns.GetReason()) > 2*maxReasonLen {
				t.Errorf("got %v", ns)
			}
		}
		if !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("it has heard of %q", got)
		}
		r.leave()
		synctest.Wait()
		if hub.session("edge-1") != nil {
			t.Error("a session of nobody")
		}
	})
}
