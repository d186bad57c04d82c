package command

import (
	"net/http"
	"testing"
)

func TestOperatorNamespaceList(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, "["+ordersInfo+`,{"name":"lost","owner":"","epoch":0,"hubs":[],"acks":"local","lsn":0}]`))
	h.run("operator", "namespace", "list").want(t, exitDone, ordersTable+"lost       -      0        -      local  0\n")
	h.last().want(t, "GET", "/v1/namespaces")
	h.run("operator", "namespace", "list", "-json").wantJSON(t, exitDone, "["+ordersInfo+`,{"name":"lost","owner":"","epoch":0,"hubs":[],"acks":"local","lsn":0}]`)
}

func (g *operatorGroup) namespaceList() {
	for _, hub := range g.hubs {
		if all := g.namespaces(hub); len(all) != 2 || all[0].Name != "mine" || all[0].Owner != "hub-3" || all[1].Name != "orders" || all[1].Owner != "hub-2" {
			g.t.Errorf("%s lists %+v", hub.Config.NodeID, all)
		}
	}
}
