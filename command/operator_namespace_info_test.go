package command

import (
	"net/http"
	"testing"
)

func TestOperatorNamespaceInfo(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, ordersInfo))
	h.run("operator", "namespace", "info", "orders").want(t, exitDone, ordersTable+"\nLineage:  -\nTerm:     0\nState:    -\n")
	h.last().want(t, "GET", "/v1/namespaces/orders")
	h.run("operator", "namespace", "info", "-json", "orders").wantJSON(t, exitDone, "["+ordersInfo+"]")
}

func TestOperatorNamespaceInfoOfNone(t *testing.T) {
	h := newHarness(t, answer(http.StatusNotFound, `{"error":"no namespace \"nope\" on this node","code":"NAMESPACE_NOT_FOUND"}`))
	h.run("operator", "namespace", "info", "nope").want(t, exitFailed, "", "NAMESPACE_NOT_FOUND")
}

func TestOperatorNamespaceInfoTellsEverything(t *testing.T) {
	const body = `{"name":"orders","owner":"edge-1","epoch":3,"hubs":["hub-1"],"acks":"local","lsn":7,"lineage":"aa","term":2,"via":"hub-1","state":"frozen","reason":"the disk is full",
		"quota":{"max_bytes":1048576},"replicate":{"relayers":["edge-*"],"selector":{"tier":"store","region":"eu"},"hubs":["*"]}}`
	h := newHarness(t, answer(http.StatusOK, body))
	h.run("operator", "namespace", "info", "orders").want(t, exitDone, ""+
		"NAMESPACE  OWNER   EPOCH  HUBS   ACKS   LSN\n"+
		"orders     edge-1  3      hub-1  local  7\n"+
		"\n"+
		"Lineage:       aa\n"+
		"Term:          2\n"+
		"State:         frozen\n"+
		"Reason:        the disk is full\n"+
		"Via hub:       hub-1\n"+
		"Relayers:      edge-*\n"+
		"Selector:      region=eu,tier=store\n"+
		"Hub patterns:  *\n"+
		"Quota:         1.0 MiB, any size a second\n")
	h.run("operator", "namespace", "info", "-json", "orders").wantJSON(t, exitDone, "["+body+"]")
}

// namespaceInfo: every hub knows what one of them was told.
func (g *operatorGroup) namespaceInfo() {
	for _, hub := range g.hubs {
		if ns := g.namespacesBy(hub, "info", "orders"); len(ns) != 1 || ns[0].Owner != "hub-2" || ns[0].State != "serving" {
			g.t.Errorf("%s says %+v", hub.Config.NodeID, ns)
		}
	}
	g.failed(g.hubs[0], "NAMESPACE_NOT_FOUND", "operator", "namespace", "info", "none")
}
