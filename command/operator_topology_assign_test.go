package command

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
	"github.com/unisondb/unisondb/server/servertest"
)

func TestOperatorTopologyAssign(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"index":9,"hubs":[],"relayers":[],"assignments":[{"namespace":"orders","relayer":"edge-1"}]}`))
	h.run("operator", "topology", "assign", "-namespace=orders", "-relayer=edge-1").want(t, exitDone, "", `Namespace "orders" goes to relayer edge-1.`)
	h.last().want(t, "POST", "/v1/topology/assign")
	sameJSON(t, h.last().body, `{"namespace":"orders","relayer":"edge-1"}`)
	h.run("operator", "topology", "assign", "-namespace=orders", "-selector=tier=store,region=eu").want(t, exitDone, "", `goes to relayers with region=eu,tier=store.`)
	sameJSON(t, h.last().body, `{"namespace":"orders","selector":{"region":"eu","tier":"store"}}`)
	r := h.run("operator", "topology", "assign", "-namespace=orders", "-relayer=edge-1", "-json")
	var got client.Topology
	decode(t, r.stdout, &got)
	if r.status != exitDone || got.Index != 9 || len(got.Assignments) != 1 {
		t.Errorf("%+v", r)
	}
	testAssignmentUsage(t, h, "assign")
	h.env[envNamespace] = "from-env"
	h.run("operator", "topology", "assign", "-relayer=edge-1")
	sameJSON(t, h.last().body, `{"namespace":"from-env","relayer":"edge-1"}`)
}

func testAssignmentUsage(t *testing.T, h *harness, command string) {
	t.Helper()
	before := h.requestCount()
	h.run("operator", "topology", command, "-relayer=edge-1").want(t, exitUsage, "", "-namespace is missing")
	h.run("operator", "topology", command, "-namespace=orders").want(t, exitUsage, "", "give either -relayer=ID or -selector=key=value")
	h.run("operator", "topology", command, "-namespace=orders", "-relayer=a", "-selector=b=c").want(t, exitUsage, "", "give either")
	if h.requestCount() != before {
		t.Error("a node was asked")
	}
}

// topologyAssign gives orders to one relayer by its id and to the other by a label, while they run.
func (g *operatorGroup) topologyAssign() {
	g.hubs[1].Put("orders", "a", "1")
	for _, flag := range []string{"-relayer=edge-1", "-selector=tier=store"} {
		var topology client.Topology
		g.json(g.hubs[0], &topology, "operator", "topology", "assign", "-namespace=orders", flag)
		if len(topology.Hubs) != 3 || len(topology.Relayers) != 2 || len(topology.Assignments) == 0 {
			g.t.Errorf("assigned: %+v", topology)
		}
	}
	for _, relayer := range g.relayers {
		servertest.WaitFor(g.t, relayer.Config.NodeID+" serves orders", func() bool {
			r, err := relayer.Try(http.MethodGet, "/api/v1/orders/kv/a?raw=true", nil)
			return err == nil && r.Status == http.StatusOK && string(r.Body) == "1"
		})
	}
	before := g.topology(g.hubs[0])
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "topology", "assign", "-namespace=orders", "-relayer=edge-9")
	g.failed(g.hubs[0], "UNKNOWN_LABEL", "operator", "topology", "assign", "-namespace=orders", "-selector=no=body")
	g.failed(g.hubs[0], "NAMESPACE_NOT_FOUND", "operator", "topology", "assign", "-namespace=none", "-relayer=edge-1")
	if after := g.topology(g.hubs[0]); len(after.Assignments) != 2 || len(before.Assignments) != 2 {
		g.t.Errorf("assignments %+v, want two", after.Assignments)
	}
}
