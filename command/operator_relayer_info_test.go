package command

import (
	"net/http"
	"testing"
)

func TestOperatorRelayerInfo(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, edgeBody))
	h.run("operator", "relayer", "info", "edge-1").want(t, exitDone, ""+
		"Relayer:      edge-1\n"+
		"State:        connected, draining\n"+
		"Labels:       region=eu\n"+
		"Upstream:     hub-a\n"+
		"Attends hub:  hub-a\n"+
		"Address:      -\n"+
		"Region:       -\n"+
		"Version:      1.2\n"+
		"\n"+
		"NAMESPACE  ROLE     STATE    ASSIGNED  LSN  LAG                            FROM\n"+
		"a          replica  serving  yes       7    3 records, 0.5s                hub-a\n"+
		"b          replica  stalled  no        9    0 records, 2.0s, disconnected  -\n"+
		"c          replica  unknown  yes       0    -                              -\n"+
		"\n"+
		"b on edge-1 is stalled (NO_SOURCE): its source is away\n")
	h.last().want(t, "GET", "/v1/relayers/edge-1")
	h.run("operator", "relayer", "info", "-json", "edge-1").wantJSON(t, exitDone, edgeBody)
	h.run("operator", "relayer", "info").want(t, exitUsage, "", "ID is missing")
}

func (g *operatorGroup) relayerInfo() {
	for _, id := range []string{"edge-1", "edge-2"} {
		if r := g.relayer(id); r.ID != id || !r.Connected || r.Hub == "" || len(r.Namespaces) != 1 || !r.Namespaces[0].Assigned {
			g.t.Errorf("%s: %+v", id, r)
		}
	}
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "relayer", "info", "edge-9")
}
