package command

import (
	"net/http"
	"testing"
)

const edgeBody = `{"id":"edge-1","labels":{"region":"eu"},"upstream":"hub-a","connected":true,"namespaces":[
	{"name":"a","lsn":7,"lag_records":3,"lag_seconds":0.5,"role":"replica","state":"serving","upstream":"hub-a","connected":true,"assigned":true},
	{"name":"b","lsn":9,"lag_records":0,"lag_seconds":2,"role":"replica","state":"stalled","code":"NO_SOURCE","reason":"its source is away","connected":false},
	{"name":"c","lsn":0,"lag_records":null,"lag_seconds":null,"connected":false,"assigned":true}],"hub":"hub-a","version":"1.2","draining":true}`

func TestOperatorRelayerList(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, "["+edgeBody+`,{"id":"edge-2","labels":{},"upstream":"","connected":false,"namespaces":[],"draining":false}]`))
	h.run("operator", "relayer", "list").want(t, exitDone, ""+
		"RELAYER  LABELS     UPSTREAM  STATE                NAMESPACES  LAG\n"+
		"edge-1   region=eu  hub-a     connected, draining  3           3 records, 2.0s\n"+
		"edge-2   -          -         disconnected         0           -\n")
	h.last().want(t, "GET", "/v1/relayers")
	h.run("operator", "relayer", "list", "-json").wantJSON(t, exitDone, "["+edgeBody+`,{"id":"edge-2","labels":{},"upstream":"","connected":false,"namespaces":[],"draining":false}]`)
}

// relayerList waits until both relayers have orders and all of it.
func (g *operatorGroup) relayerList() {
	g.eventually("both relayers have caught up", func() bool {
		owner := g.namespacesBy(g.hubs[1], "info", "orders")[0]
		all := g.relayerInfos()
		caughtUp := 0
		for _, r := range all {
			for _, ns := range r.Namespaces {
				if ns.Name == "orders" && r.Connected && ns.LSN == owner.LSN && owner.LSN > 0 && owner.Epoch > 0 && ns.LagRecords != nil && *ns.LagRecords == 0 && ns.LagSeconds != nil {
					caughtUp++
				}
			}
		}
		return len(all) == 2 && caughtUp == 2
	})
	all := g.relayerInfos()
	if all[0].ID != "edge-1" || all[0].Labels["region"] != "eu" || all[1].ID != "edge-2" || all[1].Labels["tier"] != "store" {
		g.t.Errorf("relayers %+v", all)
	}
}
