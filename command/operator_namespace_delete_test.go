package command

import (
	"net/http"
	"testing"
	"time"
)

func TestOperatorNamespaceDelete(t *testing.T) {
	h := newHarness(t, answer(http.StatusOK, ordersInfo))
	h.run("operator", "namespace", "delete", "-yes", "orders").want(t, exitDone, ordersTable)
	h.last().want(t, "DELETE", "/v1/namespaces/orders?grace=72h0m0s")
	h.run("operator", "namespace", "delete", "-yes", "-grace=0s", "orders", "-json").wantJSON(t, exitDone, "["+ordersInfo+"]")
	h.last().want(t, "DELETE", "/v1/namespaces/orders?grace=0s")
	before := h.requestCount()
	h.run("operator", "namespace", "delete", "-yes", "-grace=-1s", "orders").want(t, exitUsage, "", "-grace=-1s is negative")
	if h.requestCount() != before {
		t.Error("something was asked of the node")
	}
	h.run("operator", "namespace", "delete", "orders").want(t, exitUsage, "", `Namespace "orders" of hub-1, at LSN 7, is to be deleted on all nodes`)
	h.last().want(t, "GET", "/v1/namespaces/orders")
}

// namespaceDelete: the name is free at once, and no hub serves what was deleted.
func (g *operatorGroup) namespaceDelete() {
	before := g.namespacesBy(g.hubs[0], "info", "mine")[0]
	deleted := g.namespacesBy(g.hubs[0], "delete", "-yes", "-grace=1h", "mine")[0]
	if deleted.Name != "mine" || deleted.Deleted == nil || deleted.RemoveAfter == nil || deleted.RemoveAfter.Sub(*deleted.Deleted) != time.Hour {
		g.t.Errorf("deleted %+v", deleted)
	}
	g.failed(g.hubs[1], "NAMESPACE_NOT_FOUND", "operator", "namespace", "info", "mine")
	g.failed(g.hubs[1], "NAMESPACE_NOT_FOUND", "operator", "namespace", "delete", "-yes", "mine")
	again := g.namespacesBy(g.hubs[1], "create", "mine", "-owner=hub-3")[0]
	if again.Lineage == before.Lineage || again.Owner != "hub-3" {
		g.t.Errorf("made %+v after %+v", again, before)
	}
}
