package command

import "testing"

func TestOperatorNamespaceAccept(t *testing.T) {
	h := newHarness(t, success)
	h.run("operator", "namespace", "accept", "orders", "-lineage="+testLineage).want(t, exitDone, "", `"orders" takes lineage `+testLineage)
	h.last().want(t, "POST", "/v1/namespaces/orders/accept")
	sameJSON(t, h.last().body, `{"lineage":"`+testLineage+`"}`)
	h.run("operator", "namespace", "accept", "-json", "orders", "-lineage="+testLineage).wantJSON(t, exitDone, `{"success":true}`)
	h.run("operator", "namespace", "accept", "orders").want(t, exitUsage, "", "-lineage is missing")
	h.run("operator", "namespace", "accept", "-lineage="+testLineage).want(t, exitUsage, "", "NAME is missing")
}

// namespaceAccept: a hub that follows a namespace takes a lineage; its owner refuses.
func (g *operatorGroup) namespaceAccept() {
	lineage := g.namespacesBy(g.hubs[0], "info", "orders")[0].Lineage
	g.eventually("the first hub has orders", func() bool { return g.has("hub-1", "orders") })
	g.json(g.hubs[0], &struct{}{}, "operator", "namespace", "accept", "orders", "-lineage="+lineage)
	g.failed(g.hubs[1], "NAMESPACE_OWNED", "operator", "namespace", "accept", "orders", "-lineage="+testLineage)
	g.failed(g.hubs[0], "BAD_REQUEST", "operator", "namespace", "accept", "orders", "-lineage=some")
}
