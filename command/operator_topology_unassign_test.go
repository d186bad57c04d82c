package command

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestOperatorTopologyUnassign(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"index":9,"hubs":[],"relayers":[],"assignments":[]}`))
	h.run("operator", "topology", "unassign", "-namespace=orders", "-selector=region=eu").want(t, exitDone, "", `Namespace "orders" is no longer assigned to relayers with region=eu.`)
	h.last().want(t, "POST", "/v1/topology/unassign")
	sameJSON(t, h.last().body, `{"namespace":"orders","selector":{"region":"eu"}}`)
	testAssignmentUsage(t, h, "unassign")
}

// topologyUnassign takes orders from the second relayer, which stops serving it.
func (g *operatorGroup) topologyUnassign() {
	g.failed(g.hubs[0], "ASSIGNMENT_NOT_FOUND", "operator", "topology", "unassign", "-namespace=orders", "-relayer=edge-2")
	var topology client.Topology
	g.json(g.hubs[2], &topology, "operator", "topology", "unassign", "-namespace=orders", "-selector=tier=store")
	if len(topology.Assignments) != 1 || topology.Assignments[0].Relayer != "edge-1" {
		g.t.Errorf("assignments %+v, want that of edge-1", topology.Assignments)
	}
	g.eventually("edge-2 has orders no longer", func() bool {
		r, err := g.relayers[1].Try(http.MethodGet, "/api/v1/orders/kv/a", nil)
		return err == nil && r.Status == http.StatusNotFound
	})
}
