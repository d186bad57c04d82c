package command

import (
	"net/http"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

func TestOperatorRelayerDrain(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, edgeBody))
	h.run("operator", "relayer", "drain", "edge-1").want(t, exitDone, "", `Relayer "edge-1" gets nothing new, and those that followed it follow a hub.`)
	h.last().want(t, "POST", "/v1/relayers/edge-1/drain")
	sameJSON(t, h.last().body, `{}`)
	h.run("operator", "relayer", "drain", "-undo", "edge-1").want(t, exitDone, "", `Relayer "edge-1" takes part again.`)
	sameJSON(t, h.last().body, `{"undo":true}`)
	h.run("operator", "relayer", "drain", "-json", "edge-1").wantJSON(t, exitDone, edgeBody)
}

// relayerDrain: a draining relayer is given nothing new.
func (g *operatorGroup) relayerDrain() {
	var r client.Relayer
	g.json(g.hubs[0], &r, "operator", "relayer", "drain", "edge-1")
	if r.ID != "edge-1" || !r.Draining {
		g.t.Errorf("drained %+v", r)
	}
	g.failed(g.hubs[0], "RELAYER_DRAINING", "operator", "topology", "assign", "-namespace=mine", "-relayer=edge-1")
	g.json(g.hubs[1], &r, "operator", "relayer", "drain", "-undo", "edge-1")
	if r.Draining || g.relayer("edge-1").Draining {
		g.t.Errorf("undone %+v", r)
	}
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "relayer", "drain", "edge-9")
}
