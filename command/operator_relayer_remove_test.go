package command

import (
	"net/http"
	"testing"
)

func TestOperatorRelayerRemove(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "relayer", "remove", "-yes", "edge-1").want(t, exitDone, "", `Relayer "edge-1" is removed.`)
	h.last().want(t, "DELETE", "/v1/relayers/edge-1")
	h.run("operator", "relayer", "remove", "-yes", "-force", "edge/1", "-json").wantJSON(t, exitDone, `{"success":true}`)
	h.last().want(t, "DELETE", "/v1/relayers/edge%2F1?force=true")
	h = newHarness(t, answer(http.StatusConflict, `{"error":"relayer \"edge-1\" is connected to hub \"hub-a\": stop it first","code":"RELAYER_CONNECTED"}`))
	h.run("operator", "relayer", "remove", "-yes", "edge-1").want(t, exitFailed, "", "stop it first (RELAYER_CONNECTED)")
}

// relayerRemove takes the second relayer out, once it is stopped.
func (g *operatorGroup) relayerRemove() {
	g.failed(g.hubs[0], "RELAYER_CONNECTED", "operator", "relayer", "remove", "-yes", "edge-2")
	g.relayers[1].Stop()
	g.eventually("the hubs miss edge-2", func() bool { return !g.relayer("edge-2").Connected })
	g.json(g.hubs[0], &struct{}{}, "operator", "relayer", "remove", "-yes", "edge-2")
	if all := g.relayerInfos(); len(all) != 1 || all[0].ID != "edge-1" {
		g.t.Errorf("relayers %+v, want edge-1", all)
	}
	g.failed(g.hubs[0], "UNKNOWN_RELAYER", "operator", "relayer", "remove", "-yes", "edge-2")
}
