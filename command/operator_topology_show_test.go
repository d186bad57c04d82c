package command

import (
	"net/http"
	"strings"
	"testing"

	"github.com/unisondb/unisondb/sdk/client"
)

const topologyBody = `{"cluster":"c1","index":214,
	"hubs":[
		{"id":"hub-a","address":"10.0.0.1:4002","voter":true,"leader":true,"connected":true,"namespaces":[
			{"name":"inventory","lsn":88,"lag_records":2,"lag_seconds":0.25,"role":"replica","state":"serving","upstream":"hub-b","connected":true},
			{"name":"orders","lsn":1204,"lag_records":null,"lag_seconds":null,"role":"owner","state":"serving","connected":false}]},
		{"id":"hub-b","address":"10.0.0.2:4002","voter":true,"leader":false,"connected":false,"problem":"no answer within 2s","namespaces":[]},
		{"id":"hub-c","address":"10.0.0.3:4002","voter":false,"leader":false,"connected":true,"namespaces":[]}],
	"relayers":[
		{"id":"edge-1","labels":{"tier":"store","region":"eu"},"upstream":"hub-a","connected":true,"namespaces":[
			{"name":"orders","lsn":1204,"lag_records":0,"lag_seconds":0,"role":"replica","state":"serving","upstream":"hub-a","connected":true,"assigned":true}]},
		{"id":"edge-2","labels":{},"upstream":"edge-1","connected":true,"draining":true,"namespaces":[
			{"name":"orders","lsn":1200,"lag_records":4,"lag_seconds":0.1,"role":"replica","state":"stalled","code":"NO_SOURCE","reason":"its source is away","upstream":"edge-1","connected":false,"assigned":true}]},
		{"id":"edge-3","labels":{},"upstream":"","connected":false,"namespaces":[{"name":"orders","lsn":0,"lag_records":null,"lag_seconds":null,"connected":false,"assigned":true}]},
		{"id":"edge-4","labels":{},"upstream":"edge-5","connected":false,"namespaces":[]},
		{"id":"edge-5","labels":{},"upstream":"edge-4","connected":false,"namespaces":[]},
		{"id":"edge-6","labels":{},"upstream":"edge-7","connected":true,"namespaces":[]},
		{"id":"edge-7","labels":{},"upstream":"","connected":false,"namespaces":[]}],
	"assignments":[{"namespace":"orders","relayer":"edge-*"},{"namespace":"orders","selector":{"tier":"store","region":"eu"}}],
	"namespaces":[]}`

func TestOperatorTopologyShow(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, topologyBody))
	h.run("operator", "topology", "show").want(t, exitDone, ""+
		"Group:  c1\n"+
		"State:  index 214\n"+
		"\n"+
		"NODE                              ROLE           STATE                LSN   LAG                            FROM\n"+
		"hub-a                             hub, leader    connected\n"+
		"├─ inventory                      replica        serving              88    2 records, 0.2s                hub-b\n"+
		"├─ orders                         owner          serving              1204  -\n"+
		"└─ edge-1 (region=eu,tier=store)  relayer        connected\n"+
		"   ├─ orders                      replica        serving              1204  0 records, 0.0s                hub-a\n"+
		"   └─ edge-2                      relayer        connected, draining\n"+
		"      └─ orders                   replica        stalled              1200  4 records, 0.1s, disconnected  edge-1\n"+
		"hub-b                             hub            disconnected\n"+
		"hub-c                             hub, nonvoter  connected\n"+
		"edge-3                            relayer        disconnected\n"+
		"└─ orders                         replica        unknown              0     -\n"+
		"edge-7                            relayer        disconnected\n"+
		"└─ edge-6                         relayer        connected\n"+
		"edge-4                            relayer        disconnected\n"+
		"└─ edge-5                         relayer        disconnected\n"+
		"\n"+
		"ASSIGNED  TO\n"+
		"orders    relayer edge-*\n"+
		"orders    relayers with region=eu,tier=store\n"+
		"\n"+
		"hub-b: no answer within 2s\n"+
		"\n"+
		"orders on edge-2 is stalled (NO_SOURCE): its source is away\n")
	h.last().want(t, "GET", "/v1/topology")
	var want client.Topology
	decode(t, topologyBody, &want)
	var got client.Topology
	decode(t, h.run("operator", "topology", "show", "-json").stdout, &got)
	if len(got.Hubs) != len(want.Hubs) || len(got.Relayers) != len(want.Relayers) || len(got.Assignments) != 2 || *got.Relayers[1].Namespaces[0].LagRecords != 4 {
		t.Errorf("got %+v", got)
	}
}

func (g *operatorGroup) topologyShow() {
	for _, hub := range g.hubs {
		topology := g.topology(hub)
		if len(topology.Hubs) != 3 || len(topology.Relayers) != 2 || len(topology.Cluster) != 32 || topology.Assignments == nil {
			g.t.Errorf("%s shows %+v", hub.Config.NodeID, topology)
		}
		for _, h := range topology.Hubs {
			if !h.Connected {
				g.t.Errorf("%s says of %s: %s", hub.Config.NodeID, h.ID, h.Problem)
			}
		}
	}
	drawn := g.run(g.hubs[0], "operator", "topology", "show")
	for _, part := range []string{"hub-1", "hub, leader", "orders", "edge-1 (region=eu)", "edge-2"} {
		if drawn.status != exitDone || strings.Count(drawn.stdout, part) == 0 {
			g.t.Errorf("no %q is drawn in:\n%s%s", part, drawn.stdout, drawn.stderr)
		}
	}
}
