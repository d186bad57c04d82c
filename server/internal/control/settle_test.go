package control

import (
	"testing"
	"testing/synctest"
	"time"

	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
	"github.com/unisondb/unisondb/server/topology"
)

// TestOwnedNamespaces: what a relayer owns comes into the group's state, with the hub that it attends, and
// others stream it from there.
func TestOwnedNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, group := newNetwork(), newGroup(t, "hub-a")
		a, b := serve(t, n, "hub-a", group, nil), serve(t, n, "hub-b", group, nil)
		a.propose(t, topology.SetHub{Hub: topology.Hub{ID: "hub-b", Instance: "b", Raft: "hub-b:4002", GRPC: b.address, ReadsUpTo: 1000}})
		h := hello("edge-1")
		h.Owned = []*dbv1.OwnedNamespace{{Name: "insights", Lineage: lineage("insights")}}
		r := a.dial(t, n, h)
		if _, as := r.joins(); len(as.GetNamespaces()) > 0 {
			t.Errorf("it is assigned what it owns: %v", as)
		}
		owned := func() topology.Namespace {
			if ns := group.State().Namespaces["insights"]; ns != nil {
				return *ns
			}
			return topology.Namespace{}
		}
		edge := topology.Node{Kind: topology.KindRelayer, ID: "edge-1"}
		eventually(t, "it comes by hub-a", func() bool { return owned().Via == "hub-a" })
		if ns := owned(); ns.Owner != edge || ns.Lineage != lineage("insights") {
			t.Errorf("got %+v", ns)
		}
		store := b.dial(t, n, hello("store-1"))
		store.joins()
		b.assign(t, "insights", "store-1")
		if got := store.assigned().GetNamespaces(); len(got) != 1 || got[0].GetOwner() != "edge-1" || got[0].GetSources()[0].GetNodeId() != "hub-a" {
			t.Errorf("got %v", got)
		}
		r.leave()
		b.dial(t, n, h).joins()
		eventually(t, "it comes by hub-b", func() bool { return owned().Via == "hub-b" })
		if got := store.assigned().GetNamespaces(); len(got) != 1 || got[0].GetSources()[0].GetNodeId() != "hub-b" {
			t.Errorf("got %v", got)
		}
	})
}

// TestOwnedByOthers: what the group knows as somebody else's, or as deleted, stays so, and the
// relayer has its session all the same.
func TestOwnedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		hub := serve(t, n, "hub", newGroup(t, "hub"), nil)
		hub.namespace(t, "orders")
		hub.namespace(t, "gone")
		hub.propose(t, topology.DeleteNamespace{Name: "gone", At: hub.group.State().Namespaces["gone"].Created, Grace: 1})
		hub.propose(t, topology.SetRelayer{Relayer: topology.Relayer{ID: "edge-1", Instance: hello("edge-1").InstanceId}})
		hub.propose(t, topology.EnsureNamespace{
			Name: "older", Lineage: lineage("older"), Owner: topology.Node{Kind: topology.KindRelayer, ID: "edge-1"}, Created: time.Unix(1, 0),
		})
		h := hello("edge-1")
		h.Owned = []*dbv1.OwnedNamespace{
			{Name: "older", Lineage: lineage("newer")}, {Name: "orders", Lineage: lineage("another")}, {Name: "gone", Lineage: lineage("gone")},
			{Name: "no name", Lineage: lineage("x")}, {Name: "bad", Lineage: "x"}, {Name: "good", Lineage: lineage("good")},
		}
		hub.dial(t, n, h).joins()
		eventually(t, "what is its own is known", func() bool {
			ns := hub.group.State().Namespaces["good"]
			return ns != nil && ns.Via == "hub"
		})
		s := hub.group.State()
		if len(s.Namespaces) != 3 || s.Namespaces["older"].Via != "" || s.Namespaces["orders"].Owner.ID != "hub" || s.Deleted[lineage("gone")] == nil {
			t.Errorf("got %+v", s.Namespaces)
		}
	})
}
