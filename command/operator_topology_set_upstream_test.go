package command

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestOperatorTopologySetUpstream(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, `{"index":9,"hubs":[],"relayers":[],"assignments":[]}`))
	h.run("operator", "topology", "set-upstream", "-relayer=edge-2", "-upstream=edge-1").want(t, exitDone, "", `Relayer "edge-2" follows "edge-1" first.`)
	h.last().want(t, "POST", "/v1/topology/set-upstream")
	sameJSON(t, h.last().body, `{"relayer":"edge-2","upstream":"edge-1"}`)
	h.run("operator", "topology", "set-upstream", "-relayer=edge-2", "-upstream=").want(t, exitDone, "", `Relayer "edge-2" follows whichever hub it attends.`)
	sameJSON(t, h.last().body, `{"relayer":"edge-2","upstream":""}`)
	h.run("operator", "topology", "set-upstream", "-relayer=edge-2").want(t, exitUsage, "", "-upstream is missing")
	h.run("operator", "topology", "set-upstream", "-upstream=edge-1").want(t, exitUsage, "", "-relayer is missing")
}

// topologySetUpstream has the second relayer follow the first; the other way round would be a ring.
func (g *operatorGroup) topologySetUpstream() {
	var topology client.Topology
	g.json(g.hubs[0], &topology, "operator", "topology", "set-upstream", "-relayer=edge-2", "-upstream=edge-1")
	if len(topology.Relayers) != 2 || topology.Relayers[1].Upstream != "edge-1" {
		g.t.Errorf("relayers %+v", topology.Relayers)
	}
	g.failed(g.hubs[0], "UPSTREAM_CYCLE", "operator", "topology", "set-upstream", "-relayer=edge-1", "-upstream=edge-2")
	g.failed(g.hubs[0], "UPSTREAM_CYCLE", "operator", "topology", "set-upstream", "-relayer=edge-1", "-upstream=edge-1")
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "topology", "set-upstream", "-relayer=edge-9", "-upstream=edge-1")
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "topology", "set-upstream", "-relayer=edge-1", "-upstream=edge-9")
	if after := g.relayer("edge-1"); after.Upstream == "edge-2" || after.Upstream == "edge-9" {
		g.t.Errorf("what was refused has changed %+v", after)
	}
	g.eventually("edge-2 streams orders from edge-1", func() bool {
		for _, ns := range g.relayer("edge-2").Namespaces {
			if ns.Name == "orders" {
				return ns.Upstream == "edge-1" && ns.Connected
			}
		}
		return false
	})
	g.json(g.hubs[1], &topology, "operator", "topology", "set-upstream", "-relayer=edge-2", "-upstream=")
	if up := g.relayer("edge-2").Upstream; up != "" && up[:4] != "hub-" {
		g.t.Errorf("edge-2 follows %q, want a hub", up)
	}
}
